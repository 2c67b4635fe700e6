"use strict";
// The page: what is shown where, and what keys, pointers and files do. Foreign texts go in by textContent alone.
const el = (id) => document.getElementById(id);
const state = { x: 0, y: 0, scale: 1, about: null, truth: null, order: [], shown: 0, chosen: -1, given: null, match: null, begun: false };
let tiles = null, labels = null, sky = null, asked = false, stampGreys = null, queue = Promise.resolve();
const PAGE_ROWS = 60, MOST_MARKS = 4000, CUT_PIX = 66, HIGHEST = 4000;

// Called by about.js, truth.js and stamps.js.
function about(facts) { state.about = facts; }
function truth(table) { state.truth = table; }
function stamps(facts) { state.stamps = facts; }

function draw() {
  if (!asked) {
    asked = true;
    requestAnimationFrame(() => { asked = false; paint(); });
  }
}

function say(text) { el("message").textContent = text; }

const canvas = el("map"), context = canvas.getContext("2d");
const screenX = (x) => canvas.clientWidth / 2 + (x - state.x) * state.scale;
const screenY = (y) => canvas.clientHeight / 2 - (y - state.y) * state.scale;
const mapX = (sx) => state.x + (sx - canvas.clientWidth / 2) / state.scale;
const mapY = (sy) => state.y - (sy - canvas.clientHeight / 2) / state.scale;

function paint() {
  const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.fillStyle = "#2e3a4a";
  context.fillRect(0, 0, width, height);
  // The first picture is of the coarsest tile: others would take the processor from it.
  const level = state.begun ? levelFor(ratio) : tiles.last;
  // Coarser tiles lie below the finer ones that are still on their way.
  for (let coarse = tiles.last; coarse >= level; coarse--)
    for (const [row, column] of inView(coarse)) {
      const known = coarse === level || coarse === tiles.last ? tiles.get(coarse, row, column) : peek(coarse, row, column);
      if (known) place(tiles.picture(known), known, coarse);
    }
  paintLabels(ratio);
  if (el("show-training").checked) paintTraining();
  if (el("show-truth").checked && state.truth) paintTruth();
  if (el("show-given").checked && state.match) paintGiven();
  paintChosen();
  paintBeam();
  document.body.dataset.painted = String(+(document.body.dataset.painted ?? 0) + 1);
}

function peek(level, row, column) {
  const one = tiles.kept.get(`${level}/${String(row).padStart(3, "0")}-${String(column).padStart(3, "0")}`);
  return one?.numbers ? one : null;
}

function levelFor(ratio) {
  return Math.min(tiles.last, Math.max(0, Math.floor(-Math.log2(state.scale * ratio) + 0.35)));
}

function* inView(level) {
  const side = state.about.tile_pix << level, [ny, nx] = state.about.shape;
  const first = (low) => Math.max(0, Math.floor((low + 0.5) / side)), last = (high, n) => Math.min(Math.ceil(n / side) - 1, Math.floor((high + 0.5) / side));
  for (let row = first(mapY(canvas.clientHeight)); row <= last(mapY(0), ny); row++)
    for (let column = first(mapX(0)); column <= last(mapX(canvas.clientWidth), nx); column++) yield [row, column];
}

function place(picture, one, level) {
  const side = state.about.tile_pix << level, size = state.scale * 2 ** level;
  const x0 = one.column * side - 0.5, y0 = one.row * side - 0.5;
  context.imageSmoothingEnabled = size < 1;
  context.drawImage(picture, screenX(x0), screenY(y0) - one.height * size, one.width * size, one.height * size);
}

function paintLabels(ratio) {
  const kinds = ["classes", "instances"].filter((kind) => el(`show-${kind}`).checked), [fine, coarse] = state.about.label_levels;
  const level = state.scale * ratio > 0.4 ? fine : coarse;
  if (kinds.length)
    for (const [row, column] of inView(level)) {
      const one = labels.get(level, row, column);
      if (one.runs) for (const kind of kinds) place(labels.picture(one, kind), one, level);
    }
}

