// The map of bytes: a treemap whose tiles have the colour of the worst mark inside.
let tiles = [];

// Bruls, Huizing and van Wijk, "Squarified treemaps" (2000).
function squarify(found, box, place) {
  let { x, y, w, h } = box;
  const total = found.reduce((sum, n) => sum + n.bytes, 0);
  if (!total || w <= 0 || h <= 0) return;
  const scale = w * h / total;
  let at = 0;
  while (at < found.length) {
    const edge = Math.min(w, h);
    if (edge <= 0) return;
    let sum = 0, best = Infinity, stop = at;
    while (stop < found.length) {
      const area = found[stop].bytes * scale, next = sum + area, most = found[at].bytes * scale;
      const ratio = Math.max(edge * edge * most / (next * next), next * next / (edge * edge * area));
      if (ratio > best) break;
      best = ratio; sum = next; stop += 1;
    }
    const thick = sum / edge;
    let along = 0;
    for (let n = at; n < stop; n += 1) {
      const long = found[n].bytes * scale / thick;
      if (w >= h) place(found[n], { x, y: y + along, w: thick, h: long });
      else place(found[n], { x: x + along, y, w: long, h: thick });
      along += long;
    }
    if (w >= h) { x += thick; w -= thick; } else { y += thick; h -= thick; }
    at = stop;
  }
}

function tileLabel(pen, node, r) {
  const room = r.w - 9;
  if (r.h <= 15 || room < 16) return;
  const sign = MARKS[node.mark].sign, full = (sign ? sign + " " : "") + node.label;
  let text = full.length > 80 ? full.slice(0, 79) + "\u2026" : full;
  while (text.length > 1 && pen.measureText(text).width > room) text = text.slice(0, -2).replace(/\u2026?$/, "\u2026");
  if (text.length > 2 || text === full) pen.fillText(text, r.x + 4, r.y + 3);
}
function drawMap() {
  const node = get("treemap"), width = node.clientWidth, height = node.clientHeight;
  const pen = canvas(node, width, height), focus = state.module ? nodes.get(state.module) : root;
  const color = Object.fromEntries(Object.keys(MARKS).map((mark) => [mark, css("--m-" + mark)]));
  const soft = Object.fromEntries(Object.keys(MARKS).map((mark) => [mark, css("--f-" + mark)]));
  const ink = css("--ink"), back = css("--card"), chosen = state.chosen && (state.chosen.node || leafOf(state.chosen.entry));
  pen.font = "11.5px system-ui, 'DejaVu Sans', sans-serif";
  pen.textBaseline = "top";
  pen.fillStyle = back;
  pen.fillRect(0, 0, width, height);
  tiles = [];
  const paintTile = (child, r, depth) => {
    const inside = child.children.size && r.w > 26 && r.h > 30 && depth < 6, gap = r.w > 3 && r.h > 3 ? 1 : 0;
    pen.fillStyle = (inside ? soft : color)[child.mark];
    pen.fillRect(r.x, r.y, Math.max(r.w - gap, 0.5), Math.max(r.h - gap, 0.5));
    tiles.push({ ...r, node: child });
    pen.fillStyle = ink;
    tileLabel(pen, child, r);
    if (inside) visit(child, { x: r.x + 2, y: r.y + 18, w: r.w - 5, h: r.h - 21 }, depth + 1);
  };
  const visit = (parent, box, depth) => {
    const below = [...parent.children.values()].filter((n) => n.bytes > 0).sort((a, b) => b.bytes - a.bytes);
    squarify(below, box, (child, r) => paintTile(child, r, depth));
  };
  if (focus.children.size) visit(focus, { x: 0, y: 0, w: width, h: height }, 0);
  else paintTile(focus, { x: 0, y: 0, w: width, h: height }, 0);
  const tile = tiles.find((t) => t.node === chosen);
  if (tile) {
    pen.strokeStyle = css("--text");
    pen.lineWidth = 2;
    pen.strokeRect(tile.x + 1, tile.y + 1, Math.max(tile.w - 3, 1), Math.max(tile.h - 3, 1));
  }
}
function tileUnder(event) {
  let found = null;
  for (const tile of tiles) {
    if (event.offsetX >= tile.x && event.offsetX < tile.x + tile.w && event.offsetY >= tile.y && event.offsetY < tile.y + tile.h) found = tile;
  }
  return found && found.node;
}

// -- entering modules ------------------------------------------------------------------------------

function enter(id) {
  state.module = id;
  refresh({ step: true });
}
function drawCrumbs() {
  const path = state.module ? pathOf(nodes.get(state.module)) : [];
  const crumbs = [["all", ""], ...path.map((node) => [node.label, node.id])];
  get("crumbs").replaceChildren(...crumbs.flatMap(([text, id], at) => {
    const press = button(middle(text === "" ? "(empty)" : text, 40), "", () => enter(id));
    if (at === crumbs.length - 1) { press.disabled = true; press.setAttribute("aria-current", "location"); }
    return at ? [document.createTextNode(" \u203a "), press] : [press];
  }));
}
function drawLegend() {
  const found = Object.keys(MARKS).filter((mark) => mark === "none" || count((e) => e.mark === mark));
  get("legend").replaceChildren(...found.map((mark) => {
    const item = make("span", "key"), swatch = make("i", "k-" + mark, MARKS[mark].sign);
    item.append(swatch, MARKS[mark].text);
    return item;
  }));
}
function listenToMap() {
  const node = get("treemap");
  node.addEventListener("click", (event) => {
    const found = tileUnder(event);
    if (!found) return;
    tip();
    if (found.children.size) { enter(found.id); return; }
    if (state.view === "tree") openTo(found.entry);
    state.chosen = { entry: found.entry };
    refresh({ step: true, show: true });
  });
  node.addEventListener("mousemove", (event) => {
    const found = tileUnder(event);
    if (!found) { tip(); return; }
    const e = found.entry, size = `${human(found.bytes)}, ${percent(found.bytes, totalBytes)}`;
    const what = e && !found.children.size ? `${e.shown.dtype} ${e.shown.shape}` : counted(found.entries, "entry", "entries");
    const marks = Object.keys(MARKS).filter((mark) => mark !== "none" && found.marks[mark])
      .map((mark) => (found.children.size ? `${MARKS[mark].text}: ${grouped(found.marks[mark])}` : MARKS[mark].text));
    tip(event, `${found.id}\n${what}, ${size}${marks.length ? "\n" + marks.join(", ") : ""}`);
  });
  node.addEventListener("mouseleave", () => tip());
}
