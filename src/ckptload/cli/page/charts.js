// Histograms, and lines over several files, drawn on canvases.
const COLORS = ["--second", "--accent"];
const colorOf = (at) => css(several ? COLORS[at === last ? 1 : 0] : "--accent");
const withBins = (e) => e.sides.map((x, at) => [x, at]).filter(([x]) => x && x.bins && x.bins.low !== null);

// The range of both histograms: they share one, unless the shapes differ.
function rangeOf(e) {
  const found = withBins(e).map(([x]) => x.bins);
  return { low: Math.min(...found.map((b) => b.low)), high: Math.max(...found.map((b) => b.high)) };
}
function drawBins(pen, e, width, height, { small = false, log = false } = {}) {
  const scale = (n) => (log ? Math.log1p(n) : small ? Math.sqrt(n) : n);
  const found = withBins(e), { low, high } = rangeOf(e), span = high - low;
  const peak = Math.max(1e-9, ...found.flatMap(([x]) => x.bins.counts.map(scale)));
  pen.clearRect(0, 0, width, height);
  found.reverse().forEach(([x, at], which) => {
    const place = (value) => (span > 0 && Number.isFinite(span) ? (value - low) / span * width : 0);
    const own = x.bins.high - x.bins.low;
    const start = own > 0 ? place(x.bins.low) : 0;
    const step = (own > 0 && span > 0 && Number.isFinite(span) ? own / span * width : width) / BINS;
    pen.fillStyle = pen.strokeStyle = colorOf(at);
    // The later one is filled, the earlier one is a line over it.
    if (which === 0) {
      pen.globalAlpha = found.length > 1 ? 0.55 : 0.85;
      x.bins.counts.forEach((n, bin) => {
        const tall = n ? Math.max(1, (height - 1) * scale(n) / peak) : 0;
        pen.fillRect(start + bin * step, height - tall, Math.max(step - (small ? 0.4 : 1), 0.6), tall);
      });
      pen.globalAlpha = 1;
      return;
    }
    pen.lineWidth = small ? 1 : 1.6;
    pen.beginPath();
    x.bins.counts.forEach((n, bin) => {
      const y = height - (height - 1) * scale(n) / peak;
      pen.lineTo(start + bin * step, y);
      pen.lineTo(start + (bin + 1) * step, y);
    });
    pen.stroke();
  });
  pen.fillStyle = css("--line");
  pen.fillRect(0, height - 0.5, width, 0.5);
}

// A line through the values of all files; where a file has none, it is broken.
function drawLine(pen, values, box, { low, high, color, dots }) {
  const x = (at) => box.x + (values.length > 1 ? at / (values.length - 1) : 0.5) * box.w;
  const y = (value) => (high > low ? box.y + box.h - (value - low) / (high - low) * box.h : box.y + box.h / 2);
  pen.strokeStyle = pen.fillStyle = color;
  pen.lineWidth = 1.5;
  pen.beginPath();
  values.forEach((value, at) => {
    if (value === null) return;
    if (at && values[at - 1] !== null) pen.lineTo(x(at), y(value)); else pen.moveTo(x(at), y(value));
  });
  pen.stroke();
  values.forEach((value, at) => {
    const alone = (values[at - 1] ?? null) === null && (values[at + 1] ?? null) === null;
    if (value === null || !(dots || alone)) return;
    pen.beginPath();
    pen.arc(x(at), y(value), 2.4, 0, 7);
    pen.fill();
  });
}
function extent(values) {
  const found = values.filter((value) => value !== null);
  return found.length ? { low: Math.min(...found), high: Math.max(...found) } : null;
}
function drawSpark(pen, values, width, height) {
  const range = extent(values);
  if (range) drawLine(pen, values, { x: 3, y: 4, w: width - 6, h: height - 8 }, { ...range, color: css("--accent"), dots: false });
}

// -- lines of the panel ----------------------------------------------------------------------------

const LINES = [
  ["norm", "norm (L2)", (x) => (x.stats ? x.stats.norm : null)],
  ["mean", "mean", (x) => (x.stats ? x.stats.mean : null)],
  ["std", "standard deviation", (x) => (x.stats ? x.stats.std : null)],
  ["max", "largest element", (x) => (x.stats ? number(x.stats.max) : null)],
  ["nan", "share of NaN", (x) => (x.stats && x.elements ? x.stats.nan / x.elements : null)],
];
const valuesOf = (e, of) => e.sides.map((x) => (x ? of(x) : null));
function lineChart(e, [key, title, of]) {
  const box = make("figure", "line"), head = make("figcaption", "", title), node = make("canvas");
  const values = valuesOf(e, of), range = extent(values);
  node.dataset.line = key;
  node.setAttribute("role", "img");
  node.setAttribute("aria-label", `${title} over ${files.length} files: ` + values.map((v) => (v === null ? "none" : short(v))).join(", "));
  box.append(head, node);
  const text = (value) => (key === "nan" ? percent(value, 1) : short(value));
  const draw = () => {
    const width = node.clientWidth, height = node.clientHeight, pen = canvas(node, width, height);
    const plot = { x: 6, y: 6, w: width - 12, h: height - 26 };
    pen.fillStyle = css("--line");
    pen.fillRect(0, plot.y + plot.h + 3, width, 1);
    if (range) drawLine(pen, values, plot, { ...range, color: css("--accent"), dots: files.length <= 40 });
    fileLabels(pen, plot, height);
  };
  if (range) head.append(make("span", "muted", range.low === range.high ? text(range.low) : `${text(range.low)} to ${text(range.high)}`));
  node.addEventListener("mousemove", (event) => {
    const share = (event.offsetX - 6) / Math.max(1, node.clientWidth - 12);
    const at = Math.min(last, Math.max(0, Math.round(share * last)));
    tip(event, `${files[at].name}\n${title}: ${values[at] === null ? "none" : text(values[at])}`);
  });
  node.addEventListener("mouseleave", () => tip());
  return { box, draw };
}
// The names of the files below a line: the first, the last, and as many between them as there is room for.
function fileLabels(pen, plot, height) {
  pen.font = "10.5px system-ui, 'DejaVu Sans', sans-serif";
  pen.fillStyle = css("--muted");
  pen.textBaseline = "bottom";
  let taken = -Infinity;
  const most = Math.max(6, Math.floor(plot.w / 13));
  const widthOf = (at) => pen.measureText(middle(files[at].name, most)).width;
  const limit = plot.x + plot.w - widthOf(last) - 8;
  files.forEach((file, at) => {
    const text = middle(file.name, most), wide = pen.measureText(text).width;
    const x = plot.x + at / last * plot.w;
    const left = at === 0 ? plot.x : at === last ? plot.x + plot.w - wide : x - wide / 2;
    if (left < taken + 8 || (at !== last && at !== 0 && left + wide > limit)) return;
    pen.fillText(text, left, height - 1);
    taken = left + wide;
  });
}
