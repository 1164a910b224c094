// Small helpers. Everything from a file reaches the page as text (textContent, fillText), never as markup.
const data = JSON.parse(document.getElementById("data").textContent);
const get = (id) => document.getElementById(id);
const files = data.files, last = files.length - 1;
const two = files.length === 2, many = files.length > 2, several = files.length > 1;
const ROW = 28, HEAD = 33, BINS = data.bins, SPARK = { width: 90, height: 22 };
const dark = window.matchMedia("(prefers-color-scheme: dark)");

function make(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined && text !== null) node.textContent = text;
  return node;
}
const grouped = (n) => n.toLocaleString("en-US");
const counted = (n, one, more) => `${grouped(n)} ${n === 1 ? one : more}`;
function short(n) {
  if (n === null || n === undefined) return "";
  if (typeof n === "string") n = Number(n);
  if (Number.isInteger(n) && Math.abs(n) < 1e7) return grouped(n);
  const a = Math.abs(n);
  return a !== 0 && (a < 1e-3 || a >= 1e7) ? n.toExponential(2) : String(Number(n.toPrecision(4)));
}
function human(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (n >= 1024 && at < units.length - 1) { n /= 1024; at += 1; }
  return (at ? n.toFixed(1) : n) + " " + units[at];
}
function percent(part, whole) {
  if (!whole) return "";
  const share = 100 * part / whole;
  return !part ? "0%" : share < 0.01 ? "<0.01%" : share.toFixed(share < 9.95 ? 2 : 1) + "%";
}
// Shorten in the middle: names differ in their first and in their last parts. No half of a surrogate pair is left.
function middle(text, most) {
  const signs = text.length > most ? Array.from(text) : [];
  if (signs.length <= most) return text;
  const tail = Math.ceil((most - 1) * 0.6), head = Math.max(0, most - 1 - tail);
  return signs.slice(0, head).join("") + "\u2026" + signs.slice(signs.length - tail).join("");
}
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
function canvas(node, width, height) {
  const ratio = window.devicePixelRatio || 1;
  node.width = Math.max(1, Math.round(width * ratio));
  node.height = Math.max(1, Math.round(height * ratio));
  const pen = node.getContext("2d");
  pen.scale(ratio, ratio);
  return pen;
}
function tip(event, text) {
  const node = get("tip");
  node.hidden = !event;
  if (!event) return;
  node.textContent = text;
  const x = Math.min(event.clientX + 14, window.innerWidth - node.offsetWidth - 8);
  const below = event.clientY + 16;
  const y = below + node.offsetHeight > window.innerHeight ? event.clientY - node.offsetHeight - 10 : below;
  node.style.left = Math.max(4, x) + "px";
  node.style.top = Math.max(4, y) + "px";
}
function button(text, label, act) {
  const node = make("button", "", text);
  node.type = "button";
  if (label) { node.title = label; node.setAttribute("aria-label", label); }
  node.addEventListener("click", act);
  return node;
}
