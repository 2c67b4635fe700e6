"use strict";
// A participant's catalogue: reading it, and matching it by the rule of `astro-dist challenge score`.
const MOST_BYTES = 64e6;
const FLUX_UNITS = { jy: 1, mjy: 1e-3, ujy: 1e-6, "\u00b5jy": 1e-6, "\u03bcjy": 1e-6, njy: 1e-9 };

function readCatalogue(text, about) { // {ra, dec, flux, notes}
  const { names, units, rows } = /^\s*<\?xml|^\s*<VOTABLE/i.test(text) ? readVotable(text) : readText(text);
  const lower = names.map((name) => name.trim().toLowerCase());
  const form = about.forms.find((one) => one.needs.every((name) => lower.includes(name)));
  const find = (ours) => {
    for (const name of [...(form?.columns[ours] ?? []), ...about.columns[ours]]) {
      const at = lower.findIndex((one) => one === name || one.replace(/\s*[[(].*[\])]$|_[mun]?jy$/, "") === name);
      if (at >= 0) return at;
    }
    throw new Error(`no column for ${ours}: the file has ${names.slice(0, 12).join(", ")}; name one of its columns ${ours}`);
  };
  const at = { ra: find("ra_deg"), dec: find("dec_deg"), flux: find("flux_jy") }, notes = [];
  const stated = (units[at.flux] || lower[at.flux].match(/[[(_]([mun\u00b5\u03bc]?jy)[\])]?$/)?.[1] || form?.unit || "Jy").trim();
  const factor = FLUX_UNITS[stated.toLowerCase()];
  if (factor === undefined) throw new Error(`fluxes are in ${stated}, which is no unit of flux known here; give Jy or mJy`);
  if (form) notes.push(`read as ${form.name}'s`);
  const found = { ra: [], dec: [], flux: [], notes };
  let left = 0;
  for (const row of rows) {
    const ra = angle(row[at.ra], 15), dec = angle(row[at.dec], 1), flux = number(row[at.flux]) * factor;
    if (Number.isFinite(ra + dec + flux) && Math.abs(dec) <= 90) {
      found.ra.push((ra % 360 + 360) % 360);
      found.dec.push(dec);
      found.flux.push(flux);
    } else left++;
  }
  if (!found.ra.length) throw new Error("no row has a position and a flux");
  if (left) notes.push(`${left} rows without a position or a flux`);
  return found;
}

function number(text) {
  return text === undefined || text === null || String(text).trim() === "" ? NaN : Number(text);
}

