// The panel: what is selected, or why nothing is.
// The rule: it always shows the row that is selected in the table. If a search or a filter hides that row, the panel
// says so and shows nothing else; when the row is back, so is the panel.
let useLog = false;

function panel() {
  const box = get("detail"), chosen = state.chosen;
  box.replaceChildren();
  if (!chosen) {
    box.append(make("p", "muted", entries.length ? "Select a row, or click on a module of the map to enter it." : "There are no entries."));
  } else if (hidden(chosen)) {
    const name = chosen.node ? chosen.node.id : chosen.entry.name;
    box.append(make("p", "muted hidden-entry", `'${name}' is selected, and not among the entries that are shown; Escape clears.`));
  } else if (chosen.node) modulePanel(box, chosen.node);
  else entryPanel(box, chosen.entry);
}
const hidden = (chosen) => !rows.some(isChosen) && !(chosen.entry && state.view === "tree" && kept.includes(chosen.entry));

function headOf(box, name) {
  box.append(make("h2", "", name));
  const bar = make("div", "bar"), said = make("span", "muted");
  said.setAttribute("role", "status");
  bar.append(button("copy name", "", () => copy(name, said)), said);
  box.append(bar);
}
async function copy(text, said) {
  let done = false;
  try {
    if (navigator.clipboard) { await navigator.clipboard.writeText(text); done = true; }
  } catch { /* not allowed: the other way remains */ }
  said.textContent = done || copyBySelection(text) ? "copied" : "could not be copied";
}
// Where there is no clipboard: pages of files in some browsers.
function copyBySelection(text) {
  const area = make("textarea", "offscreen"), before = document.activeElement;
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (before) before.focus();
  return done;
}

// -- tables ----------------------------------------------------------------------------------------

function factTable(facts) {
  const table = make("table"), body = make("tbody");
  for (const [title, text, tone] of facts) {
    if (text === "" || text === null || text === undefined) continue;
    const row = make("tr"), head = make("th", "", title);
    head.scope = "row";
    row.append(head, make("td", tone || "", text));
    body.append(row);
  }
  table.append(body);
  return table;
}
function modulePanel(box, node) {
  headOf(box, node.id);
  const marks = Object.keys(MARKS).filter((mark) => mark !== "none" && node.marks[mark]);
  const tone = (mark) => (["damaged", "bad"].includes(mark) ? "bad" : mark === "dead" ? "warn" : "s-" + mark);
  box.append(factTable([
    ["module of", counted(node.entries, "entry", "entries")],
    ["elements", grouped(node.elements)],
    ["bytes", `${grouped(node.bytes)} (${percent(node.bytes, totalBytes)})`],
    ...marks.map((mark) => [MARKS[mark].text, counted(node.marks[mark], "entry", "entries"), tone(mark)]),
  ]));
}
const FACTS = [
  ["dtype", (x) => x.dtype], ["shape", (x) => x.shape],
  ["elements", (x) => (x.elements === null ? "" : grouped(x.elements))], ["bytes", (x) => grouped(x.bytes)],
  ["at byte", (x) => (x.offset === null ? "" : grouped(x.offset))],
  ["value", (x) => (x.value === null ? "" : String(x.value))],
  ...["min", "max", "mean", "std", "norm"].map((key) => [key, (x) => (x.stats ? short(x.stats[key]) : "")]),
  ["NaN", (x) => (x.stats ? short(x.stats.nan) : ""), (x) => (x.stats && x.stats.nan ? "bad" : "")],
  ["Inf", (x) => (x.stats ? short(x.stats.inf) : ""), (x) => (x.stats && x.stats.inf ? "bad" : "")],
  ["zeros", (x) => (x.stats ? grouped(x.stats.zeros) + (x.stats.zeros ? ` (${percent(x.stats.zeros, x.elements)})` : "") : "")],
];
function sideTable(sides, heads) {
  const table = make("table"), body = make("tbody");
  if (heads) {
    const head = make("thead"), row = make("tr");
    row.append(make("td", ""), ...heads.map(([text, name, color]) => {
      const cell = make("th", color, text);
      cell.scope = "col";
      cell.title = name;
      return cell;
    }));
    head.append(row);
    table.append(head);
  }
  for (const [title, value, tone] of FACTS) {
    const cells = sides.map((x) => (x ? value(x) : "\u2013"));
    if (sides.every((x, at) => !x || cells[at] === "" || cells[at] === null || cells[at] === undefined)) continue;
    const row = make("tr"), head = make("th", "", title);
    head.scope = "row";
    row.append(head, ...cells.map((text, at) => make("td", tone && sides[at] ? tone(sides[at]) : "", text ?? "")));
    body.append(row);
  }
  table.append(body);
  return table;
}