function paintTraining() {
  const box = state.about.training, x = screenX(box.x0 - 0.5), y = screenY(box.y1 - 0.5);
  const width = (box.x1 - box.x0) * state.scale, height = (box.y1 - box.y0) * state.scale;
  context.strokeStyle = "#ffee58";
  context.lineWidth = 1.5;
  context.setLineDash([7, 4]);
  context.strokeRect(x, y, width, height);
  context.setLineDash([]);
}

function ellipse(x, y, major, minor, degrees, least) { // half widths of the map's pixels; angle from +y to -x
  context.beginPath();
  context.ellipse(screenX(x), screenY(y), Math.max(least, major * state.scale), Math.max(least, minor * state.scale), -Math.PI / 2 - degrees * Math.PI / 180, 0, 2 * Math.PI);
  context.stroke();
}

function meanPixel() {
  const { dy_arcsec, dx_arcsec } = state.about.pixel;
  return Math.sqrt(Math.abs(dy_arcsec * dx_arcsec));
}

function visible(x, y) {
  const margin = 20, sx = screenX(x), sy = screenY(y);
  return sx > -margin && sy > -margin && sx < canvas.clientWidth + margin && sy < canvas.clientHeight + margin;
}

function paintTruth() {
  const t = state.truth, pixel = meanPixel();
  context.strokeStyle = "#4fc3f7";
  context.lineWidth = 1.3;
  let left = MOST_MARKS;
  // The brightest first: a mark for each of tens of thousands would hide the map.
  for (const i of state.byFlux) {
    if (!visible(t.x_pix[i], t.y_pix[i])) continue;
    ellipse(t.x_pix[i], t.y_pix[i], t.major_arcsec[i] / pixel / 2, t.minor_arcsec[i] / pixel / 2, t.image_pa_deg[i] ?? 0, 4);
    if (!--left) break;
  }
}

function paintGiven() {
  const { x, y } = state.given, mark = (colour, sx, sy, size) => {
    context.strokeStyle = colour;
    context.beginPath();
    context.moveTo(sx - size, sy - size);
    context.lineTo(sx + size, sy + size);
    context.moveTo(sx - size, sy + size);
    context.lineTo(sx + size, sy - size);
    context.stroke();
  };
  context.lineWidth = 1.6;
  let left = MOST_MARKS;
  for (let i = 0; i < x.length && left; i++)
    if (x[i] !== null && visible(x[i], y[i])) {
      const kind = state.match.kinds[i];
      mark(kind === "matched" ? "#43a047" : kind === "false" ? "#e53935" : "#b0bec5", screenX(x[i]), screenY(y[i]), 5);
      left--;
    }
  context.strokeStyle = "#fb8c00";
  left = MOST_MARKS;
  for (const i of state.byFlux) {
    if (!state.match.missed[i] || !visible(state.truth.x_pix[i], state.truth.y_pix[i])) continue;
    ellipse(state.truth.x_pix[i], state.truth.y_pix[i], 0, 0, 0, 9);
    if (!--left) break;
  }
}

function paintChosen() {
  if (state.chosen < 0) return;
  const t = state.truth, size = Math.max(16, 1.3 * t.major_arcsec[state.chosen] / meanPixel() * state.scale);
  const x = screenX(t.x_pix[state.chosen]), y = screenY(t.y_pix[state.chosen]);
  for (const [colour, width] of [["#000", 5], ["#ff4081", 2.5]]) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.beginPath();
      context.moveTo(x + dx * size, y + dy * size);
      context.lineTo(x + dx * (size + 12), y + dy * (size + 12));
      context.stroke();
    }
  }
}