function angle(text, hours) { // degrees; sexagesimal right ascensions are in hours
  const plain = number(text);
  if (!Number.isNaN(plain)) return plain;
  const parts = String(text ?? "").trim().match(/^([+-]?)(\d+)[:\sh\u00b0d]+(\d+)[:\sm'\u2032]+([\d.]+)["\u2033s]*$/);
  return parts ? (parts[1] === "-" ? -1 : 1) * hours * (+parts[2] + parts[3] / 60 + parts[4] / 3600) : NaN;
}

function readText(text) {
  const lines = text.replace(/^\ufeff/, "").split(/\r\n|\n|\r/).filter((line) => line.trim());
  const comments = lines.filter((line) => line.trimStart().startsWith("#")), data = lines.filter((line) => !line.trimStart().startsWith("#"));
  if (!data.length) throw new Error("the file has no rows");
  const split = splitter(data[0]);
  let names = split(data[0]);
  if (names.every((one) => one.trim() !== "" && Number.isFinite(Number(one)))) {
    // The names of PyBDSF and others stand in the last comment; SDC1's 12 columns have none.
    const said = comments.length ? split(comments.at(-1).replace(/^\s*#\s*/, "")) : [];
    if (said.length === names.length) names = said;
    else if (names.length === 12) names = ["id", "ra_core", "dec_core", "ra_cent", "dec_cent", "flux", "core_frac", "b_maj", "b_min", "pa", "size", "class"];
    else throw new Error("the first line holds numbers, not the names of columns; add a line of names");
    return { names, units: [], rows: data.map(split) };
  }
  return { names, units: [], rows: data.slice(1).map(split) };
}

function splitter(line) {
  const mark = [",", "\t", ";", "|"].find((one) => line.includes(one));
  if (!mark) return (row) => row.trim().split(/\s+/);
  const cell = mark === "|" ? "\\|" : mark;
  const pattern = new RegExp(`(?:^|${cell})(?:"((?:[^"]|"")*)"|([^${cell}]*))`, "g");
  return (row) => row.includes('"') ? Array.from(row.matchAll(pattern), (one) => (one[1] ?? one[2]).replace(/""/g, '"')) : row.split(mark);
}

function readVotable(text) {
  const root = new DOMParser().parseFromString(text, "application/xml");
  if (root.getElementsByTagName("parsererror").length) throw new Error("the VOTable is no valid XML");
  const table = root.getElementsByTagNameNS("*", "TABLE")[0], data = table?.getElementsByTagNameNS("*", "TABLEDATA")[0];
  if (!table) throw new Error("the file holds no TABLE");
  if (!data) throw new Error("the VOTable is binary; save it with TABLEDATA, in TOPCAT as votable-tabledata");
  const fields = Array.from(table.getElementsByTagNameNS("*", "FIELD"));
  const rows = Array.from(data.getElementsByTagNameNS("*", "TR"), (row) => Array.from(row.getElementsByTagNameNS("*", "TD"), (one) => one.textContent));
  return { names: fields.map((one) => one.getAttribute("name") ?? ""), units: fields.map((one) => one.getAttribute("unit")), rows };
}

// A position may be a source's within the width of the beam, or half of its major width where that is more, from
// its centroid or its brightest pixel. Sources choose, the brightest first: the nearest position still free.
function matchCatalogue(found, truth, beamArcsec) { // {ofFound, ofTrue}, rows of the other side or -1
  const cells = new Map(), side = beamArcsec / 3600, n = found.ra.length;
  const cosine = (dec) => Math.max(Math.cos(dec * Math.PI / 180), 0.01);
  const rowOf = (dec) => Math.floor((dec + 90) / side);
  const columnOf = (ra, row) => Math.floor(ra * cosine((row + 0.5) * side - 90) / side);
  found.ra.forEach((ra, i) => {
    const row = rowOf(found.dec[i]), key = `${row} ${columnOf(ra, row)}`;
    if (cells.has(key)) cells.get(key).push(i);
    else cells.set(key, [i]);
  });
  const near = (ra, dec, radius, visit) => {
    const reach = radius / 3600, first = rowOf(dec - reach), last = rowOf(dec + reach);
    for (let row = first; row <= last; row++) {
      const wide = reach / cosine(Math.min(89.5, Math.abs(dec) + reach)), columns = new Set();
      for (const turn of [-360, 0, 360])
        for (let c = columnOf(ra - wide + turn, row) - 1; c <= columnOf(ra + wide + turn, row) + 1; c++) columns.add(c);
      for (const column of columns) for (const i of cells.get(`${row} ${column}`) ?? []) visit(i);
    }
  };
  const order = truth.id.map((_, i) => i).sort((a, b) => truth.flux_jy[b] - truth.flux_jy[a] || truth.id[a] - truth.id[b]);
  const ofFound = new Int32Array(n).fill(-1), ofTrue = new Int32Array(truth.id.length).fill(-1);
  for (const j of order) {
    const radius = Math.max(beamArcsec, truth.major_arcsec[j] / 2);
    let best = -1, nearest = Infinity;
    for (const [ra, dec] of [[truth.ra_deg[j], truth.dec_deg[j]], [truth.ra_peak_deg[j], truth.dec_peak_deg[j]]])
      near(ra, dec, radius, (i) => {
        const apart = Sky.apart(ra, dec, found.ra[i], found.dec[i]);
        if (ofFound[i] < 0 && apart <= radius && (apart < nearest || apart === nearest && found.flux[i] > found.flux[best])) [best, nearest] = [i, apart];
      });
    if (best >= 0) [ofFound[best], ofTrue[j]] = [j, best];
  }
  return { ofFound, ofTrue };
}
