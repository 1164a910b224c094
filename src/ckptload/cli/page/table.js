// The table: a list of entries or a tree of modules; only the rows that can be seen exist.
const natural = new Intl.Collator("en", { numeric: true });
let kept = [], rows = [];

function sorted(found) {
  const column = columns.find((c) => c.key === state.sort), sign = state.down ? -1 : 1;
  if (column.key === "order" && !state.down) return found;
  const values = new Map(found.map((e) => [e, column.value(e)]));
  return found.sort((x, y) => {
    const a = values.get(x), b = values.get(y);
    // What has no value comes last, whichever way.
    if (a === null || a === undefined) return b === null || b === undefined ? x.order - y.order : 1;
    if (b === null || b === undefined) return -1;
    const c = typeof a === "string" ? natural.compare(a, b) : a - b;
    return c ? sign * c : x.order - y.order;
  });
}
function arrange() {
  kept = sorted(entries.filter(wanted()));
  rows = state.view === "tree" ? treeRows(kept) : kept.map((entry) => ({ entry, depth: 0, label: entry.name }));
}
const isChosen = (row) => state.chosen !== null &&
  (row.node ? row.node === state.chosen.node : row.entry === state.chosen.entry);
const chosenAt = () => rows.findIndex(isChosen);

function makeHeads() {
  get("columns").replaceChildren();
  visible.forEach((column, at) => {
    const head = make("div", column.number ? "number" : column.key);
    head.setAttribute("role", "columnheader");
    head.setAttribute("aria-colindex", String(at + 1));
    head.dataset.key = column.key;
    const press = button(column.title, "", () => {
      state.down = state.sort === column.key ? !state.down : Boolean((column.number && column.key !== "order") || column.key === "marks");
      state.sort = column.key;
      refresh({ step: true });
    });
    head.append(press);
    get("columns").append(head);
  });
  get("table").setAttribute("aria-colcount", String(visible.length));
}
function markHeads() {
  for (const head of get("columns").children) {
    const active = head.dataset.key === state.sort;
    if (active) head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
    const title = columns.find((c) => c.key === head.dataset.key).title;
    head.firstChild.textContent = title + (active ? (state.down ? " \u25be" : " \u25b4") : "");
  }
}
function showCount() {
  const bytes = kept.reduce((n, e) => n + e.bytes, 0);
  get("count").textContent = kept.length === entries.length ? counted(entries.length, "entry", "entries")
    : `${grouped(kept.length)} of ${counted(entries.length, "entry", "entries")}, ${human(bytes)}`;
  get("none").hidden = rows.length > 0;
  if (!rows.length) get("none").textContent = emptyText();
}
function emptyText() {
  if (!entries.length) return "This checkpoint has no entries.";
  const query = state.query.trim(), where = state.module ? ` in '${state.module}'` : "";
  const what = query ? `No entry${where} matches '${query}'` : `No entry${where} is of this type and mark`;
  return what + (query && (state.kind || state.mark) ? " and the filters" : "") + "; Escape clears.";
}

// -- rows ------------------------------------------------------------------------------------------

