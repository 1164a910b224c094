// What the user has chosen, and the URL's fragment, which keeps it: reloading and the back button restore it.
const FRESH = {
  query: "", kind: "", mark: "", module: "", sort: "order", down: false, view: "list", chosen: null, base: "auto",
};
const state = { ...FRESH, flipped: new Set() };
// Modules that were folded while a search or a filter was on; these open all modules.
const foldedInSearch = new Set();

const filtering = () => Boolean(state.query.trim() || state.kind || state.mark);
const filters = {
  bad: ["NaN or Inf", (e) => e.bad], dead: ["all zero", (e) => e.dead], constant: ["constant", (e) => e.constant],
  damaged: ["damaged", (e) => e.damaged], different: ["different", (e) => e.status !== "same"],
  changed: ["changed", (e) => e.status === "changed"], added: ["added", (e) => e.status === "added"],
  removed: ["removed", (e) => e.status === "removed"],
};
function word(text) {
  if (!text.includes("*")) return (name) => name.includes(text);
  const parts = text.split("*");
  // No regular expression: one with many stars takes very long.
  return (name) => {
    if (!name.startsWith(parts[0])) return false;
    let at = parts[0].length;
    for (const part of parts.slice(1, -1)) {
      const found = name.indexOf(part, at);
      if (found < 0) return false;
      at = found + part.length;
    }
    const tail = parts[parts.length - 1];
    return name.length - tail.length >= at && name.endsWith(tail);
  };
}
const within = (name, module) => !module || name === module || name.startsWith(module + ".");
function wanted() {
  const words = state.query.toLowerCase().split(/\s+/).filter(Boolean).map(word);
  const test = state.mark ? filters[state.mark][1] : () => true;
  return (e) => words.every((w) => w(e.lower)) && (!state.kind || e.shown.dtype === state.kind) && test(e) &&
    within(e.name, state.module);
}

// -- the fragment ----------------------------------------------------------------------------------

function fragment() {
  const found = new URLSearchParams();
  const put = (key, value) => { if (value) found.append(key, value); };
  put("q", state.query); put("type", state.kind); put("show", state.mark); put("module", state.module);
  if (state.sort !== "order" || state.down) put("sort", (state.down ? "-" : "") + state.sort);
  if (state.view !== FRESH.view) put("view", state.view);
  if (state.chosen !== null) {
    put(state.chosen.node ? "chosen-module" : "chosen", state.chosen.node ? state.chosen.node.id : state.chosen.entry.name);
  }
  if (state.base !== "auto") put("modules", state.base);
  for (const id of state.flipped) put("fold", id);
  return found.toString();
}
function remember(step) {
  const next = fragment();
  if (next === location.hash.slice(1)) return;
  // A browser may refuse too many changes in a short time; the page goes on without.
  try {
    history[step ? "pushState" : "replaceState"](null, "", "#" + next);
  } catch { /* nothing depends on it */ }
}
function recall() {
  const found = new URLSearchParams(location.hash.slice(1));
  const known = (value, allowed) => (allowed.includes(value) ? value : "");
  const sort = found.get("sort") || "order", key = sort.replace(/^-/, "");
  Object.assign(state, FRESH, {
    query: found.get("q") || "",
    kind: known(found.get("type"), entries.map((e) => e.shown.dtype)),
    mark: known(found.get("show"), Object.keys(filters)),
    module: nodes.has(found.get("module")) ? found.get("module") : "",
    sort: columns.some((c) => c.key === key) ? key : "order",
    down: sort.startsWith("-"),
    view: known(found.get("view"), ["tree"]) || "list",
    base: known(found.get("modules"), ["open", "closed"]) || "auto",
    flipped: new Set(found.getAll("fold").filter((id) => nodes.has(id))),
  });
  const node = nodes.get(found.get("chosen-module"));
  const entry = entries.find((e) => e.name === found.get("chosen"));
  if (node && node.children.size) state.chosen = { node };
  else if (entry) state.chosen = { entry };
}
