"""Are the sources of a field as wide and as bright as its header says?

    python -m tests.benchmarks.finders points FILE
    python -m tests.benchmarks.finders clean RUN [FILE]
    python -m tests.benchmarks.finders noisy RUN [SNR] [SIDE]

The first writes a catalogue of 1,521 points between 0.1 mJy and 1 Jy, 90 arcsec or more apart, round the
default centre of a field, for `assemble.flux.mode=catalogue`. RUN needs a field with simulated noise and
without artefacts.

``clean`` takes the noise, which follows from the seed, off the map. It prints percentiles over all single
points of the truth: axes over the beam of the Gaussian that fits best, the lowest pixel of the source's box
over the peak, sum over beam against the truth, and the distance of the fitted place from that of the truth,
or of FILE by the map's header, in beams. A point is narrower than a tenth of the beam; the box of a single
source lies on that of no other.

``noisy`` runs PyBDSF and Aegean (``pip install -e '.[test,interop]'``) on the map, or its first SIDE x SIDE
pixels, and on an ideal one: the same noise, and at every compact source a Gaussian of its flux, made of beam
and intrinsic width, or of the beam alone where it is placed as drawn. It prints medians over single compact
sources above SNR (20), with standard errors: flux over that of the truth and axes over those of the beam, on
both maps, and by how much these medians differ.
"""

import contextlib
import json
import math
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from scipy.spatial import KDTree

from astro_dist.field.background import NoiseBackground
from astro_dist.field.columns import read_columns_file
from astro_dist.field.painting import BOX_COLUMNS
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.windows import Window

SIDE, STEP_ARCSEC, JITTER_ARCSEC, CENTRE = 39, 120.0, 15.0, (180.0, -30.0)
POINT_BEAMS = 0.1  # a source narrower than this is a point: 0.5 % of the beam's width
PERCENTILES = (0, 2.5, 50, 97.5, 100)
FINDERS = ("pybdsf", "aegean")