function paintBeam() {
  const { major_arcsec, minor_arcsec, pa_deg } = state.about.beam, pixel = meanPixel(), half = major_arcsec / pixel / 2;
  const room = Math.max(14, half * state.scale + 6);
  if (room > Math.min(canvas.clientWidth, canvas.clientHeight) / 3) return;
  const x = 12 + room, y = canvas.clientHeight - 60 - room;
  context.fillStyle = "rgba(10, 14, 19, .72)";
  context.fillRect(x - room, y - room, 2 * room, 2 * room);
  context.strokeStyle = "#fff";
  context.fillStyle = "rgba(255, 255, 255, .45)";
  context.lineWidth = 1.3;
  context.beginPath();
  context.ellipse(x, y, Math.max(1, half * state.scale), Math.max(1, minor_arcsec / pixel / 2 * state.scale), -Math.PI / 2 - pa_deg * Math.PI / 180, 0, 2 * Math.PI);
  context.fill();
  context.stroke();
}

function digits(value) {
  if (!Number.isFinite(value)) return "";
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e5) ? value.toExponential(2) : String(+value.toPrecision(4));
}

// The browser's own function for it loads rules of all languages first.
const thousands = (whole) => String(whole).replace(/\B(?=(\d{3})+$)/g, ",");

function paintBar() {
  const bar = el("bar"), ratio = window.devicePixelRatio || 1, width = bar.clientWidth, height = bar.clientHeight, to = bar.getContext("2d");
  bar.width = width * ratio;
  bar.height = height * ratio;
  to.setTransform(ratio, 0, 0, ratio, 0, 0);
  const stretch = tiles.stretch, top = 30, tall = height - top - 14;
  for (let y = 0; y < tall; y++) {
    const word = colour(stretch, unshare(stretch, 1 - y / (tall - 1)));
    to.fillStyle = `rgb(${word & 255}, ${word >> 8 & 255}, ${word >> 16 & 255})`;
    to.fillRect(10, top + y, 14, 1);
  }
  to.strokeStyle = "#9fb0c3";
  to.strokeRect(9.5, top - 0.5, 15, tall + 1);
  to.fillStyle = "#fff";
  to.font = "12px system-ui, 'DejaVu Sans', sans-serif";
  to.fillText("mJy/beam", 8, 18);
  for (let i = 0; i <= 5; i++) {
    const value = 1e3 * unshare(stretch, i / 5), y = top + tall * (1 - i / 5);
    to.fillRect(24, y - 0.5, 4, 1);
    to.fillText(String(+value.toPrecision(2)), 31, y + 4);
  }
}

function restretch() {
  const low = Number(el("low").value) / 1e3, high = Number(el("high").value) / 1e3;
  if (!(high > low)) return say("the scale must end above where it begins");
  say("");
  tiles.restretch({ kind: el("stretch").value, palette: el("palette").value, low, high, soft: 3 * state.about.sigma });
  paintBar();
  draw();
  thumbnails();
  if (state.chosen >= 0) paintCard();
  return undefined;
}

// Movement.
function clamp() {
  const [ny, nx] = state.about.shape, least = fitScale() / 2;
  state.scale = Math.min(40, Math.max(least, state.scale));
  state.x = Math.min(nx, Math.max(0, state.x));
  state.y = Math.min(ny, Math.max(0, state.y));
}

function fitScale() {
  const [ny, nx] = state.about.shape;
  return Math.min(canvas.clientWidth / nx, canvas.clientHeight / ny) || 0.01;
}

function fit() {
  const [ny, nx] = state.about.shape;
  Object.assign(state, { x: (nx - 1) / 2, y: (ny - 1) / 2, scale: fitScale() });
  draw();
}

function zoom(factor, sx = canvas.clientWidth / 2, sy = canvas.clientHeight / 2) {
  const x = mapX(sx), y = mapY(sy);
  state.scale *= factor;
  clamp();
  state.x += x - mapX(sx);
  state.y += y - mapY(sy);
  clamp();
  draw();
}

function move(dx, dy) {
  state.x -= dx / state.scale;
  state.y += dy / state.scale;
  clamp();
  draw();
}

function centre(x, y, scale) {
  Object.assign(state, { x, y, scale });
  clamp();
  draw();
}