function nameCell(row) {
  const cell = make("span", "name"), tree = state.view === "tree";
  cell.title = row.node ? row.node.id : row.entry.name;
  if (tree) {
    cell.style.paddingLeft = STEP * Math.min(row.depth, 8) + "px";
    const open = row.node && isOpen(row.node);
    const arrow = make("span", "arrow", row.node ? (open ? "\u25be" : "\u25b8") : "");
    if (row.node) arrow.addEventListener("click", (event) => { event.stopPropagation(); fold(row.node, !open); });
    cell.append(arrow);
  }
  const text = row.node ? ` ${grouped(row.entries)}` : "";
  const room = nameLetters - (tree ? Math.ceil((STEP * Math.min(row.depth, 8) + BUTTON) / LETTER) + text.length : 0);
  const label = make("span", "label", middle(row.label === "" ? "(empty)" : row.label, Math.max(6, room)));
  cell.append(label);
  if (row.node) { cell.append(make("span", "muted", text)); cell.classList.add("module"); }
  return cell;
}
function moduleCell(column, row) {
  if (column.key === "marks") return markCell(["damaged", "bad", "dead"].includes(row.mark) ? row.mark : "none", null);
  if (column.key === "status") return make("span", "s-" + statusOf(row.node), statusOf(row.node));
  return make("span", column.number ? "number" : "", column.of ? column.of(row) : "");
}
// A module in which everything was added or removed was itself.
function statusOf(node) {
  const found = Object.keys(node.statuses);
  return found.length === 1 ? found[0] : "changed";
}
function entryCell(column, e) {
  if (column.build) return column.build(e);
  return make("span", (column.number ? "number " : "") + (column.tone ? column.tone(e) : ""), column.text(e) ?? "");
}
function makeRow(row, at) {
  const node = make("div", "row" + (row.node ? " of-module" : "") + (isChosen(row) ? " chosen" : ""));
  node.id = "row-" + at;
  node.setAttribute("role", "row");
  node.setAttribute("aria-rowindex", String(at + 2));
  node.setAttribute("aria-selected", String(isChosen(row)));
  if (state.view === "tree") {
    node.setAttribute("aria-level", String(row.depth + 1));
    if (row.node) node.setAttribute("aria-expanded", String(isOpen(row.node)));
  }
  visible.forEach((column, index) => {
    const cell = column.key === "name" ? nameCell(row) : row.node ? moduleCell(column, row) : entryCell(column, row.entry);
    cell.setAttribute("role", column.key === "name" ? "rowheader" : "gridcell");
    cell.setAttribute("aria-colindex", String(index + 1));
    node.append(cell);
  });
  node.addEventListener("click", () => choose(row, true));
  if (row.node) node.addEventListener("dblclick", () => fold(row.node, !isOpen(row.node)));
  return node;
}

let from = -1, to = -1;
function paint(force) {
  const table = get("table");
  const start = Math.max(0, Math.floor(table.scrollTop / ROW) - 6);
  const stop = Math.min(rows.length, Math.ceil((table.scrollTop + table.clientHeight) / ROW) + 6);
  if (!force && start === from && stop === to) return;
  from = start; to = stop;
  get("rows").style.top = from * ROW + "px";
  get("rows").replaceChildren(...rows.slice(from, to).map((row, at) => makeRow(row, from + at)));
  const at = chosenAt();
  if (at >= from && at < to) table.setAttribute("aria-activedescendant", "row-" + at);
  else table.removeAttribute("aria-activedescendant");
}
function showRow(at) {
  const table = get("table"), top = at * ROW;
  if (top < table.scrollTop) table.scrollTop = top;
  else if (top + ROW > table.scrollTop + table.clientHeight - HEAD) table.scrollTop = top + ROW + HEAD - table.clientHeight;
}
function choose(row, step) {
  state.chosen = row.node ? { node: row.node } : { entry: row.entry };
  const at = chosenAt();
  if (at >= 0) showRow(at);
  paint(true);
  panel();
  // The map frames what is selected; while a key is held, it is drawn once for each picture on the screen.
  if (!mapWaits) requestAnimationFrame(() => { mapWaits = false; drawMap(); });
  mapWaits = true;
  remember(step);
}
let mapWaits = false;

// Everything anew from the state, so that table, panel and map always say the same. Sorting and filtering begin at the
// first row; `keep` stays where the table is, `show` scrolls to the selected row.
function refresh({ step = false, keep = false, show = false } = {}) {
  arrange();
  fitColumns();
  markHeads();
  showCount();
  const table = get("table"), top = table.scrollTop;
  table.setAttribute("role", state.view === "tree" ? "treegrid" : "grid");
  table.setAttribute("aria-rowcount", String(rows.length + 1));
  get("space").style.height = rows.length * ROW + "px";
  table.scrollTop = keep ? top : 0;
  const at = chosenAt();
  if (at >= 0 && show) showRow(at);
  showControls();
  paint(true);
  panel();
  remember(step);
}
