// One object for each name; `sides` has one for each file, the earliest first, null where a file does not have it.
function unpackSide(packed) {
  if (packed === null) return null;
  const [dtype, shape, bytes, elements, offset, stats, histogram, value, problem] = packed;
  const s = stats === null ? null : {
    min: stats[0], max: stats[1], mean: stats[2], std: stats[3], norm: stats[4], nan: stats[5], inf: stats[6],
    zeros: stats[7], dead: stats[8] === 1, constant: stats[9] === 1,
  };
  const bins = histogram === null ? null : { low: histogram[0], high: histogram[1], counts: histogram[2] };
  return { dtype, shape, bytes, elements, offset, stats: s, bins, value, problem };
}
function unpack([name, packed, status, distances], order) {
  const sides = packed.map(unpackSide), present = sides.filter(Boolean);
  const measured = present.filter((x) => x.stats), shown = present[present.length - 1];
  const e = {
    order, name, lower: name.toLowerCase(), sides, shown, status, bytes: shown.bytes,
    distances: distances.map((d) => d && { changed: d[0], max: d[1], mean: d[2], cosine: d[3] }),
    bad: measured.some((x) => x.stats.nan || x.stats.inf), dead: measured.some((x) => x.stats.dead),
    constant: measured.some((x) => x.stats.constant && !x.stats.dead),
    damaged: present.some((x) => x.problem),
  };
  e.distance = several ? e.distances[last - 1] : null;
  e.mark = worstMark(e);
  return e;
}

// Marks from the worst to none; the map, the tree and the table use these words and signs for them.
const MARKS = {
  damaged: { text: "damaged", sign: "!", level: 6 },
  bad: { text: "NaN or Inf", sign: "!", level: 5 },
  dead: { text: "all zero", sign: "\u2205", level: 4 },
  changed: { text: "changed", sign: "~", level: 3 },
  removed: { text: "removed", sign: "\u2212", level: 2 },
  added: { text: "added", sign: "+", level: 1 },
  none: { text: "none of these", sign: "", level: 0 },
};
function worstMark(e) {
  for (const mark of ["damaged", "bad", "dead"]) if (e[mark]) return mark;
  return e.status in MARKS ? e.status : "none";
}
const worse = (a, b) => (MARKS[a].level >= MARKS[b].level ? a : b);

const entries = data.entries.map(unpack);
const totalBytes = entries.reduce((sum, e) => sum + e.bytes, 0);
const count = (test) => entries.reduce((n, e) => n + (test(e) ? 1 : 0), 0);

// -- head ------------------------------------------------------------------------------------------

function fillHead() {
  const name = (file) => make("span", "", file.name), quiet = (text) => make("span", "muted", text);
  if (!several) get("title").append(name(files[0]));
  else if (two) get("title").append(name(files[1]), quiet(" against "), name(files[0]));
  else get("title").append(name(files[0]), quiet(" to "), name(files[last]), quiet(`, ${files.length} checkpoints`));
  const line = (file, role) => {
    const node = make("p", "muted");
    if (role) node.append(make("span", "role " + role, role + ": " + file.name), " ");
    node.append(make("span", "path", file.path), file.about ? " \u00b7 " + file.about : "");
    return node;
  };
  if (many) {
    get("files-count").textContent = `${files.length} files, compared with the first`;
    get("files").append(...files.map((file) => line(file, "")));
    get("more-files").hidden = false;
  } else if (two) {
    get("facts").append(line(files[0], "before"), line(files[1], "after"));
  } else get("facts").append(line(files[0], ""));
}
function fillCards() {
  const card = (title, value, className) => {
    const box = make("div");
    box.append(make("dt", "", title), make("dd", className, value));
    get("cards").append(box);
  };
  card("entries", grouped(entries.length));
  card("elements", grouped(entries.reduce((n, e) => n + (e.shown.elements || 0), 0)));
  card("bytes", human(totalBytes));
  if (several) {
    for (const [status, className] of [["changed", "warn"], ["added", "good"], ["removed", "gone"]]) {
      const n = count((e) => e.status === status);
      card(status, grouped(n), n ? className : "");
    }
  }
  const withBad = count((e) => e.bad), withDead = count((e) => e.dead), damaged = count((e) => e.damaged);
  card("with NaN or Inf", grouped(withBad), withBad ? "bad" : "");
  card("all zero", grouped(withDead), withDead ? "warn" : "");
  if (damaged) card("damaged", grouped(damaged), "bad");
}