// What is under the pointer: the pixel of the level that is shown.
function readOut(sx, sy) {
  const x = Math.round(mapX(sx)), y = Math.round(mapY(sy)), [ny, nx] = state.about.shape;
  if (x < 0 || y < 0 || x >= nx || y >= ny) {
    el("readout").textContent = "outside of the map";
    return;
  }
  const where = sky.place(mapX(sx), mapY(sy)), level = levelFor(window.devicePixelRatio || 1), number = tiles.number(level, x, y);
  const parts = [where ? `${Sky.sexagesimal(where.ra, where.dec)} (${where.ra.toFixed(5)}, ${where.dec.toFixed(5)})` : "off the sky"];
  if (number !== undefined) {
    const value = Tiles.value(state.about, number), block = 2 ** level;
    parts.push(Number.isNaN(value) ? "no data" : `${digits(1e3 * value)} mJy/beam${level ? `, brightest of ${block} x ${block}` : ""}`);
  }
  parts.push(`x ${x}, y ${y}`);
  const under = labels.at(state.about.label_levels[0], x, y) ?? null;
  if (under) parts.push(`${state.about.classes[under[1]]}${under[0] ? ` ${under[0]}` : ""}`);
  el("readout").textContent = parts.join("   ");
}

const pointers = new Map();
canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
  state.moved = 0;
  if (state.about) readOut(event.offsetX, event.offsetY);
});
canvas.addEventListener("pointermove", (event) => {
  const old = pointers.get(event.pointerId), now = [event.offsetX, event.offsetY];
  if (old) {
    state.moved += Math.hypot(now[0] - old[0], now[1] - old[1]);
    if (pointers.size === 1) move(now[0] - old[0], now[1] - old[1]);
    else {
      const other = Array.from(pointers).find(([id]) => id !== event.pointerId)[1], span = ([x, y]) => Math.hypot(x - other[0], y - other[1]);
      if (span(old) > 4) zoom(span(now) / span(old), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
      move((now[0] - old[0]) / 2, (now[1] - old[1]) / 2);
    }
    pointers.set(event.pointerId, now);
  }
  if (state.about) readOut(...now);
});
for (const end of ["pointerup", "pointercancel"])
  canvas.addEventListener(end, (event) => {
    if (end === "pointerup" && pointers.size === 1 && state.moved < 5) tap(event.offsetX, event.offsetY);
    pointers.delete(event.pointerId);
  });
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoom(Math.exp(-Math.sign(event.deltaY) * Math.min(0.4, Math.abs(event.deltaY) / 400)), event.offsetX, event.offsetY);
}, { passive: false });
canvas.addEventListener("dblclick", (event) => zoom(2, event.offsetX, event.offsetY));

function tap(sx, sy) { // chooses the source under it, where the truth is shown
  if (!el("show-truth").checked || !state.truth) return;
  let best = -1, nearest = 18;
  for (const i of state.byFlux) {
    const apart = Math.hypot(screenX(state.truth.x_pix[i]) - sx, screenY(state.truth.y_pix[i]) - sy);
    if (apart < nearest) [best, nearest] = [i, apart];
  }
  if (best >= 0) choose(best, false);
}

const toggle = (id) => () => { el(id).checked = !el(id).checked; draw(); };
const KEYS = {
  ArrowLeft: () => move(90, 0), ArrowRight: () => move(-90, 0), ArrowUp: () => move(0, 90), ArrowDown: () => move(0, -90),
  "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), 0: fit, 1: () => centre(state.x, state.y, 1),
  n: () => step(1), p: () => step(-1), t: toggle("show-truth"), c: toggle("show-classes"), i: toggle("show-instances"), a: toggle("show-training"),
  s: () => { el("stretch").selectedIndex = 1 - el("stretch").selectedIndex; restretch(); },
  "?": () => el("keys").scrollIntoView(),
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "checkbox") return;
  if (!state.about || !KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
});

// The list of sources.
function sortList() {
  const key = el("order").value, values = state.truth[key];
  state.order = values.map((_, i) => i).sort((a, b) => (values[b] ?? -1) - (values[a] ?? -1) || state.truth.id[a] - state.truth.id[b]);
  el("list").replaceChildren();
  state.shown = 0;
  more();
}

