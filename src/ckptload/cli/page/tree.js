// The modules: what names have in common before their dots. `nodes` finds one by its path.
const nodes = new Map();
const newNode = (label, parent) => ({
  label, parent, id: "", depth: parent ? parent.depth + 1 : -1, bytes: 0, children: new Map(), entry: null,
  entries: 0, elements: 0, mark: "none", marks: {}, statuses: {},
});
const root = newNode("", null);
function grow() {
  for (const e of entries) {
    let node = root;
    addTo(node, e);
    // A hostile name can have thousands of dots.
    const parts = e.name.split(".");
    const steps = parts.length > 32 ? [...parts.slice(0, 31), parts.slice(31).join(".")] : parts;
    for (const part of steps) {
      let next = node.children.get(part);
      if (!next) {
        next = newNode(part, node);
        next.id = node === root ? part : node.id + "." + part;
        node.children.set(part, next);
        nodes.set(next.id, next);
      }
      node = next;
      addTo(node, e);
    }
    node.entry = e;
  }
}
// A module in which everything was added or removed was itself; one with more than that was changed.
function joined(a, b) {
  const same = a === b || MARKS[a].level > MARKS.changed.level || MARKS[b].level > MARKS.changed.level;
  return same ? worse(a, b) : "changed";
}
function addTo(node, e) {
  node.bytes += e.bytes;
  node.entries += 1;
  node.elements += e.shown.elements || 0;
  node.mark = node.entries > 1 ? joined(node.mark, e.mark) : e.mark;
  if (several) node.statuses[e.status] = (node.statuses[e.status] || 0) + 1;
  node.marks[e.mark] = (node.marks[e.mark] || 0) + 1;
}
function pathOf(node) {
  const found = [];
  for (let at = node; at !== root; at = at.parent) found.unshift(at);
  return found;
}

// -- folding ---------------------------------------------------------------------------------------

// Small checkpoints are open at first, large ones show their first modules.
const openAtFirst = (node) => entries.length <= 60 || (root.children.size === 1 && node.depth === 0);
function isOpen(node) {
  if (filtering()) return !foldedInSearch.has(node.id);
  const base = state.base === "auto" ? openAtFirst(node) : state.base === "open";
  return base !== state.flipped.has(node.id);
}
function fold(node, open) {
  if (isOpen(node) === open) return;
  const set = filtering() ? foldedInSearch : state.flipped;
  if (set.has(node.id)) set.delete(node.id); else set.add(node.id);
  // What is selected can be seen: a module that closes over it is selected instead.
  const inside = state.chosen && (state.chosen.node || leafOf(state.chosen.entry));
  for (let at = inside; !open && at; at = at.parent) if (at === node) state.chosen = { node };
  refresh({ step: true, keep: true });
}
const leafOf = (e) => nodes.get(e.name);
function foldAll(open) {
  state.base = open ? "open" : "closed";
  state.flipped.clear();
  foldedInSearch.clear();
  if (!open && filtering()) for (const id of nodes.keys()) foldedInSearch.add(id);
  if (!open && state.chosen) {
    const path = pathOf(state.chosen.node || leafOf(state.chosen.entry));
    const top = path.find((n) => n.children.size && within(n.id, state.module) && n.id !== state.module);
    if (top) state.chosen = { node: top };
  }
  refresh({ step: true, keep: true });
}
function openTo(e) {
  for (const node of pathOf(leafOf(e))) {
    if (!node.children.size || isOpen(node)) continue;
    const set = filtering() ? foldedInSearch : state.flipped;
    if (set.has(node.id)) set.delete(node.id); else set.add(node.id);
  }
}

// The rows of the tree: modules with those of the kept entries, in the order of the sorted list.
function treeRows(kept, open = isOpen) {
  const top = state.module ? nodes.get(state.module) : root;
  const groups = new Map(), has = new Set(kept), pending = [];
  for (const e of kept) {
    for (let node = leafOf(e); node; node = node.parent) {
      const group = groups.get(node);
      if (group) { group.entries += 1; group.bytes += e.bytes; group.mark = joined(group.mark, e.mark); continue; }
      groups.set(node, { entries: 1, bytes: e.bytes, mark: e.mark, below: [] });
      // A module stands where its first entry does, in the order of the column.
      if (node.parent) pending.push(node);
    }
    for (const node of pending.splice(0)) groups.get(node.parent).below.push(node);
  }
  const rows = [];
  const visit = (node, depth) => {
    let below = groups.get(node) ? groups.get(node).below : [];
    if (state.sort === "bytes" || state.sort === "share") {
      const sign = state.down ? -1 : 1;
      below = [...below].sort((a, b) => sign * (groups.get(a).bytes - groups.get(b).bytes));
    }
    for (const child of below) {
      if (!child.children.size) { rows.push({ entry: child.entry, depth, label: child.label }); continue; }
      const group = groups.get(child);
      rows.push({ node: child, depth, label: child.label, ...group });
      if (!open(child)) continue;
      if (child.entry && has.has(child.entry)) rows.push({ entry: child.entry, depth: depth + 1, label: child.label });
      visit(child, depth + 1);
    }
  };
  // The module that was entered can be an entry itself.
  if (top.entry && groups.has(top)) rows.push({ entry: top.entry, depth: 0, label: top.label });
  visit(top, 0);
  return rows;
}
