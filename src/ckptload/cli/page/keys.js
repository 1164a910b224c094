// The keyboard. The table has the focus, and says with aria-activedescendant which row is meant.
const KEYS = [
  ["\u2191 \u2193", "the row above, below"], ["Page Up, Page Down", "a screen of rows up, down"],
  ["Home, End", "the first row, the last row"], ["\u2192 \u2190", "in the tree: open or close a module, go into it or out of it"],
  ["Enter", "open or close a module; of an entry: go to its panel"], ["/", "search"],
  ["Escape", "clear search and filters; then leave the module; then select nothing"], ["t", "tree or list"], ["?", "this help"],
];
function fillHelp() {
  const table = factTable(KEYS);
  get("keys").append(table);
  get("close-help").addEventListener("click", () => get("help").close());
  get("show-help").addEventListener("click", () => get("help").showModal());
}
function clearAll() {
  if (filtering()) {
    Object.assign(state, { query: "", kind: "", mark: "" });
    foldedInSearch.clear();
    if (state.view === "tree" && state.chosen && state.chosen.entry) openTo(state.chosen.entry);
  } else if (state.module) state.module = "";
  else if (state.chosen) state.chosen = null;
  else return;
  refresh({ step: true, show: true });
}
function move(at) {
  if (!rows.length) return;
  choose(rows[Math.min(rows.length - 1, Math.max(0, at))], false);
}
function sideways(open) {
  const at = chosenAt(), row = rows[at];
  if (!row || state.view !== "tree") return false;
  if (row.node && isOpen(row.node) !== open) fold(row.node, open);
  else if (open) { if (row.node) move(at + 1); }
  else {
    // Out of it: the nearest row above that is less deep.
    for (let up = at - 1; up >= 0; up -= 1) if (rows[up].depth < row.depth) { move(up); break; }
  }
  return true;
}
function act() {
  const row = rows[chosenAt()];
  if (row && row.node) fold(row.node, !isOpen(row.node));
  else if (row) get("detail").focus();
}
function onTableKey(event) {
  if (event.target !== get("table") || event.ctrlKey || event.metaKey || event.altKey) return;
  const at = chosenAt(), screen = Math.max(1, Math.floor((get("table").clientHeight - HEAD) / ROW) - 1);
  const moves = {
    ArrowDown: () => move(at + 1), ArrowUp: () => move(at < 0 ? 0 : at - 1), Home: () => move(0),
    End: () => move(rows.length - 1), PageDown: () => move(Math.max(0, at) + screen), PageUp: () => move(at - screen),
    ArrowRight: () => sideways(true), ArrowLeft: () => sideways(false), Enter: act,
  };
  if (!Object.hasOwn(moves, event.key)) return;
  if (moves[event.key]() === false) return;
  event.preventDefault();
}
function onPageKey(event) {
  if (get("help").open || event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName);
  if (event.key === "Escape") { clearAll(); get("table").focus(); }
  else if (typing && event.key === "ArrowDown" && event.target === get("search")) { get("table").focus(); move(Math.max(0, chosenAt())); }
  else if (typing) return;
  else if (event.key === "/") { get("search").focus(); get("search").select(); }
  else if (event.key === "?") get("help").showModal();
  else if (event.key === "t") setView(state.view === "tree" ? "list" : "tree");
  else return;
  event.preventDefault();
}