function more() {
  const last = Math.min(state.order.length, state.shown + PAGE_ROWS), rows = [];
  for (; state.shown < last; state.shown++) rows.push(listRow(state.order[state.shown]));
  el("list").append(...rows);
  el("more").hidden = last === state.order.length;
  el("among").textContent = `${last} of ${state.order.length}${state.about.public ? " in the training area" : ""}`;
}

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    entry.target.dataset.seen = entry.isIntersecting ? "1" : "";
    if (entry.isIntersecting) thumbnail(entry.target);
  }
});

function listRow(i) {
  const item = document.createElement("li"), button = document.createElement("button"), t = state.truth, text = document.createElement("span");
  button.type = "button";
  button.dataset.row = i;
  text.textContent = `${digits(1e3 * t.flux_jy[i])} mJy, ${digits(t.major_arcsec[i])}\u2033, ${digits(t.snr[i])} sigma, ${state.about.classes[t.class[i]]}`;
  button.append(small());
  // Beside stamps of others an empty place keeps the texts in line.
  if (state.stamps?.n) button.append(hasStamp(i) ? small() : Object.assign(document.createElement("span"), { className: "none" }));
  button.append(text);
  button.addEventListener("click", () => choose(i, true));
  item.append(button);
  seen.observe(button);
  return item;
}

function small() {
  const one = document.createElement("canvas");
  one.width = one.height = CUT_PIX;
  return one;
}

function thumbnails() {
  for (const button of el("list").querySelectorAll("button")) {
    button.dataset.drawn = "";
    if (button.dataset.seen) thumbnail(button);
  }
}

function thumbnail(button) { // one after the other, so that the tiles of the map come in between
  if (button.dataset.drawn) return;
  button.dataset.drawn = "1";
  const i = Number(button.dataset.row), [placed, stamp] = button.querySelectorAll("canvas");
  if (stamp) drawStamp(stamp, i);
  queue = queue.then(() => {
    if (button.dataset.seen) return cut(placed, i);
    button.dataset.drawn = "";
    return undefined;
  });
}

async function cut(to, i) { // the map round a source, a pixel for a pixel of the canvas, or more
  const t = state.truth, wide = to.width, half = Math.max(CUT_PIX / 2, Math.ceil(t.major_arcsec[i] / meanPixel()));
  const x0 = Math.round(t.x_pix[i]) - half, y0 = Math.round(t.y_pix[i]) - half, side = state.about.tile_pix, [ny, nx] = state.about.shape;
  const size = 2 * half, image = new ImageData(size, size), words = new Uint32Array(image.data.buffer).fill(0xff4a3a2e);
  for (let row = Math.max(0, Math.floor(y0 / side)); row <= Math.floor(Math.min(ny - 1, y0 + size) / side); row++)
    for (let column = Math.max(0, Math.floor(x0 / side)); column <= Math.floor(Math.min(nx - 1, x0 + size) / side); column++) {
      const one = await tiles.wait(0, row, column);
      if (!one.numbers) continue;
      const table = tiles.table(0);
      for (let y = 0; y < size; y++)
        for (let x = 0; x < size; x++) {
          const ty = y0 + y - row * side, tx = x0 + x - column * side;
          if (ty >= 0 && tx >= 0 && ty < one.height && tx < one.width) words[(size - 1 - y) * size + x] = table[one.numbers[ty * one.width + tx] + 32768];
        }
    }
  const small = document.createElement("canvas"), pen = to.getContext("2d");
  small.width = small.height = size;
  small.getContext("2d").putImageData(image, 0, 0);
  pen.imageSmoothingEnabled = false;
  pen.drawImage(small, 0, 0, wide, wide);
  to.dataset.done = "1";
}

function hasStamp(i) {
  return Boolean(state.stamps?.n) && state.stamps.stamp[i] >= 0;
}

