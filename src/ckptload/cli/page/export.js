// The table as CSV (RFC 4180): the entries that are shown, in their order, numbers in full precision.

// A spreadsheet would run a text that begins like a formula; a quote before it makes it a text.
const guarded = (text) => (/^[=+\-@\t\r]/.test(text) ? "'" + text : text);
function csvField(value) {
  if (value === null || value === undefined) return "";
  const text = typeof value === "string" ? guarded(value) : String(value);
  return /[",\r\n]/.test(text) ? '"' + text.replace(/"/g, '""') + '"' : text;
}
const exact = (value) => (typeof value === "string" ? BigInt(value) : value);
function csvColumns() {
  const found = [["name", (e) => e.name]];
  if (several) found.push(["status", (e) => e.status]);
  const facts = [
    ["dtype", (x) => x.dtype], ["shape", (x) => x.shape], ["elements", (x) => x.elements], ["bytes", (x) => x.bytes],
    ...["min", "max", "mean", "std", "norm", "nan", "inf", "zeros"].map((key) => [key, (x) => (x.stats ? exact(x.stats[key]) : null)]),
    ["value", (x) => x.value],
  ];
  files.forEach((file, at) => {
    const prefix = two ? (at ? "after " : "before ") : many ? file.name + " " : "";
    for (const [title, of] of facts) found.push([prefix + title, (e) => (e.sides[at] ? of(e.sides[at]) : null)]);
    if (!at) return;
    const differences = [["changed elements", "changed"], ["max diff", "max"], ["mean diff", "mean"], ["cosine", "cosine"]];
    for (const [title, key] of differences) {
      found.push([(many ? prefix : "") + title, (e) => e.distances[at - 1] && e.distances[at - 1][key]]);
    }
  });
  return found;
}
// In the tree also what is folded.
function exported() {
  if (state.view !== "tree") return kept;
  return treeRows(kept, () => true).filter((row) => row.entry).map((row) => row.entry);
}
function csv() {
  const shown = csvColumns(), lines = [shown.map(([title]) => csvField(title))];
  for (const e of exported()) lines.push(shown.map(([, of]) => csvField(of(e))));
  return lines.map((line) => line.join(",") + "\r\n").join("");
}
function download() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(["\ufeff", csv()], { type: "text/csv;charset=utf-8" }));
  link.download = files[last].name.replace(/[^\w.-]+/g, "_") + ".csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}
