"use strict";
// Tiles: scripts that call tile(), since a page opened from the disk may load scripts and nothing else.
const waiting = new Map();

function load(url) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.onload = () => { script.remove(); resolve(); };
    script.onerror = () => { script.remove(); reject(new Error(`${url} is not there`)); };
    script.src = url;
    document.head.append(script);
  });
}

function unpack(text) { // base64 to bytes; browsers before 2025 have no function for it
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const raw = atob(text), bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes;
}

async function inflate(text) {
  const stream = new Blob([unpack(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Called by the scripts of tiles.
function tile(name, height, width, data) {
  waiting.set(name, { height, width, data });
}

async function fetchTile(folder, name) { // null where there is none
  try {
    await load(`${folder}/${name}.js`);
  } catch {
    return null;
  }
  const key = `${folder.split("/").pop()}/${name}`, found = waiting.get(key);
  waiting.delete(key);
  return found ?? null;
}

function addUp(bytes, height, width) { // differences along both axes, low bytes first, to numbers
  const n = height * width, numbers = new Int16Array(n);
  for (let y = 0, at = 0; y < height; y++) {
    let left = 0;
    for (let x = 0; x < width; x++, at++) {
      const folded = bytes[at] | bytes[n + at] << 8;
      left += folded >>> 1 ^ -(folded & 1);
      numbers[at] = left + (y ? numbers[at - width] : 0);
    }
  }
  return numbers;
}

class Tiles { // the tiles of the map, and the most recent ones of them in memory
  constructor(about, changed) {
    this.about = about;
    this.changed = changed;
    this.last = about.levels.length - 1;
    this.kept = new Map();
    this.most = 28;
    this.tables = new Map();
  }

  static value(about, number) { // Jy/beam
    const [k, s] = about.scale;
    return number === -32768 ? NaN : Math.sign(number) * s * about.sigma * ((1 + Math.abs(number) / k) ** 2 - 1);
  }

  get(level, row, column) { // a tile, or undefined while it comes
    const name = `${level}/${String(row).padStart(3, "0")}-${String(column).padStart(3, "0")}`;
    const known = this.kept.get(name);
    if (known) {
      this.kept.delete(name);
      this.kept.set(name, known);
      return known.numbers ? known : undefined;
    }
    const entry = { level, row, column, when: null };
    this.kept.set(name, entry);
    entry.when = this.read(entry, name);
    for (const [old, one] of this.kept) {
      if (this.kept.size <= this.most) break;
      // The coarsest tile is what every view begins with.
      if (one.level !== this.last && one.numbers) this.kept.delete(old);
    }
    return undefined;
  }

  async read(entry, name) {
    const found = await fetchTile(this.about.tiles, name);
    if (found === null) {
      this.changed(`the tile ${this.about.tiles}/${name}.js is not there; keep the whole package together`);
      return;
    }
    entry.height = found.height;
    entry.width = found.width;
    entry.numbers = addUp(await inflate(found.data), found.height, found.width);
    this.changed("");
  }

  async wait(level, row, column) {
    const known = this.get(level, row, column);
    if (known) return known;
    const name = `${level}/${String(row).padStart(3, "0")}-${String(column).padStart(3, "0")}`;
    const entry = this.kept.get(name);
    await entry.when;
    return entry;
  }

  restretch(stretch) { // {kind, low, high, palette}, Jy/beam
    this.stretch = stretch;
    this.tables.clear();
    for (const one of this.kept.values()) one.picture = undefined;
  }

  table(level) { // colours of all numbers; the sky of coarse levels, brightest of blocks, lies higher
    if (!this.tables.has(level)) {
      const colours = new Uint32Array(65536), raised = this.about.levels[level] - this.about.levels[0];
      for (let number = -32768; number < 32768; number++)
        colours[number + 32768] = colour(this.stretch, Tiles.value(this.about, number) - raised);
      this.tables.set(level, colours);
    }
    return this.tables.get(level);
  }

  picture(one) { // the tile as a canvas, north up
    if (!one.picture) {
      const canvas = document.createElement("canvas"), { width, height, numbers } = one, table = this.table(one.level);
      canvas.width = width;
      canvas.height = height;
      const context = canvas.getContext("2d"), image = context.createImageData(width, height);
      const words = new Uint32Array(image.data.buffer);
      for (let y = 0, at = 0; y < height; y++)
        for (let x = 0, to = (height - 1 - y) * width; x < width; x++) words[to++] = table[numbers[at++] + 32768];
      context.putImageData(image, 0, 0);
      one.picture = canvas;
    }
    return one.picture;
  }

  number(level, x, y) { // the number of a pixel of the map, undefined while its tile comes
    const side = this.about.tile_pix, column = Math.floor((x >> level) / side), row = Math.floor((y >> level) / side);
    const name = `${level}/${String(row).padStart(3, "0")}-${String(column).padStart(3, "0")}`, one = this.kept.get(name);
    return one?.numbers?.[((y >> level) - row * side) * one.width + (x >> level) - column * side];
  }
}

function share(stretch, value) { // 0 to 1 between the ends of the scale
  const { low, high, soft } = stretch, part = (value - low) / (high - low);
  if (stretch.kind === "linear") return part;
  return Math.asinh((value - low) / soft) / Math.asinh((high - low) / soft);
}

function unshare(stretch, part) {
  const { low, high, soft } = stretch;
  return stretch.kind === "linear" ? low + part * (high - low) : low + soft * Math.sinh(part * Math.asinh((high - low) / soft));
}

const byte = (share) => Math.round(255 * Math.min(1, Math.max(0, share)));

function colour(stretch, value) { // as a word of red, green, blue and opaque, the lowest byte first
  if (Number.isNaN(value)) return 0xff4a3a2e;
  const part = Math.min(1, Math.max(0, share(stretch, value)));
  // Without arrays: a table has 65,536 of these words.
  if (stretch.palette === "fire") return (0xff000000 | byte(part * 3.2 - 2.2) << 16 | byte(part * 2.2 - 0.75) << 8 | byte(part * 2.2)) >>> 0;
  const grey = byte(stretch.palette === "inverted" ? 1 - part : part);
  return (0xff000000 | grey << 16 | grey << 8 | grey) >>> 0;
}

class Labels { // classes and instances, by runs of pixels; a tile without labels has no file
  constructor(about, changed) {
    Object.assign(this, { about, changed });
    this.kept = new Map();
    this.most = 40;
  }

  get(level, row, column) {
    const name = `${level}/${String(row).padStart(3, "0")}-${String(column).padStart(3, "0")}`;
    if (!this.kept.has(name)) {
      const entry = { row, column, level, runs: null, pictures: {} };
      this.kept.set(name, entry);
      if (this.about.labels.includes(name)) this.read(entry, name);
      if (this.kept.size > this.most) this.kept.delete(this.kept.keys().next().value);
    }
    return this.kept.get(name);
  }

  async read(entry, name) {
    const found = await fetchTile("labels", name);
    if (found === null) return;
    const bytes = await inflate(found.data), words = new Int32Array(bytes.buffer), n = words.length / 4;
    Object.assign(entry, { height: found.height, width: found.width, n, runs: words });
    this.changed("");
  }

  picture(one, kind) { // of "classes" or "instances"
    if (!one.pictures[kind]) {
      const { height, width, n, runs } = one, canvas = document.createElement("canvas");
      canvas.width = width;
      canvas.height = height;
      const context = canvas.getContext("2d"), image = context.createImageData(width, height);
      const words = new Uint32Array(image.data.buffer);
      for (let i = 0; i < n; i++) {
        const paint = kind === "classes" ? CLASS_COLOURS[runs[3 * n + i]] : runs[2 * n + i] ? hashColour(runs[2 * n + i]) : 0;
        // A run may go on over the end of a row.
        for (let at = runs[i], end = at + runs[n + i]; at < end; at++) {
          const y = Math.floor(at / width);
          words[(height - 1 - y) * width + at - y * width] = paint;
        }
      }
      context.putImageData(image, 0, 0);
      one.pictures[kind] = canvas;
    }
    return one.pictures[kind];
  }

  at(level, x, y) { // [number, class] of a pixel, or null
    const side = this.about.tile_pix, column = Math.floor((x >> level) / side), row = Math.floor((y >> level) / side);
    const name = `${level}/${String(row).padStart(3, "0")}-${String(column).padStart(3, "0")}`, one = this.kept.get(name);
    if (!one?.runs) return null;
    const place = ((y >> level) - row * side) * one.width + (x >> level) - column * side, { runs, n } = one;
    for (let i = 0; i < n && runs[i] <= place; i++)
      if (place < runs[i] + runs[n + i]) return [runs[2 * n + i], runs[3 * n + i]];
    return null;
  }
}

// Classes 1 spurious, 2 compact, 3 extended; half seen through.
const CLASS_COLOURS = [0, 0x905053ef, 0x909aa626, 0x9026a7ff];

function hashColour(number) {
  const hue = (number * 0.61803398875) % 1, wave = (shift) => Math.round(140 + 110 * Math.cos(2 * Math.PI * (hue + shift)));
  return (0xa8000000 | wave(0) << 16 | wave(1 / 3) << 8 | wave(2 / 3)) >>> 0;
}
