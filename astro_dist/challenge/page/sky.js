"use strict";
// Places on the sky: unit vectors at the points of an even grid, interpolated by cubic curves through them, which
// serves every projection, and solved for pixels by Newton's steps.
class Sky {
  constructor(nodes) {
    Object.assign(this, nodes);
    this.starts = [];
    const step = (n) => Math.max(1, Math.floor(n / 16));
    for (let row = 0; row < this.rows; row += step(this.rows))
      for (let column = 0; column < this.columns; column += step(this.columns)) {
        const at = 3 * (row * this.columns + column);
        if (this.xyz[at] !== null) this.starts.push([row, column, at]);
      }
  }

  vector(x, y) {
    // The grid begins one step before pixel 0.
    const u = x / this.step_x + 1, v = y / this.step_y + 1;
    const column = Math.min(Math.max(Math.floor(u), 1), this.columns - 3);
    const row = Math.min(Math.max(Math.floor(v), 1), this.rows - 3);
    const wx = Sky.weights(u - column), wy = Sky.weights(v - row), sum = [0, 0, 0];
    for (let j = 0; j < 4; j++)
      for (let i = 0; i < 4; i++) {
        const at = 3 * ((row + j - 1) * this.columns + column + i - 1), w = wx[i] * wy[j];
        for (let k = 0; k < 3; k++) sum[k] += w * (this.xyz[at + k] ?? NaN);
      }
    const length = Math.hypot(...sum);
    return sum.map((one) => one / length);
  }

  static weights(t) { // of Lagrange's cubic through four points
    return [-t * (t - 1) * (t - 2) / 6, (t + 1) * (t - 1) * (t - 2) / 2, -(t + 1) * t * (t - 2) / 2, (t + 1) * t * (t - 1) / 6];
  }

  static direction(ra, dec) {
    const a = ra * Math.PI / 180, d = dec * Math.PI / 180;
    return [Math.cos(d) * Math.cos(a), Math.cos(d) * Math.sin(a), Math.sin(d)];
  }

  place(x, y) { // degrees, or null beyond the edge of the projection
    const [a, b, c] = this.vector(x, y);
    if (Number.isNaN(a)) return null;
    return { ra: (Math.atan2(b, a) * 180 / Math.PI + 360) % 360, dec: Math.atan2(c, Math.hypot(a, b)) * 180 / Math.PI };
  }

  pixel(ra, dec) { // [x, y], or null for a place that the grid does not reach
    const goal = Sky.direction(ra, dec);
    let best = -2, x = 0, y = 0;
    for (const [row, column, at] of this.starts) {
      const dot = goal[0] * this.xyz[at] + goal[1] * this.xyz[at + 1] + goal[2] * this.xyz[at + 2];
      if (dot > best) [best, x, y] = [dot, (column - 1) * this.step_x, (row - 1) * this.step_y];
    }
    if (!(best > 0)) return null;
    for (let turn = 0; turn < 12; turn++) {
      const here = this.vector(x, y), off = goal.map((one, k) => one - here[k]);
      const dx = this.vector(x + 1, y).map((one, k) => one - here[k]), dy = this.vector(x, y + 1).map((one, k) => one - here[k]);
      const dot = (p, q) => p[0] * q[0] + p[1] * q[1] + p[2] * q[2];
      const xx = dot(dx, dx), xy = dot(dx, dy), yy = dot(dy, dy), det = xx * yy - xy * xy;
      const sx = (yy * dot(dx, off) - xy * dot(dy, off)) / det, sy = (xx * dot(dy, off) - xy * dot(dx, off)) / det;
      x += sx; y += sy;
      if (!Number.isFinite(x + y)) return null;
      if (Math.abs(sx) + Math.abs(sy) < 1e-5) break;
    }
    const reach = (n, step) => [-step, (n - 2) * step];
    const [x0, x1] = reach(this.columns, this.step_x), [y0, y1] = reach(this.rows, this.step_y);
    const rest = this.vector(x, y).reduce((sum, one, k) => sum + (one - goal[k]) ** 2, 0);
    return x >= x0 && x <= x1 && y >= y0 && y <= y1 && rest < 1e-14 ? [x, y] : null;
  }

  static apart(ra, dec, otherRa, otherDec) { // arcsec
    const rad = Math.PI / 180, d = Math.sin((otherDec - dec) * rad / 2), a = Math.sin((otherRa - ra) * rad / 2);
    return 2 * Math.asin(Math.min(1, Math.sqrt(d * d + Math.cos(dec * rad) * Math.cos(otherDec * rad) * a * a))) / rad * 3600;
  }

  static sexagesimal(ra, dec) {
    const parts = (value, digits) => {
      const unit = 10 ** digits, whole = Math.round(value * 3600 * unit), seconds = whole % (60 * unit) / unit;
      const minutes = Math.floor(whole / (60 * unit));
      const two = (n) => String(n).padStart(2, "0");
      return [two(Math.floor(minutes / 60)), two(minutes % 60), seconds.toFixed(digits).padStart(digits ? digits + 3 : 2, "0")];
    };
    const hours = parts(ra / 15, 2), degrees = parts(Math.abs(dec), 1);
    if (hours[0] === "24") hours[0] = "00";
    return `${hours.join(":")} ${dec < 0 ? "\u2212" : "+"}${degrees.join(":")}`;
  }
}