def points(path):
    """Write a catalogue of points on a jittered grid, so that none lies on another."""
    rng = np.random.default_rng(1)
    at = (np.mgrid[:SIDE, :SIDE].reshape(2, -1) - SIDE // 2) * STEP_ARCSEC
    north, east = (at + rng.uniform(-JITTER_ARCSEC, JITTER_ARCSEC, at.shape)) / 3600
    dec = CENTRE[1] + north
    ra = CENTRE[0] + east / np.cos(np.radians(dec))
    flux = 10 ** rng.uniform(-4, 0, SIDE**2)
    rows = [f"{a:.8f},{d:.8f},{f:.6e},0,0,0,2" for a, d, f in zip(ra, dec, flux, strict=True)]
    names = "ra_deg,dec_deg,flux_jy,major_arcsec,minor_arcsec,pa_deg,class"
    Path(path).write_text("\n".join([names, *rows]) + "\n")


@dataclass(frozen=True)
class Field:
    """A field, its noise, its placements, and which of them are single compact sources."""

    header: fits.Header
    pixels: np.ndarray
    noise: np.ndarray
    beam: Beam
    pixel: Pixel
    table: dict
    single: np.ndarray

    @classmethod
    def load(cls, root, side=None):
        """Read a run's field, or a corner of it; its background must be simulated noise."""
        with fits.open(Path(root) / "field" / "map.fits", memmap=False) as hdus:
            header, pixels = hdus[0].header, np.array(hdus[0].data[:side, :side], np.float32)
        beam = Beam(*(3600 * header[card] for card in ("BMAJ", "BMIN")), header["BPA"])
        pixel = Pixel(3600 * abs(header["CDELT2"]), 3600 * abs(header["CDELT1"]))
        table = read_columns_file(Path(root) / "field" / "placements.parquet")
        back = NoiseBackground(beam, pixel, header["SEED"], float(table["sigma_jy_beam"][0]))
        noise = back.read(Window.of_shape(pixels.shape))
        single = (table["class"] == SourceClass.COMPACT) & alone(table, pixels.shape)
        return cls(header, pixels, noise, beam, pixel, table, single)

    def box(self, row):
        """Return the pixels that a source is added to."""
        y, x, height, width = (int(self.table[name][row]) for name in BOX_COLUMNS)
        rows, columns = slice(max(y, 0), y + height), slice(max(x, 0), x + width)
        return np.s_[rows, columns]

    def moments(self, row):
        """Return the second moments of a source in the map: of the beam alone, if it was placed as drawn."""
        own = self.beam.covariance_pix(self.pixel)
        if self.table["drawn"][row]:
            return own
        names = ("major_arcsec", "minor_arcsec", "pa_deg")
        major, minor, angle = (float(self.table[f"image_intrinsic_{name}"][row]) for name in names)
        if not major > 0:
            return own
        turn = math.radians(angle)
        axes = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
        axes = axes * np.array([major, max(minor, 0)]) / math.sqrt(8 * math.log(2))
        size = np.array([[self.pixel.dy_arcsec], [self.pixel.dx_arcsec]])
        return own + (axes / size) @ (axes / size).T

    def is_point(self):
        """Return which placements have no width of their own, or one that hardly shows."""
        wide = self.table["image_intrinsic_major_arcsec"] / self.beam.minor_arcsec
        return self.table["drawn"].astype(bool) | ~(wide > POINT_BEAMS)


def alone(table, shape):
    """Return which boxes lie in the field and on no other."""
    y0, x0, height, width = (table[name].astype(int) for name in BOX_COLUMNS)
    y1, x1 = y0 + height, x0 + width
    inside = (y0 >= 0) & (x0 >= 0) & (y1 <= shape[0]) & (x1 <= shape[1])
    touching = [
        np.count_nonzero((y0 < y1[i]) & (y1 > y0[i]) & (x0 < x1[i]) & (x1 > x0[i])) for i in range(len(y0))
    ]
    return inside & (np.array(touching) == 1)


def gaussian(patch, beam_pix):
    """Return place, and axes over the beam's, of the Gaussian that fits a patch above 0.2 of its peak.

    The logarithm of a Gaussian is a polynomial; weighted by the brightness, its misfit is that of the
    brightness.
    """
    y, x = np.nonzero(patch > 0.2 * patch.max())
    values = patch[y, x] / patch.max()
    middle = y.mean(), x.mean()
    v, u = y - middle[0], x - middle[1]
    terms = np.stack([np.ones(len(v)), v, u, v * v, v * u, u * u], axis=1)
    found = np.linalg.lstsq(terms * values[:, None], np.log(values) * values, rcond=None)[0]
    inverse = -np.array([[2 * found[3], found[4]], [found[4], 2 * found[5]]])
    place = np.linalg.solve(inverse, found[1:3]) + middle
    root = np.linalg.inv(np.linalg.cholesky(beam_pix))
    axes = np.sqrt(np.linalg.eigvalsh(root @ np.linalg.inv(inverse) @ root.T))
    return place, axes


def clean(root, path=None):
    """Print what the points of a field without its noise are like."""
    field = Field.load(root)
    given = np.stack([field.table["y_anchor_pix"], field.table["x_anchor_pix"]], axis=1)
    if path:
        rows = np.genfromtxt(path, delimiter=",", names=True)[field.table["catalogue_row"]]
        x, y = WCS(field.header).all_world2pix(rows["ra_deg"], rows["dec_deg"], 0)
        given = np.stack([y, x], axis=1)
    beam_pix, width = field.beam.covariance_pix(field.pixel), field.beam.fwhm_pix(field.pixel)
    sky = field.pixels.astype(np.float64) - field.noise
    chosen = np.flatnonzero(field.single & field.is_point())
    figures = {"narrow axis / beam": [], "wide axis / beam": [], "lowest pixel / peak, %": []}
    figures |= {"sum / truth - 1": [], "place, beams": []}
    for row in chosen.tolist():
        box = field.box(row)
        patch = sky[box]
        place, axes = gaussian(patch, beam_pix)
        total = patch.sum() / field.beam.area_pix(field.pixel)
        away = math.hypot(*(place + np.array([box[0].start, box[1].start]) - given[row])) / width
        values = [*axes, 100 * patch.min() / patch.max(), total / field.table["flux_jy"][row] - 1, away]
        for column, value in zip(figures.values(), values, strict=True):
            column.append(value)
    print(f"{root}: {len(chosen)} single points, beam {field.beam}, pixel {field.pixel.dy_arcsec:g} arcsec")
    print(f"{'percentile':>24}", *(f"{p:>10g}" for p in PERCENTILES))
    for name, column in figures.items():
        print(f"{name:>24}", *(f"{value:>10.5g}" for value in np.percentile(column, PERCENTILES)))
    both = np.array([figures["narrow axis / beam"], figures["wide axis / beam"]])
    good = ((both > 0.98) & (both < 1.03)).all(axis=0).mean()
    print(f"both axes within 0.98 and 1.03 of the beam: {100 * good:.1f} %\n")


def ideal(field):
    """Return the noise with a Gaussian at every compact source."""
    sky = field.noise.astype(np.float64)
    for row in np.flatnonzero(field.table["class"] == SourceClass.COMPACT).tolist():
        moments = field.moments(row)
        at = [float(field.table[name][row]) for name in ("y_pix", "x_pix")]
        reach = np.ceil(6 * np.sqrt(np.diag(moments)))
        rows, columns = (
            np.arange(max(round(c - r), 0), min(round(c + r) + 1, n))
            for c, r, n in zip(at, reach, sky.shape, strict=True)
        )
        if not (len(rows) and len(columns)):
            continue
        v, u = rows[:, None] - at[0], columns - at[1]
        (a, b), (_, c) = np.linalg.inv(moments)
        peak = field.table["flux_jy"][row] * field.beam.area_pix(field.pixel)
        peak /= 2 * math.pi * math.sqrt(np.linalg.det(moments))
        sky[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] += peak * np.exp(
            -0.5 * (a * v * v + 2 * b * v * u + c * u * u)
        )
    return sky.astype(np.float32)


def matched(found, field, chosen):
    """Return flux over truth, and major and minor axis over the beam's, NaN where nothing was found."""
    sky = np.array([[one["ra_deg"], one["dec_deg"]] for one in found])
    x, y = WCS(field.header).all_world2pix(sky, 0).T
    at = np.stack([field.table["y_pix"], field.table["x_pix"]], axis=1)[chosen]
    away, which = KDTree(np.stack([y, x], axis=1)).query(at)
    values = np.array([[found[i]["flux_jy"], *found[i]["axes_deg"]] for i in which])
    values[away > 0.5 * field.beam.fwhm_pix(field.pixel)] = np.nan
    beam = np.array([field.beam.major_arcsec, field.beam.minor_arcsec]) / 3600
    return values / np.column_stack([field.table["flux_jy"][chosen], np.tile(beam, (len(chosen), 1))])


def noisy(root, least="20", side=None):
    """Print what the finders measure on the map of a field and on an ideal one."""
    field = Field.load(root, side and int(side))
    bright = field.single & (field.table["snr"] > float(least))
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        maps = {"field": field.pixels, "ideal": ideal(field)}
        programs = {}
        for name, pixels in maps.items():
            fits.writeto(folder / f"{name}.fits", pixels, field.header)
        for program in FINDERS:
            for name in maps:
                call = [
                    sys.executable,
                    "-m",
                    "tests.end_to_end.finders",
                    program,
                    str(folder / f"{name}.fits"),
                ]
                programs[program, name] = stack.enter_context(
                    subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                )
        found = {key: answer(program) for key, program in programs.items()}
    print(f"{root}: beam {field.beam}, pixel {field.pixel.dy_arcsec:g} arcsec, above {least} sigma")
    print(f"{'':>28}{'sources':>8}{'flux / truth':>18}{'major / beam':>18}{'minor / beam':>18}")
    for kind, own in (("points", field.is_point()), ("all compact", np.ones(len(bright), bool))):
        for program in FINDERS:
            if not all(found[program, name] for name in maps):
                continue
            compare(
                field, np.flatnonzero(bright & own), f"{program}, {kind}", [found[program, n] for n in maps]
            )


def answer(program):
    """Return what a finder has found, or None where it failed, and say so."""
    out, error = program.communicate()
    if program.returncode:
        print(f"{program.args[3]} on {Path(program.args[4]).name} failed: {error.strip().splitlines()[-1]}")
        return None
    return json.loads(out.splitlines()[-1])


def compare(field, chosen, name, both):
    """Print the medians of what one finder measures on field and ideal map, of sources found on both."""
    values = [matched(one["sources"], field, chosen) for one in both]
    kept = np.isfinite(values).all(axis=(0, 2))
    values = [one[kept] for one in values]
    medians = [np.median(one, axis=0) for one in values]
    for what, one, median in zip(("field", "ideal"), values, medians, strict=True):
        error = 1.2533 * 1.4826 * np.median(abs(one - median), axis=0) / math.sqrt(max(len(one), 1))
        cells = (f"{m:>9.4f} +- {e:.4f}" for m, e in zip(median, error, strict=True))
        print(f"{name:>21} {what} {kept.sum():>4}/{len(chosen)}", *cells)
    print(f"{'difference, %':>28}{'':>8}", *(f"{v:>17.2f}" for v in 100 * (medians[0] / medians[1] - 1)))


if __name__ == "__main__":
    globals()[{"points": "points", "clean": "clean", "noisy": "noisy"}[sys.argv[1]]](*sys.argv[2:])