function drawStamp(to, i) { // turned and mirrored as it was placed
  const { side, stamp, box, turn_deg, flip } = state.stamps, [top, left, size] = box[i], image = new ImageData(side, side), words = new Uint32Array(image.data.buffer);
  const from = stamp[i] * side * side;
  for (let y = 0; y < side; y++)
    for (let x = 0; x < side; x++) words[(side - 1 - y) * side + x] = (0xff000000 | 0x10101 * stampGreys[from + y * side + x]) >>> 0;
  const whole = document.createElement("canvas"), pen = to.getContext("2d");
  whole.width = whole.height = side;
  whole.getContext("2d").putImageData(image, 0, 0);
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, to.width, to.width);
  pen.translate(to.width / 2, to.width / 2);
  pen.rotate(-turn_deg[i] * Math.PI / 180);
  pen.scale(flip[i] ? -1 : 1, 1);
  pen.imageSmoothingEnabled = false;
  pen.drawImage(whole, left, side - top - size, size, size, -to.width / 2, -to.width / 2, to.width, to.width);
}

function choose(i, jump) {
  state.chosen = i;
  for (const button of el("list").querySelectorAll("button")) button.setAttribute("aria-current", String(Number(button.dataset.row) === i));
  if (jump) centre(state.truth.x_pix[i], state.truth.y_pix[i], Math.max(state.scale, 3));
  paintCard();
  draw();
}

function step(by) {
  const at = state.order.indexOf(state.chosen), next = Math.min(state.order.length - 1, Math.max(0, at < 0 ? 0 : at + by));
  while (next >= state.shown) more();
  if (state.order.length) choose(state.order[next], true);
  el("list").children[next]?.scrollIntoView({ block: "nearest" });
}

function paintCard() {
  const t = state.truth, i = state.chosen, placed = el("placed"), facts = {
    source: t.id[i], flux: `${digits(1e3 * t.flux_jy[i])} mJy`, peak: `${digits(1e3 * t.peak_jy_beam[i])} mJy/beam`,
    place: `${Sky.sexagesimal(t.ra_deg[i], t.dec_deg[i])} (${t.ra_deg[i]}, ${t.dec_deg[i]})`,
    size: `${digits(t.major_arcsec[i])}\u2033 x ${digits(t.minor_arcsec[i])}\u2033, ${digits(t.pa_deg[i] ?? 0)}\u00b0`,
    "peak over noise": digits(t.snr[i]), class: state.about.classes[t.class[i]], population: state.about.populations[t.population[i]],
  };
  if (t.blend_size[i] > 1) facts.blend = `${t.blend_size[i]} sources`;
  if (state.match) facts["your catalogue"] = state.match.ofTrue[i] >= 0 ? `${digits(1e3 * state.given.flux[state.match.ofTrue[i]])} mJy` : "missed";
  el("facts").replaceChildren(...Object.entries(facts).flatMap(([name, value]) => {
    const dt = document.createElement("dt"), dd = document.createElement("dd");
    dt.textContent = name;
    dd.textContent = value;
    return [dt, dd];
  }));
  el("card").hidden = false;
  cut(placed, i);
  el("from").hidden = !hasStamp(i);
  if (hasStamp(i)) drawStamp(el("stamp"), i);
}

