"use strict";
// Everything from the file reaches the page as text (textContent, fillText), never as markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const get = (id) => document.getElementById(id);
  const two = data.against !== null;
  const ROW = 28, BINS = data.bins, WIDTH_OF_SPARK = 110, HEIGHT_OF_SPARK = 22;

  // -- small helpers ---------------------------------------------------------------------------

  const make = (tag, className, text) => {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const grouped = (n) => n.toLocaleString("en-US");
  const short = (n) => {
    if (n === null || n === undefined) return "";
    if (Number.isInteger(n) && Math.abs(n) < 1e7) return grouped(n);
    const a = Math.abs(n);
    return a !== 0 && (a < 1e-3 || a >= 1e7) ? n.toExponential(2) : String(Number(n.toPrecision(4)));
  };
  const human = (n) => {
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let at = 0;
    while (n >= 1024 && at < units.length - 1) { n /= 1024; at += 1; }
    return (at ? n.toFixed(1) : n) + " " + units[at];
  };
  const percent = (part, whole) => {
    if (!whole) return "";
    const share = 100 * part / whole;
    return !part ? "0%" : share < 0.01 ? "<0.01%" : share.toFixed(share < 9.95 ? 2 : 1) + "%";
  };
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const canvas = (node, width, height) => {
    const ratio = window.devicePixelRatio || 1;
    node.width = Math.max(1, Math.round(width * ratio));
    node.height = Math.max(1, Math.round(height * ratio));
    const pen = node.getContext("2d");
    pen.scale(ratio, ratio);
    return pen;
  };

  // -- entries ---------------------------------------------------------------------------------

  // One object for each name; `a` is the file, `b` the other one; either may be missing.
  const side = (packed) => {
    if (packed === null) return null;
    const [dtype, shape, bytes, elements, offset, stats, bins, value, problem] = packed;
    const s = stats === null ? null : {
      min: stats[0], max: stats[1], mean: stats[2], std: stats[3], nan: stats[4], inf: stats[5], zeros: stats[6],
      dead: stats[7] === 1, constant: stats[8] === 1,
    };
    return { dtype, shape, bytes, elements, offset, stats: s, bins, value, problem };
  };
  const entries = data.entries.map(([name, a, b, status, low, high, distance], order) => {
    const one = side(a), other = side(b), shown = one || other;
    const sides = [one, other].filter((x) => x && x.stats);
    return {
      order, name, lower: name.toLowerCase(), a: one, b: other, shown, status, low, high,
      distance: distance === null ? null
        : { changed: distance[0], max: distance[1], mean: distance[2], cosine: distance[3] },
      bytes: shown.bytes,
      bad: sides.some((x) => x.stats.nan || x.stats.inf), dead: sides.some((x) => x.stats.dead),
      constant: sides.some((x) => x.stats.constant && !x.stats.dead),
      damaged: Boolean((one && one.problem) || (other && other.problem)),
    };
  });
  const totalBytes = entries.reduce((sum, e) => sum + e.bytes, 0);

  // -- head ------------------------------------------------------------------------------------

  get("title").textContent = data.file.path + (two ? "  \u2194  " + data.against.path : "");
  get("facts").textContent = (two ? "A: " : "") + data.file.about;
  if (two) {
    get("facts-against").hidden = false;
    get("facts-against").textContent = "B: " + data.against.about;
  }
  const card = (title, value, className) => {
    const box = make("div");
    box.append(make("dt", "", title), make("dd", className, value));
    get("cards").append(box);
  };
  const count = (test) => entries.reduce((n, e) => n + (test(e) ? 1 : 0), 0);
  card("entries", grouped(entries.length));
  card("elements", grouped(entries.reduce((n, e) => n + (e.shown.elements || 0), 0)));
  card("bytes", human(totalBytes));
  if (two) {
    for (const [status, className] of [["changed", "warn"], ["added", "good"], ["removed", "bad"]]) {
      const n = count((e) => e.status === status);
      card(status, grouped(n), n ? className : "");
    }
  }
  const withBad = count((e) => e.bad), withDead = count((e) => e.dead), damaged = count((e) => e.damaged);
  card("with NaN or Inf", grouped(withBad), withBad ? "bad" : "");
  card("all zero", grouped(withDead), withDead ? "warn" : "");
  if (damaged) card("damaged", grouped(damaged), "bad");

  // -- filters ---------------------------------------------------------------------------------

  const state = { words: [], kind: "", mark: "", module: [], sort: "order", down: false, chosen: null };
  const option = (select, value, text) => {
    const node = make("option", "", text);
    node.value = value;
    select.append(node);
  };
  option(get("kind"), "", "all types");
  for (const kind of [...new Set(entries.map((e) => e.shown.dtype))].sort()) option(get("kind"), kind, kind);
  option(get("mark"), "", "all entries");
  const marks = {
    bad: ["NaN or Inf", (e) => e.bad], dead: ["all zero", (e) => e.dead], constant: ["constant", (e) => e.constant],
    damaged: ["damaged", (e) => e.damaged], different: ["different", (e) => e.status !== "same"],
    changed: ["changed", (e) => e.status === "changed"], added: ["added", (e) => e.status === "added"],
    removed: ["removed", (e) => e.status === "removed"],
  };
  for (const [key, [text, test]] of Object.entries(marks)) {
    const n = count(test);
    if (two || !["different", "changed", "added", "removed"].includes(key)) {
      if (n || ["bad", "dead", "different"].includes(key)) option(get("mark"), key, `${text} (${grouped(n)})`);
    }
  }
  const word = (text) => {
    if (!text.includes("*")) return (name) => name.includes(text);
    const escaped = text.split("*").map((part) => part.replace(/[.+?^${}()|[\]\\]/g, "\\$&"));
    const pattern = new RegExp("^" + escaped.join(".*") + "$");
    return (name) => pattern.test(name);
  };
  const inModule = (e) => {
    const path = state.module;
    if (!path.length) return true;
    const prefix = path.join(".");
    return e.name === prefix || e.name.startsWith(prefix + ".");
  };
  const keep = (e) =>
    state.words.every((test) => test(e.lower)) && (!state.kind || e.shown.dtype === state.kind) &&
    (!state.mark || marks[state.mark][1](e)) && inModule(e);

  // -- table -----------------------------------------------------------------------------------

  const stat = (key) => (e) => (e.shown.stats ? e.shown.stats[key] : null);
  const pair = (key) => (e) => [e.a, e.b].map((x) => short(x && x.stats ? x.stats[key] : null)).join(" \u2192 ");
  const longest = entries.reduce((n, e) => Math.max(n, e.name.length), 0);
  const roomForBadges = entries.some((e) => e.damaged || e.bad || e.dead || e.constant) ? 68 : 0;
  const nameWidth = Math.round(Math.min(400, Math.max(150, 7.7 * longest + 8 + roomForBadges)));
  const columns = [
    { key: "order", title: "#", width: "44px", number: true, value: (e) => e.order, text: (e) => grouped(e.order + 1) },
    { key: "name", title: "name", width: `minmax(${nameWidth}px, 1fr)`, value: (e) => e.name, build: nameCell },
  ];
  const add = (...more) => columns.push(...more);
  if (two) {
    add(
      { key: "status", title: "status", width: "62px", value: (e) => e.status, text: (e) => e.status,
        tone: (e) => ({ changed: "warn", added: "good", removed: "bad" })[e.status] || "muted" },
      { key: "max", title: "max diff", width: "76px", number: true, value: (e) => e.distance && e.distance.max, text: (e) => short(e.distance && e.distance.max) },
      { key: "cosine", title: "cosine", width: "72px", number: true, value: (e) => e.distance && e.distance.cosine,
        text: (e) => (e.distance && e.distance.cosine !== null ? e.distance.cosine.toFixed(5) : "") },
    );
  }
  const both = (get) => (e) => {
    const a = e.a ? get(e.a) : null, b = e.b ? get(e.b) : null;
    return a === b || b === null ? a : a === null ? b : `${a} \u2192 ${b}`;
  };
  add(
    { key: "spark", title: "histogram", width: WIDTH_OF_SPARK + "px", value: (e) => (e.shown.stats ? e.shown.stats.std : null), build: sparkCell },
    { key: "dtype", title: "dtype", width: two ? "120px" : "80px", value: (e) => e.shown.dtype, text: both((x) => x.dtype) },
    { key: "shape", title: "shape", width: two ? "130px" : "108px", value: (e) => e.shown.elements, text: both((x) => x.shape) },
    { key: "bytes", title: "bytes", width: "84px", number: true, value: (e) => e.bytes, text: (e) => grouped(e.bytes) },
    { key: "share", title: "share", width: "60px", number: true, value: (e) => e.bytes, text: (e) => percent(e.bytes, totalBytes) },
  );
  if (two) {
    add(
      { key: "mean", title: "mean diff", width: "76px", number: true, value: (e) => e.distance && e.distance.mean, text: (e) => short(e.distance && e.distance.mean) },
      { key: "std", title: "std A \u2192 B", width: "130px", number: true, value: stat("std"), text: pair("std") },
    );
  } else {
    for (const key of ["min", "max", "mean", "std"]) {
      add({ key, title: key, width: "76px", number: true, value: stat(key), text: (e) => short(stat(key)(e)) });
    }
  }
  const worst = (key) => (e) => {
    const found = [e.a, e.b].filter((x) => x && x.stats).map((x) => x.stats[key]);
    return found.length ? Math.max(...found) : null;
  };
  const counted = (key) => ({ key, title: key === "nan" ? "NaN" : "Inf", width: "56px", number: true, value: worst(key),
    text: (e) => (worst(key)(e) === null ? "" : grouped(worst(key)(e))), tone: (e) => (worst(key)(e) ? "bad" : "muted") });
  add(
    counted("nan"), counted("inf"),
    { key: "zeros", title: "zeros", width: "58px", number: true,
      value: (e) => (e.shown.stats && e.shown.elements ? e.shown.stats.zeros / e.shown.elements : null),
      text: (e) => (e.shown.stats ? percent(e.shown.stats.zeros, e.shown.elements) : "") },
  );

  function nameCell(e) {
    const cell = make("span", "name", e.name);
    cell.title = e.name;
    const badge = (text, tone) => cell.append(make("span", "badge " + tone, text));
    if (e.damaged) badge("damaged", "bad");
    if (e.bad) badge("NaN/Inf", "bad");
    if (e.dead) badge("all zero", "warn");
    if (e.constant) badge("constant", "muted");
    return cell;
  }
  function sparkCell(e) {
    const node = make("canvas");
    draw(canvas(node, WIDTH_OF_SPARK, HEIGHT_OF_SPARK), e, WIDTH_OF_SPARK, HEIGHT_OF_SPARK, true);
    return node;
  }

  get("table").style.setProperty("--grid", columns.map((c) => c.width).join(" "));
  // As wide as all columns at their narrowest: every row is a grid of its own, and must not adapt to its content.
  const narrowest = columns.reduce((sum, c) => sum + Number(/\d+/.exec(c.width)[0]) + 14, 24 - 14);
  get("table").style.setProperty("--wide", narrowest + "px");
  for (const column of columns) {
    const head = make("div", column.number ? "number" : "");
    head.setAttribute("role", "columnheader");
    head.dataset.key = column.key;
    const button = make("button", "", column.title);
    button.addEventListener("click", () => {
      state.down = state.sort === column.key ? !state.down : Boolean(column.number && column.key !== "order");
      state.sort = column.key;
      update();
    });
    head.append(button);
    get("columns").append(head);
  }

  const natural = new Intl.Collator("en", { numeric: true });
  let shown = [];
  function arrange() {
    shown = entries.filter(keep);
    const column = columns.find((c) => c.key === state.sort);
    const sign = state.down ? -1 : 1;
    if (column.key !== "order" || state.down) {
      const values = new Map(shown.map((e) => [e, column.value(e)]));
      shown.sort((x, y) => {
        const a = values.get(x), b = values.get(y);
        // What has no value comes last, whichever way.
        if (a === null || a === undefined) return b === null || b === undefined ? x.order - y.order : 1;
        if (b === null || b === undefined) return -1;
        const c = typeof a === "string" ? natural.compare(a, b) : a - b;
        return c ? sign * c : x.order - y.order;
      });
    }
    for (const head of get("columns").children) {
      const active = head.dataset.key === state.sort;
      if (active) head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
      const title = columns.find((c) => c.key === head.dataset.key).title;
      head.firstChild.textContent = title + (active ? (state.down ? " \u25be" : " \u25b4") : "");
    }
    get("table").setAttribute("aria-rowcount", String(shown.length));
    get("space").style.height = shown.length * ROW + "px";
    const bytes = shown.reduce((n, e) => n + e.bytes, 0);
    get("count").textContent = shown.length === entries.length
      ? `${grouped(entries.length)} entries` : `${grouped(shown.length)} of ${grouped(entries.length)} entries, ${human(bytes)}`;
  }

  // Only the rows that can be seen exist.
  let first = -1, last = -1;
  function paint(force) {
    const table = get("table");
    const from = Math.max(0, Math.floor(table.scrollTop / ROW) - 6);
    const to = Math.min(shown.length, Math.ceil((table.scrollTop + table.clientHeight) / ROW) + 6);
    if (!force && from === first && to === last) return;
    first = from; last = to;
    const rows = shown.slice(from, to).map((e, at) => {
      const row = make("div", "row" + (e === state.chosen ? " chosen" : ""));
      row.setAttribute("role", "row");
      row.setAttribute("aria-rowindex", String(from + at + 1));
      for (const column of columns) {
        const cell = column.build ? column.build(e)
          : make("span", (column.number ? "number " : "") + (column.tone ? column.tone(e) : ""), column.text(e) ?? "");
        cell.setAttribute("role", "gridcell");
        row.append(cell);
      }
      row.addEventListener("click", () => choose(e));
      return row;
    });
    get("rows").style.top = from * ROW + "px";
    get("rows").replaceChildren(...rows);
  }
  get("table").addEventListener("scroll", () => requestAnimationFrame(() => paint(false)));
  get("table").addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10 }[event.key];
    if (!step || !shown.length) return;
    event.preventDefault();
    const at = Math.min(shown.length - 1, Math.max(0, shown.indexOf(state.chosen) + step));
    const table = get("table"), top = at * ROW;
    if (top < table.scrollTop) table.scrollTop = top;
    else if (top + ROW > table.scrollTop + table.clientHeight - 34) table.scrollTop = top + ROW + 34 - table.clientHeight;
    choose(shown[at]);
  });

  // -- histograms ------------------------------------------------------------------------------

  function draw(pen, e, width, height, small, log) {
    const scale = (n) => (log ? Math.log1p(n) : small ? Math.sqrt(n) : n);
    const sides = [[e.a, "--accent"], [e.b, "--second"]].filter(([x]) => x && x.bins);
    const peak = Math.max(1e-9, ...sides.flatMap(([x]) => x.bins.map(scale)));
    const step = width / BINS;
    pen.clearRect(0, 0, width, height);
    sides.forEach(([x, color], which) => {
      pen.fillStyle = pen.strokeStyle = css(color);
      if (which === 0) {
        pen.globalAlpha = sides.length > 1 ? 0.55 : 0.85;
        x.bins.forEach((n, at) => {
          const tall = n ? Math.max(1, (height - 1) * scale(n) / peak) : 0;
          pen.fillRect(at * step, height - tall, Math.max(step - (small ? 0.4 : 1), 0.6), tall);
        });
        pen.globalAlpha = 1;
      } else {
        pen.lineWidth = small ? 1 : 1.6;
        pen.beginPath();
        x.bins.forEach((n, at) => {
          const y = height - (height - 1) * scale(n) / peak;
          pen.lineTo(at * step, y);
          pen.lineTo((at + 1) * step, y);
        });
        pen.stroke();
      }
    });
    pen.fillStyle = css("--line");
    pen.fillRect(0, height - 0.5, width, 0.5);
    return sides.length;
  }

  // -- detail ----------------------------------------------------------------------------------

  let useLog = false;
  function choose(e) {
    state.chosen = e;
    paint(true);
    detail();
  }
  function detail() {
    const e = state.chosen, box = get("detail");
    box.replaceChildren();
    if (!e) {
      box.append(make("p", "muted", entries.length ? "Choose a row, or click a tile of the map to go into a module." : "There are no entries."));
      return;
    }
    box.append(make("h2", "", e.name));
    const problem = (e.a && e.a.problem) || (e.b && e.b.problem);
    if (problem) box.append(make("p", "bad", problem));
    const hasBins = [e.a, e.b].some((x) => x && x.bins);
    if (hasBins) {
      const node = make("canvas");
      node.id = "histogram";
      box.append(node);
      const axis = make("div", "bar muted");
      const low = make("span", "", short(e.low)), high = make("span", "", short(e.high));
      high.style.marginLeft = "auto";
      axis.append(low, high);
      box.append(axis);
      const label = make("label", "", ""), check = make("input");
      check.type = "checkbox";
      check.checked = useLog;
      const redraw = () => draw(canvas(node, node.clientWidth, node.clientHeight), e, node.clientWidth, node.clientHeight, false, useLog);
      check.addEventListener("change", () => { useLog = check.checked; redraw(); });
      label.append(check, "logarithmic counts");
      box.append(label);
      redraw();
      node.addEventListener("mousemove", (event) => {
        const at = Math.min(BINS - 1, Math.max(0, Math.floor(event.offsetX / node.clientWidth * BINS)));
        const step = (e.high - e.low) / BINS;
        const line = (mark, x) => (x && x.bins ? `${mark}${grouped(x.bins[at])}` : null);
        const counts = two ? [line("A: ", e.a), line("B: ", e.b)].filter(Boolean).join(", ") : line("", e.a) + " elements";
        tip(event, `${short(e.low + at * step)} to ${short(e.low + (at + 1) * step)}\n${counts}`);
      });
      node.addEventListener("mouseleave", () => tip());
    }
    const table = make("table"), body = make("tbody");
    if (two) {
      const head = make("thead"), row = make("tr");
      row.append(make("th", ""), make("th", "a", "A"), make("th", "b", "B"));
      head.append(row);
      table.append(head);
    }
    const line = (title, value, tone) => {
      const cells = (two ? [e.a, e.b] : [e.a]).map((x) => (x ? value(x) : "\u2013"));
      if (cells.every((text) => text === "" || text === null || text === undefined)) return;
      const row = make("tr");
      row.append(make("th", "", title));
      cells.forEach((text, at) => row.append(make("td", tone && [e.a, e.b][at] && tone([e.a, e.b][at]) ? tone([e.a, e.b][at]) : "", text ?? "")));
      body.append(row);
    };
    const s = (key) => (x) => (x.stats ? short(x.stats[key]) : "");
    line("dtype", (x) => x.dtype);
    line("shape", (x) => x.shape);
    line("elements", (x) => (x.elements === null ? "" : grouped(x.elements)));
    line("bytes", (x) => grouped(x.bytes));
    line("at byte", (x) => (x.offset === null ? "" : grouped(x.offset)));
    line("value", (x) => (x.value === null ? "" : String(x.value)));
    for (const key of ["min", "max", "mean", "std"]) line(key, s(key));
    for (const key of ["nan", "inf"]) line(key === "nan" ? "NaN" : "Inf", s(key), (x) => (x.stats && x.stats[key] ? "bad" : ""));
    line("zeros", (x) => (x.stats ? grouped(x.stats.zeros) + (x.stats.zeros ? ` (${percent(x.stats.zeros, x.elements)})` : "") : ""));
    table.append(body);
    box.append(table);
    if (e.distance) {
      const more = make("table"), rows = make("tbody");
      const fact = (title, text) => {
        const row = make("tr");
        row.append(make("th", "", title), make("td", "", text));
        rows.append(row);
      };
      fact("changed elements", grouped(e.distance.changed));
      fact("largest difference", short(e.distance.max));
      fact("mean difference", short(e.distance.mean));
      fact("cosine", e.distance.cosine === null ? "none" : e.distance.cosine.toFixed(7));
      more.append(rows);
      box.append(more);
    }
  }

  // -- treemap ---------------------------------------------------------------------------------

  const leafOf = new Map();
  const root = { label: "", path: [], bytes: 0, children: new Map(), entry: null, entries: 0 };
  for (const e of entries) {
    let node = root;
    node.bytes += e.bytes; node.entries += 1;
    // A hostile name can have thousands of dots.
    const parts = e.name.split(".");
    const steps = parts.length > 32 ? [...parts.slice(0, 31), parts.slice(31).join(".")] : parts;
    for (const part of steps) {
      let next = node.children.get(part);
      if (!next) {
        next = { label: part, path: [...node.path, part], bytes: 0, children: new Map(), entry: null, entries: 0 };
        node.children.set(part, next);
      }
      node = next;
      node.bytes += e.bytes; node.entries += 1;
    }
    node.entry = e;
    leafOf.set(e, node);
  }
  const PALETTE = [212, 28, 160, 268, 340, 95, 190, 52, 300, 240, 12, 130];
  // Colours tell apart the modules of the first level that has more than one.
  const hues = new Map();
  let trunk = root;
  while (trunk.children.size === 1 && [...trunk.children.values()][0].children.size) trunk = [...trunk.children.values()][0];
  const hueOf = (path) => hues.get(path[trunk.path.length]) ?? PALETTE[0];
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  let tiles = [], focus = root;

  // Bruls, Huizing and van Wijk, "Squarified treemaps" (2000).
  function squarify(nodes, box, place) {
    let { x, y, w, h } = box;
    const total = nodes.reduce((sum, n) => sum + n.bytes, 0);
    if (!total || w <= 0 || h <= 0) return;
    const scale = w * h / total;
    let at = 0;
    while (at < nodes.length) {
      const edge = Math.min(w, h);
      if (edge <= 0) return;
      let sum = 0, best = Infinity, stop = at;
      while (stop < nodes.length) {
        const area = nodes[stop].bytes * scale, next = sum + area;
        const most = nodes[at].bytes * scale, least = area;
        const ratio = Math.max(edge * edge * most / (next * next), next * next / (edge * edge * least));
        if (ratio > best) break;
        best = ratio; sum = next; stop += 1;
      }
      const thick = sum / edge;
      let along = 0;
      for (let n = at; n < stop; n += 1) {
        const long = nodes[n].bytes * scale / thick;
        if (w >= h) place(nodes[n], { x, y: y + along, w: thick, h: long });
        else place(nodes[n], { x: x + along, y, w: long, h: thick });
        along += long;
      }
      if (w >= h) { x += thick; w -= thick; } else { y += thick; h -= thick; }
      at = stop;
    }
  }
  function treemap() {
    const node = get("treemap"), width = node.clientWidth, height = node.clientHeight;
    const pen = canvas(node, width, height);
    pen.font = "11.5px system-ui, 'DejaVu Sans', sans-serif";
    pen.textBaseline = "top";
    pen.fillStyle = css("--line");
    pen.fillRect(0, 0, width, height);
    tiles = [];
    const bad = css("--bad");
    const label = (text, x, y, room, color) => {
      if (room < 24) return;
      pen.fillStyle = color;
      let shownText = text.length > 80 ? text.slice(0, 79) + "\u2026" : text;
      while (shownText.length > 1 && pen.measureText(shownText).width > room) shownText = shownText.slice(0, -2).replace(/\u2026?$/, "\u2026");
      if (shownText.length > 2 || shownText === text) pen.fillText(shownText, x, y);
    };
    const fill = (tile, depth, hue) => {
      const e = tile.entry;
      const light = dark.matches ? 26 + 5 * Math.min(depth, 4) : 84 - 6 * Math.min(depth, 4);
      if (e && !tile.children.size) {
        if (two && e.status === "same") return `hsl(${hue} 12% ${light}%)`;
        if (two) return { changed: "hsl(38 90% 55%)", added: "hsl(140 55% 45%)", removed: "hsl(0 60% 58%)" }[e.status];
        if (e.dead) return `hsl(${hue} 0% ${dark.matches ? 42 : 62}%)`;
      }
      return `hsl(${hue} ${dark.matches ? 38 : 62}% ${light}%)`;
    };
    const visit = (parent, box, depth) => {
      const children = [...parent.children.values()].filter((n) => n.bytes > 0).sort((a, b) => b.bytes - a.bytes);
      squarify(children, box, (child, r) => {
        const hue = hueOf(child.path);
        pen.fillStyle = fill(child, depth, hue);
        const gap = r.w > 3 && r.h > 3 ? 1 : 0;
        pen.fillRect(r.x, r.y, Math.max(r.w - gap, 0.5), Math.max(r.h - gap, 0.5));
        tiles.push({ ...r, node: child, depth });
        const ink = dark.matches ? "#f2f5f9" : "#152033";
        const inside = child.children.size && r.w > 26 && r.h > 30;
        if (r.h > 15) label(child.label, r.x + 4, r.y + 3, r.w - 9, ink);
        if (child.entry && child.entry.bad) {
          pen.strokeStyle = bad;
          pen.lineWidth = 2;
          pen.strokeRect(r.x + 1, r.y + 1, Math.max(r.w - 3, 1), Math.max(r.h - 3, 1));
        }
        if (inside && depth < 6) visit(child, { x: r.x + 2, y: r.y + 18, w: r.w - 5, h: r.h - 21 }, depth + 1);
      });
    };
    visit(focus, { x: 0, y: 0, w: width, h: height }, 0);
    if (!tiles.length && focus.entry) {
      pen.fillStyle = fill({ entry: null, children: new Map() }, 0, hueOf(focus.path));
      pen.fillRect(0, 0, width, height);
      label(focus.label, 6, 5, width - 12, css("--text"));
    }
  }
  const under = (event) => {
    let found = null;
    for (const tile of tiles) {
      if (event.offsetX >= tile.x && event.offsetX < tile.x + tile.w && event.offsetY >= tile.y && event.offsetY < tile.y + tile.h) found = tile;
    }
    return found;
  };
  function enter(path) {
    focus = root;
    for (const part of path) focus = focus.children.get(part) || focus;
    state.module = focus === root ? [] : focus.path;
    const crumbs = [["all", []], ...state.module.map((part, at) => [part, state.module.slice(0, at + 1)])];
    get("crumbs").replaceChildren(...crumbs.flatMap(([text, target], at) => {
      const button = make("button", "", text);
      button.disabled = at === crumbs.length - 1;
      button.addEventListener("click", () => enter(target));
      return at ? [document.createTextNode(" \u203a "), button] : [button];
    }));
    treemap();
    update();
  }
  get("treemap").addEventListener("click", (event) => {
    const tile = under(event);
    if (!tile) return;
    const node = tile.node;
    if (node.children.size) { tip(); enter(node.path); return; }
    if (!node.entry) return;
    const at = shown.indexOf(node.entry);
    if (at >= 0) get("table").scrollTop = Math.max(0, at * ROW - get("table").clientHeight / 2);
    choose(node.entry);
  });
  get("treemap").addEventListener("mousemove", (event) => {
    const tile = under(event);
    if (!tile) { tip(); return; }
    const node = tile.node, e = node.entry;
    const first = (e ? e.name : node.path.join(".")) + "\n";
    const size = `${human(node.bytes)}, ${percent(node.bytes, totalBytes)}`;
    tip(event, first + (e && !node.children.size ? `${e.shown.dtype} ${e.shown.shape}, ` : `${grouped(node.entries)} entries, `) + size);
  });
  get("treemap").addEventListener("mouseleave", () => tip());

  function tip(event, text) {
    const node = get("tip");
    node.hidden = !event;
    if (!event) return;
    node.textContent = text;
    const x = Math.min(event.clientX + 14, window.innerWidth - node.offsetWidth - 8);
    const y = event.clientY + 16 + node.offsetHeight > window.innerHeight ? event.clientY - node.offsetHeight - 10 : event.clientY + 16;
    node.style.left = Math.max(4, x) + "px";
    node.style.top = Math.max(4, y) + "px";
  }

  const key = (color, text, outline) => {
    const mark = make("i");
    mark.style.background = outline ? "none" : color;
    if (outline) mark.style.boxShadow = `inset 0 0 0 2px ${color}`;
    get("legend").append(mark, text);
  };
  if (two) {
    key("hsl(38 90% 55%)", "changed"); key("hsl(140 55% 45%)", "added"); key("hsl(0 60% 58%)", "removed");
  } else {
    key("hsl(0 0% 60%)", "all zero");
  }
  key("var(--bad)", "NaN or Inf", true);

  // -- together --------------------------------------------------------------------------------

  function update() {
    arrange();
    get("table").scrollTop = 0;
    paint(true);
  }
  get("search").addEventListener("input", () => {
    state.words = get("search").value.toLowerCase().split(/\s+/).filter(Boolean).map(word);
    update();
  });
  get("kind").addEventListener("change", () => { state.kind = get("kind").value; update(); });
  get("mark").addEventListener("change", () => { state.mark = get("mark").value; update(); });
  const redrawAll = () => { treemap(); paint(true); detail(); };
  window.addEventListener("resize", () => requestAnimationFrame(redrawAll));
  dark.addEventListener("change", redrawAll);

  [...trunk.children.values()].sort((a, b) => b.bytes - a.bytes)
    .forEach((node, at) => hues.set(node.label, PALETTE[at % PALETTE.length]));
  enter([]);
  if (entries.length) choose(shown[0]);
  else detail();
  document.documentElement.dataset.ready = "yes";
})();
