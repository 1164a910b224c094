// The columns of the table: what they show of an entry, by which value they sort, and how wide they are.
const columns = [];
const number = (value) => (typeof value === "string" ? Number(value) : value);
const stat = (key) => (e) => (e.shown.stats ? number(e.shown.stats[key]) : null);
const worstOf = (key) => (e) => {
  const found = e.sides.filter((x) => x && x.stats).map((x) => x.stats[key]);
  return found.length ? Math.max(...found) : null;
};
// Of two files what they have in common, or: before -> after.
const both = (of) => (e) => {
  if (!two) return of(e.shown);
  const [a, b] = e.sides.map((x) => (x ? of(x) : null));
  return a === b || b === null ? a : a === null ? b : `${a} \u2192 ${b}`;
};
function markCell(mark, e) {
  const cell = make("span", "marks"), quiet = mark === "none" || mark === e?.status;
  if (!quiet) cell.append(make("span", "badge m-" + mark, MARKS[mark].text));
  if (e && e.constant && !e.dead) cell.append(make("span", "badge muted", "constant"));
  return cell;
}
function sparkCell(e) {
  const node = make("canvas"), pen = canvas(node, SPARK.width, SPARK.height);
  if (many) drawSpark(pen, e.sides.map((x) => (x && x.stats ? x.stats.norm : null)), SPARK.width, SPARK.height);
  else drawBins(pen, e, SPARK.width, SPARK.height, { small: true });
  return node;
}
function numberColumn(key, title, value, more) {
  columns.push({ key, title, number: true, value, text: (e) => short(value(e)), ...more });
}
function fillColumns() {
  columns.push(
    { key: "order", title: "#", number: true, value: (e) => e.order,
      text: (e) => grouped(e.order + 1), of: (row) => "" },
    { key: "name", title: "name", width: 0, value: (e) => e.name, of: null },
  );
  if (entries.some((e) => e.damaged || e.bad || e.dead || e.constant)) {
    columns.push({ key: "marks", title: "marks", width: 72, value: (e) => MARKS[e.mark].level,
      build: (e) => markCell(e.mark, e), of: (row) => row.mark });
  }
  if (several) {
    columns.push({ key: "status", title: "status", value: (e) => e.status, text: (e) => e.status,
      tone: (e) => "s-" + e.status });
    numberColumn("max", "max diff", (e) => e.distance && e.distance.max);
  }
  if (many) numberColumn("norm", "norm", stat("norm"));
  columns.push({ key: "spark", title: many ? "norm over files" : "histogram", width: many ? 104 : SPARK.width,
    value: (e) => (many ? drift(e) : stat("std")(e)), build: sparkCell });
  columns.push(
    { key: "dtype", title: "dtype", value: (e) => e.shown.dtype, text: both((x) => x.dtype) },
    { key: "shape", title: "shape", most: 150, value: (e) => e.shown.elements, text: both((x) => x.shape) },
    { key: "bytes", title: "bytes", number: true, value: (e) => e.bytes, text: (e) => grouped(e.bytes),
      of: (row) => grouped(row.bytes) },
  );
  if (two) {
    numberColumn("mean", "mean diff", (e) => e.distance && e.distance.mean, { optional: true });
    columns.push({ key: "std", title: "std before \u2192 after", number: true, value: stat("std"), optional: true,
      text: both((x) => (x.stats ? short(x.stats.std) : null)) });
  } else {
    const keys = many ? ["mean", "std"] : ["min", "max", "mean", "std"];
    for (const key of keys) numberColumn(key, key, stat(key), { optional: many });
  }
  const columnOf = (key, title) => columns.push({ key, title, number: true, value: worstOf(key),
    text: (e) => (worstOf(key)(e) === null ? "" : grouped(worstOf(key)(e))), tone: (e) => (worstOf(key)(e) ? "bad" : "muted") });
  if (count((e) => worstOf("nan")(e))) columnOf("nan", "NaN");
  if (count((e) => worstOf("inf")(e))) columnOf("inf", "Inf");
  numberColumn("zeros", "zeros", (e) => (e.shown.stats && e.shown.elements ? e.shown.stats.zeros / e.shown.elements : null),
    { optional: several, text: (e) => (e.shown.stats ? percent(e.shown.stats.zeros, e.shown.elements) : "") });
}
// How much the norm has moved, as a part of its largest value: the order of the column with the lines.
function drift(e) {
  const found = e.sides.map((x) => (x && x.stats ? x.stats.norm : null)).filter((n) => n !== null);
  const high = Math.max(...found);
  return found.length > 1 && high ? (high - Math.min(...found)) / high : found.length ? 0 : null;
}

// -- widths ----------------------------------------------------------------------------------------

const GAP = 12, EDGE = 12, LETTER = 7.55, BUTTON = 18, STEP = 14, NARROWEST = 150, ENOUGH = 230, WIDEST = 170;
let nameLetters = 20, visible = [];
// A column is as wide as its longest text.
function measureColumns() {
  const pen = make("canvas").getContext("2d"), style = getComputedStyle(get("table"));
  const wide = (text, weight) => { pen.font = `${weight} ${style.fontSize} ${style.fontFamily}`; return pen.measureText(text).width; };
  for (const column of columns) {
    if (column.width !== undefined) continue;
    const longest = entries.reduce((found, e) => {
      const text = String(column.text(e) ?? "");
      return text.length > found.length ? text : found;
    }, "");
    // Modules have the sum of their bytes.
    const sum = column.key === "bytes" ? grouped(totalBytes) : "";
    const needs = Math.max(wide(longest, 400), wide(sum, 400), wide(column.title + " \u25be", 600) * 12 / 13);
    column.width = Math.ceil(Math.min(needs, column.most || WIDEST)) + 4;
  }
}
// The name is as wide as the longest one needs, and no wider than what the numbers leave of the table. Columns whose
// numbers are in the panel, too, make room for names.
function fitColumns() {
  const table = get("table"), longest = entries.reduce((n, e) => Math.max(n, e.name.length), 4);
  const needs = Math.ceil(LETTER * longest) + 8 + (state.view === "tree" ? BUTTON + 2 * STEP + 30 : 0);
  const narrow = window.innerWidth <= 900;
  const restOf = (found) => found.reduce((sum, c) => sum + c.width + GAP, 2 * EDGE - GAP);
  let found = columns;
  for (const column of [...columns].reverse()) {
    if (narrow || table.clientWidth - restOf(found) >= Math.min(needs, ENOUGH)) break;
    if (column.optional && column.key !== state.sort) found = found.filter((c) => c !== column);
  }
  const rest = restOf(found), room = narrow ? Math.min(190, table.clientWidth * 0.45) : table.clientWidth - rest;
  const width = Math.max(narrow ? 120 : NARROWEST, Math.min(needs, Math.floor(room)));
  nameLetters = Math.floor((width - 8) / LETTER);
  table.style.setProperty("--grid", found.map((c) => (c.key === "name" ? width : c.width) + "px").join(" "));
  // Every row is a grid of its own, and must not adapt to its content.
  table.style.setProperty("--wide", rest + width + "px");
  if (found.length === visible.length && found.every((c, at) => c === visible[at])) return;
  visible = found;
  makeHeads();
}