// A participant's catalogue.
async function give(file) {
  try {
    if (file.size > MOST_BYTES) throw new Error(`${Math.round(file.size / 1e6)} MB are too many for a page; use astro-dist challenge score`);
    const found = readCatalogue(await file.text(), state.about), t = state.truth, box = state.about.training;
    const places = found.ra.map((ra, i) => sky.pixel(ra, found.dec[i]));
    state.given = { ...found, x: places.map((one) => one?.[0] ?? null), y: places.map((one) => one?.[1] ?? null) };
    const match = matchCatalogue(found, t, state.about.beam.major_arcsec), [ny, nx] = state.about.shape;
    const counted = (x, y) => x !== null && (state.about.public
      ? x >= box.x0 - 0.5 && x < box.x1 - 0.5 && y >= box.y0 - 0.5 && y < box.y1 - 0.5 : x >= -0.5 && y >= -0.5 && x < nx - 0.5 && y < ny - 0.5);
    const kinds = places.map((_, i) => match.ofFound[i] >= 0 ? "matched" : counted(state.given.x[i], state.given.y[i]) ? "false" : "outside");
    const missed = t.id.map((_, j) => match.ofTrue[j] < 0 && counted(t.x_pix[j], t.y_pix[j]));
    state.match = { ...match, kinds, missed };
    const count = (kind) => kinds.filter((one) => one === kind).length, clear = missed.filter((one, j) => one && t.detectable[j]).length;
    el("given").textContent = `${file.name}: ${found.ra.length} rows${found.notes.map((one) => `; ${one}`).join("")}`;
    const where = state.about.public ? "in the training area" : "in the whole field, without the score mask";
    el("counts").textContent = `${count("matched")} matched, ${count("false")} false, ${missed.filter(Boolean).length} missed (${clear} of them detectable), ${where}`;
    if (state.chosen >= 0) paintCard();
  } catch (error) {
    state.given = state.match = null;
    el("given").textContent = `${file.name}: ${error.message}`;
    el("counts").textContent = "";
  }
  draw();
}
el("file").addEventListener("change", (event) => { if (event.target.files[0]) give(event.target.files[0]); });
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  if (event.dataTransfer.files[0] && state.truth) give(event.dataTransfer.files[0]);
});

for (const id of ["stretch", "palette", "low", "high"]) el(id).addEventListener("change", restretch);
for (const id of ["truth", "classes", "instances", "training", "given"]) el(`show-${id}`).addEventListener("change", draw);
el("slide").addEventListener("input", () => {
  el("high").value = +(1e3 * 5 * state.about.sigma * HIGHEST ** el("slide").value).toPrecision(3);
  restretch();
});
el("closer").addEventListener("click", () => zoom(1.5));
el("farther").addEventListener("click", () => zoom(1 / 1.5));
el("whole").addEventListener("click", fit);
el("more").addEventListener("click", more);
el("order").addEventListener("change", sortList);
window.addEventListener("resize", () => { if (tiles?.stretch) { clamp(); paintBar(); draw(); } });

async function begin() {
  try {
    if (!window.DecompressionStream) throw new Error("this browser is too old: it cannot unpack the tiles; use one of 2023 or later");
    await load("about.js");
    const facts = state.about, [ny, nx] = facts.shape, { major_arcsec, minor_arcsec } = facts.beam;
    document.title = `${facts.name} - astro_dist`;
    el("title").textContent = facts.name;
    el("summary").textContent = `${thousands(ny)} x ${thousands(nx)} pixels, beam ${digits(major_arcsec)}\u2033 x ${digits(minor_arcsec)}\u2033${facts.frequency_hz ? `, ${digits(facts.frequency_hz / 1e9)} GHz` : ""}; ${facts.public ? "truth of the training area" : "hidden truth: for the organisers alone"}`;
    sky = new Sky(facts.nodes);
    const changed = (fault) => { if (fault) say(fault); draw(); };
    tiles = new Tiles(facts, changed);
    labels = new Labels(facts, changed);
    el("low").value = +(1e3 * (facts.levels[0] - 1.5 * facts.sigma)).toPrecision(3);
    el("high").value = +(1e3 * (facts.levels[0] + 100 * facts.sigma)).toPrecision(3);
    el("slide").value = Math.log(20) / Math.log(HIGHEST);
    fit();
    restretch();
    await tiles.wait(tiles.last, 0, 0);
    paint();
    document.body.dataset.first = String(performance.now());
    state.begun = true;
    draw();
    await load("truth.js");
    if (!facts.public) {
      await load("stamps.js");
      if (state.stamps.n) stampGreys = await inflate(state.stamps.data);
    }
    const flux = state.truth.flux_jy;
    state.byFlux = flux.map((_, i) => i).sort((a, b) => flux[b] - flux[a]);
    sortList();
    document.body.dataset.ready = "1";
    draw();
  } catch (error) {
    say(error.message);
  }
}
begin();
