// Everything together: the controls, the map beside the table, and the first look.
function option(select, value, text) {
  const node = make("option", "", text);
  node.value = value;
  select.append(node);
}
function fillFilters() {
  option(get("kind"), "", "all types");
  for (const kind of [...new Set(entries.map((e) => e.shown.dtype))].sort()) option(get("kind"), kind, kind);
  option(get("mark"), "", "all entries");
  for (const [key, [text, test]] of Object.entries(filters)) {
    if (!several && ["different", "changed", "added", "removed"].includes(key)) continue;
    const n = count(test);
    if (n || ["bad", "dead", "different"].includes(key)) option(get("mark"), key, `${text} (${grouped(n)})`);
  }
}
function setView(view) {
  state.view = view;
  if (view === "tree" && state.chosen && state.chosen.entry) openTo(state.chosen.entry);
  if (view === "list" && state.chosen && state.chosen.node) state.chosen = null;
  refresh({ step: true, show: true });
}
// The controls show the state, however it came about.
function showControls() {
  if (get("search").value !== state.query) get("search").value = state.query;
  get("kind").value = state.kind;
  get("mark").value = state.mark;
  for (const view of ["list", "tree"]) get("view-" + view).setAttribute("aria-pressed", String(state.view === view));
  get("folding").hidden = state.view !== "tree";
  drawCrumbs();
  drawMap();
}
function filtered(change, step) {
  Object.assign(state, change);
  foldedInSearch.clear();
  refresh({ step });
}
function listen() {
  get("search").addEventListener("input", () => filtered({ query: get("search").value }, false));
  get("kind").addEventListener("change", () => filtered({ kind: get("kind").value }, true));
  get("mark").addEventListener("change", () => filtered({ mark: get("mark").value }, true));
  get("view-list").addEventListener("click", () => setView("list"));
  get("view-tree").addEventListener("click", () => setView("tree"));
  get("open-all").addEventListener("click", () => foldAll(true));
  get("close-all").addEventListener("click", () => foldAll(false));
  get("csv").addEventListener("click", download);
  get("table").addEventListener("scroll", () => requestAnimationFrame(() => paint(false)));
  get("table").addEventListener("keydown", onTableKey);
  document.addEventListener("keydown", onPageKey);
  listenToMap();
  const again = () => { fitColumns(); markHeads(); drawMap(); paint(true); panel(); };
  window.addEventListener("resize", () => requestAnimationFrame(again));
  dark.addEventListener("change", again);
  // Going back and a fragment typed by hand.
  window.addEventListener("hashchange", restore);
  window.addEventListener("popstate", restore);
}
function restore() {
  if (location.hash.slice(1) === fragment()) return;
  recall();
  foldedInSearch.clear();
  refresh({ show: true });
}

grow();
fillColumns();
fillHead();
fillCards();
fillFilters();
fillHelp();
measureColumns();
drawLegend();
listen();
recall();
if (!location.hash && entries.length) state.chosen = { entry: entries[0] };
refresh({ show: true });
document.documentElement.dataset.ready = "yes";
