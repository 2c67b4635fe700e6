"""Which way of making a positive sky from an extended drawing is the best?

    python -m tests.benchmarks.deconvolution RUN [N] [PNG]

Four ways make models of the first N (60) extended objects of a run's stamps, and of as many synthetic radio
galaxies of 30 to 300 sigma whose sky is known: Richardson-Lucy as `astro_dist.field.models` has it and with
ten times the steps, non-negative least squares (Lawson and Hanson, exact), and multi-scale CLEAN (Cornwell
2008; scales of 0, 1, 2 and 4 beam widths, gain 0.3, at most 400 blobs, down to one sigma, positive ones
alone). All go through the same rules for specks and the same comparison with the drawing. For each it prints:

* residual: largest difference of drawing and model over the peak, median and 90th percentile; refused: the
  share that `generate.accept.max_residual` refuses;
* own, sharper: largest difference from the truth over its peak (synthetic objects), through the beam of the
  drawing and through one 0.8 times as wide, the sharpest that a field may have; median and 90th percentile;
* lumps: how much more the model varies from pixel to pixel than the truth does, through that beam: mean of
  the absolute second differences, minus those of the truth, over the truth's;
* seconds of one core for an object.

PNG gets a row per object: the drawing, and each model through the beam of 0.8. A last line is of the compact
objects: flux of the fitted model over the sum of the drawing, which counts the negative moat, percentiles 16,
50 and 84; and the negative pixels over that sum.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image
from scipy import optimize

from astro_dist.field import models
from astro_dist.field.config import AcceptConfig
from astro_dist.field.instrument import SHARPEST
from astro_dist.field.models import (
    ALLOWED_RESIDUAL,
    ALLOWED_SIGMA,
    WIDENING,
    _area,
    _believed,
    _blur,
    _compared,
    _iterate,
    _moments,
    make_model,
)
from astro_dist.field.objects import extract_objects
from astro_dist.field.rendering import render
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.classes import SourceClass
from astro_dist.store.reader import StoreReader
from tests.field.test_models import BEAM_PIX, drawing_of, galaxy, gaussians, noise

GAIN, STEPS, SCALES = 0.3, 400, (0, 1, 2, 4)


def nnls(drawing, spread):
    """Minimise the weighted squares over all positive skies in the footprint."""
    inside = drawing.trust > 0
    blur, places = _blur(drawing, spread), np.argwhere(inside)
    root, columns = np.sqrt(drawing.trust[inside].astype(float)), []
    for y, x in places:
        point = np.zeros(inside.shape)
        point[y, x] = 1
        columns.append(root * blur(point)[inside])
    found, _ = optimize.nnls(np.array(columns).T, root * drawing.level[inside], maxiter=30 * len(places))
    sky = np.zeros(inside.shape)
    sky[inside] = found
    seen = blur(sky)
    return sky, seen, float(sky.sum()) / _area(drawing.beam_pix)


def clean(drawing, spread):
    """Take off positive blobs of several sizes, each where it explains most of what is left."""
    inside, blur, identity = drawing.trust > 0, _blur(drawing, spread), lambda image: image
    blobs = [
        _blur(replace(drawing, beam_pix=drawing.beam_pix * scale**2), np.zeros(3)) if scale else identity
        for scale in SCALES
    ]
    powers = [_power(drawing, lambda image, blob=blob: blur(blob(image))) for blob in blobs]
    left, sky = np.where(inside, drawing.level * drawing.trust, 0.0), np.zeros(inside.shape)
    for _ in range(STEPS):
        if np.abs(left).max() < 1.0:
            break
        dirty = blur(left)
        fits = [np.where(inside, blob(dirty), 0) / power for blob, power in zip(blobs, powers, strict=True)]
        # A blob of height h takes off h^2 times its power; small ones are preferred, as Cornwell does.
        gains = [
            max(fit.max(), 0) ** 2 * power * (1 - 0.15 * scale / SCALES[-1])
            for fit, power, scale in zip(fits, powers, SCALES, strict=True)
        ]
        best = int(np.argmax(gains))
        if gains[best] <= 0:
            break
        point = np.zeros(inside.shape)
        at = np.unravel_index(int(fits[best].argmax()), inside.shape)
        point[at] = GAIN * fits[best][at]
        blob = np.where(inside, np.maximum(blobs[best](point), 0), 0)
        sky, left = sky + blob, left - drawing.trust * blur(blob)
    return sky, blur(sky), float(sky.sum()) / _area(drawing.beam_pix)


def _power(drawing, seen):
    """Sum of squares of what the beam shows of a blob of height 1, in the middle of a large image."""
    point = np.zeros(drawing.level.shape)
    point[point.shape[0] // 2, point.shape[1] // 2] = 1
    return float((seen(point) ** 2).sum())


def longer(drawing, spread):
    """Richardson-Lucy with ten times the steps."""
    with mock.patch.object(models, "ITERATIONS", 10 * models.ITERATIONS):
        return _iterate(drawing, spread)


WAYS = {"richardson-lucy": _iterate, "ten times the steps": longer, "nnls": nnls, "multi-scale clean": clean}


def model(drawing, way):
    """`astro_dist.field.models.deconvolve` by another way; also the seconds that it took."""
    spread = _moments(drawing.beam_pix) * WIDENING**2
    begin = time.process_time()
    sky, seen, flux = WAYS[way](drawing, spread)
    seconds = time.process_time() - begin
    sky = np.where(_believed(sky, seen), sky, 0)
    if not (flux > 0 and sky.any()):
        return None, seconds
    rows, columns = (np.flatnonzero(sky.any(axis=axis)) for axis in (1, 0))
    pixels = sky[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    pixels = (pixels / pixels.sum()).astype(np.float32)
    return _compared(drawing, pixels, spread, (float(rows[0]), float(columns[0])), flux), seconds


def through(found, beam_pix, shape):
    """The pixels of the drawing that a beam shows of a model."""
    image, (height, width) = np.zeros([3 * n for n in shape]), shape
    if found is not None:
        here = (found.y0, found.x0)
        patch = render(found.pixels, found.spread_pix, here, np.eye(2), (0, 0), (0, 0), beam_pix)
        image[patch.window.shifted(height, width).slices] = patch.values * found.flux_snr
    return image[height : 2 * height, width : 2 * width]


def drawn(root, wanted, source_class):
    """The first objects of a class of a run's stamps that pass all checks but that of their models."""
    store, found = StoreReader(Path(root) / "stamps.zarr"), []
    facts = store.columns
    cutouts = StoreReader(Path(root) / "cutouts.zarr")
    pixels = [Pixel(*one["pixel_arcsec"]) for one in cutouts.attrs["maps"]]
    for i in range(len(store)):
        beam = Beam(*(float(facts[f"beam_{name}"][i]) for name in ("major_arcsec", "minor_arcsec", "pa_deg")))
        pixel = pixels[cutouts.columns["source_map"][facts["donor"][i]]]
        arrays = [store.read(name, [i])[0] for name in ("image", "mask", "instances")]
        some, _ = extract_objects(*arrays, float(facts["rms_jy_beam"][i]), beam, pixel, AcceptConfig(), i)
        found += [one.drawing for one in some if one.source_class is source_class]
        if len(found) >= wanted:
            break
    return found[:wanted]