// -- an entry --------------------------------------------------------------------------------------

function entryPanel(box, e) {
  headOf(box, e.name);
  const problem = e.sides.map((x) => x && x.problem).find(Boolean);
  if (problem) box.append(make("p", "bad", problem));
  if (several) box.append(statusLine(e));
  if (many) manyFiles(box, e);
  else {
    if (withBins(e).length) histogram(box, e);
    box.append(sideTable(e.sides, two ? [["before", files[0].name, "before"], ["after", files[1].name, "after"]] : null));
  }
  if (e.distance) {
    box.append(factTable([
      ["changed elements", grouped(e.distance.changed)], ["largest difference", short(e.distance.max)],
      ["mean difference", short(e.distance.mean)],
      ["cosine", e.distance.cosine === null ? "none" : e.distance.cosine.toFixed(7)],
    ]));
  }
}
function statusLine(e) {
  const [first, final] = [files[0].name, files[last].name];
  const text = {
    added: `added: not in ${first}`, removed: `removed: not in ${final}`, same: "the same in all files",
    changed: many ? `changed since ${first}` : `changed from ${first} to ${final}`,
  }[e.status];
  return make("p", "s-" + e.status, e.status === "same" && two ? "the same before and after" : text);
}
function manyFiles(box, e) {
  const drawn = LINES.filter(([key, , of]) => extent(valuesOf(e, of)) && (key !== "nan" || e.sides.some((x) => x && x.stats && x.stats.nan)));
  const charts = drawn.map((line) => lineChart(e, line));
  for (const chart of charts) { box.append(chart.box); chart.draw(); }
  const table = make("table", "by-file"), head = make("tr"), body = make("tbody"), top = make("thead");
  const keys = ["norm", "mean", "std", "nan"];
  head.append(...["file", "norm", "mean", "std", "NaN"].map((text) => make("th", "", text)));
  e.sides.forEach((x, at) => {
    const row = make("tr"), name = make("th", "", middle(files[at].name, 15));
    name.title = files[at].name;
    const value = (key) => (!x ? "\u2013" : x.stats ? short(x.stats[key]) : key === "norm" && x.value !== null ? String(x.value) : "");
    row.append(name, ...keys.map((key) => make("td", key === "nan" && x && x.stats && x.stats.nan ? "bad" : "", value(key))));
    body.append(row);
  });
  top.append(head);
  table.append(top, body);
  box.append(table, make("h3", "", files[last].name), sideTable([e.sides[last]], null));
}
function histogram(box, e) {
  const node = make("canvas"), { low, high } = rangeOf(e), axis = make("div", "bar muted axis");
  node.id = "histogram";
  node.setAttribute("role", "img");
  node.setAttribute("aria-label", `Histogram from ${short(low)} to ${short(high)}`);
  axis.append(make("span", "", short(low)), make("span", "", short(high)));
  const label = make("label"), check = make("input");
  check.type = "checkbox";
  check.checked = useLog;
  const draw = () => drawBins(canvas(node, node.clientWidth, node.clientHeight), e, node.clientWidth, node.clientHeight, { log: useLog });
  check.addEventListener("change", () => { useLog = check.checked; draw(); });
  label.append(check, "logarithmic counts");
  box.append(node, axis, label);
  draw();
  node.addEventListener("mousemove", (event) => {
    const at = low + event.offsetX / node.clientWidth * (high - low), step = (high - low) / BINS;
    const start = low + Math.floor((at - low) / (step || 1)) * step;
    const counts = withBins(e).map(([x, side]) => {
      const { bins } = x, wide = (bins.high - bins.low) / BINS;
      const bin = wide > 0 ? Math.min(BINS - 1, Math.floor((at - bins.low) / wide)) : Math.floor(BINS / 2);
      return `${two ? (side ? "after: " : "before: ") : ""}${grouped(bins.counts[bin] || 0)}`;
    });
    tip(event, `${short(start)} to ${short(start + step)}\n${counts.join(", ")}${two ? "" : " elements"}`);
  });
  node.addEventListener("mouseleave", () => tip());
}