def synthetic(n):
    """Noisy drawings of radio galaxies, and what their beam and a sharper one show of them without noise."""
    made = []
    for i in range(n):
        rng = np.random.default_rng(i)
        parts = galaxy(rng, 10 ** rng.uniform(1.5, 2.5))
        truths = [gaussians(parts, beam**2 * BEAM_PIX) for beam in (1, SHARPEST)]
        made.append((drawing_of(truths[0] + noise(rng)), *truths))
    return made


def compact_fluxes(drawings):
    """Print what a fit to compact drawings makes of their flux."""
    fitted, moats = [], []
    for drawing in drawings:
        found = make_model(drawing, SourceClass.COMPACT)
        level = (drawing.level * drawing.trust)[drawing.trust > 0]
        if not isinstance(found, str):
            fitted.append(found.flux_snr * _area(drawing.beam_pix) / level.sum())
            moats.append(-level[level < 0].sum() / level.sum())
    low, middle, high = np.quantile(fitted, (0.16, 0.5, 0.84))
    print(
        f"{len(fitted)} compact: fitted over drawn {low:.3f} {middle:.3f} {high:.3f}, negatives "
        f"{np.median(moats):.3f}, correlation {np.corrcoef(fitted, moats)[0, 1]:.2f}"
    )


def rough(image, inside):
    """Mean absolute second difference along both axes inside a footprint."""
    return sum(np.abs(np.diff(np.where(inside, image, 0), 2, axis=axis)).mean() for axis in (0, 1))


def table(objects, known):
    """Print the figures of each way."""
    limits = [max(ALLOWED_RESIDUAL * one.peak, ALLOWED_SIGMA) for one in objects]
    for way in WAYS:
        found = [model(one, way) for one in objects]
        residual = [one.residual for one, _ in found if one is not None]
        refused = [m is None or m.residual_snr > top for (m, _), top in zip(found, limits, strict=True)]
        own, sharper, lumps = [], [], []
        for drawing, *truths in known:
            made, inside = model(drawing, way)[0], drawing.trust > 0.5
            for off, truth, beam in zip((own, sharper), truths, (1, SHARPEST), strict=True):
                image = through(made, beam**2 * drawing.beam_pix, truth.shape)
                off.append(np.abs(image - truth)[inside].max() / truth.max())
            lumps.append(rough(image, inside) / rough(truth, inside) - 1)
        seconds = [s for _, s in found]
        print(
            f"{way:24s} residual {_two(residual)} refused {np.mean(refused):.3f} own {_two(own)} "
            f"sharper {_two(sharper)} lumps {np.median(lumps):+.3f} "
            f"seconds {np.median(seconds):.3f} {max(seconds):.2f}"
        )


def _two(values):
    return " ".join(f"{np.quantile(values, q):.3f}" for q in (0.5, 0.9))


def picture(objects, path, rows=10, side=64, zoom=3):
    """Write drawings and models side by side, as square roots of brightness over the peak."""
    lines = []
    for drawing in objects[:rows]:
        shape = drawing.level.shape
        images = [np.where(drawing.trust > 0, drawing.level * drawing.trust, 0)]
        images += [through(model(drawing, way)[0], SHARPEST**2 * drawing.beam_pix, shape) for way in WAYS]
        tiles = []
        for image in images:
            tile = np.zeros((side, side))
            part = image[:side, :side]
            tile[: part.shape[0], : part.shape[1]] = part
            tiles.append(np.sqrt(np.clip(tile / tile.max() + 0.02, 0, 1)))
        lines.append(np.hstack(tiles))
    grey = np.kron(np.uint8(255 * np.vstack(lines)), np.ones((zoom, zoom), np.uint8))
    Image.fromarray(grey).save(path)


if __name__ == "__main__":
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 60
    some = drawn(sys.argv[1], count, SourceClass.EXTENDED)
    print(f"{len(some)} drawings, {count} synthetic galaxies")
    if len(sys.argv) > 3:
        picture(some, sys.argv[3])
    table(some, synthetic(count))
    if compact := drawn(sys.argv[1], 10 * count, SourceClass.COMPACT):
        compact_fluxes(compact)
