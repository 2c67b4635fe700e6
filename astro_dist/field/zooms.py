"""Close views of a field, each beside the cutout of the survey that is most like it, at the same stretch.

Shown are a bright source, a blend, a double and an extended source of median flux, as far as the field has
them. The cutouts come from the store that the network learnt from or took its masks from, so that a picture
depends on nothing but the inputs of the field.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label, maximum_filter

from astro_dist.engine.arrays import Columns
from astro_dist.field.layers import MAP, MASK
from astro_dist.field.panels import MARK, Sheet, Stretch, brightness_unit, magnify, say_pixel, stamp_beam
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.windows import Window
from astro_dist.store.reader import StoreReader

PANEL_PIX, TICK = 512, 26
EDGE, HEAD, GAP, FOOT, RIGHT = 16, 84, 14, 36, 96
LEAST_TOP_SNR, MOST_TOP_SNR = 15.0, 100.0
COMPARED, AT_ONCE = 512, 64
PEAK_SNR, PEAK_SHARE, MOST_PEAKS = 5.0, 0.1, 4
DOUBLE_SNR = 7.0
# RGB by class: compact, extended, spurious.
OUTLINES = {2: (90, 220, 255), 3: (255, 166, 46), 1: (170, 170, 170)}
TITLES = {
    "bright": "The brightest source",
    "blend": "A blend of several sources",
    "double": "A source of two components",
    "extended": "An extended source of median flux",
}
Make = Callable[[Window], dict[str, NDArray[Any]]]
Likeness = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class View:
    """A square of sky in units of its noise, and where its instrument is described.

    Attributes
    ----------
    snr
        Brightness without the background over the noise, NaN without data; shape (h, w).
    mask
        Class of every pixel, shape (h, w).
    rms_jy_beam
        The noise.
    beam, pixel
        Of the map that the view is a part of.
    """

    snr: NDArray[np.float32]
    mask: NDArray[np.uint8]
    rms_jy_beam: float
    beam: Beam
    pixel: Pixel


def draw_zooms(folder: Path, make: Make, truth: Columns, field: SkyMap, cutouts: StoreReader) -> list[str]:
    """Publish a picture ``zoom-NAME.png`` for every scene of the field, and return their names.

    Parameters
    ----------
    make
        Function that returns the pixels of a window of the field by the name of the image.
    """
    scenes = {name: view_field(make, truth, row, field, cutouts) for name, row in choose(truth).items()}
    twins = find_twins(cutouts, list(scenes.values()))
    names = []
    for (name, scene), twin in zip(scenes.items(), twins, strict=True):
        names.append(f"zoom-{name}.png")
        _draw(folder / names[-1], name, scene, twin, cutouts)
    return names


def choose(truth: Columns) -> dict[str, int]:
    """Return the rows of the truth that are shown, by what they show; no row twice."""
    flux, major = (truth[name].astype(np.float64) for name in ("flux_jy", "major_arcsec"))
    seen = truth["detectable"] > 0
    extended = seen & (truth["class"] == SourceClass.EXTENDED) & (truth["blend_size"] < 2)
    blends = np.where(seen, truth["blend_size"], 0)
    # Which rows, which number of them sorts, and how far up in that order.
    wanted = {
        "bright": (seen, flux, 1.0),
        "blend": (blends == max(2, blends.max(initial=0)), flux, 1.0),
        "double": (extended & (truth["n_components"] == 2) & (truth["snr"] > DOUBLE_SNR), major, 0.75),
        "extended": (extended, flux, 0.5),
    }
    rows: dict[str, int] = {}
    for name, (fit, key, quantile) in wanted.items():
        found = np.flatnonzero(fit)
        # Stable: among equal values the choice must not depend on the sort that this CPU's numpy uses.
        order = found[np.argsort(key[found], kind="stable")]
        if len(order) and (row := int(order[int(quantile * (len(order) - 1))])) not in rows.values():
            rows[name] = row
    return rows


def view_field(make: Make, truth: Columns, row: int, field: SkyMap, cutouts: StoreReader) -> View:
    """Return the surroundings of a source, as large as a cutout, or as the field where that is smaller."""
    side = cutouts.attrs["size_pix"]
    y, x = int(truth["y_peak_pix"][row]), int(truth["x_peak_pix"][row])
    layers = make(window_at(y, x, side, field.shape))
    image, rms = layers[MAP], float(truth["sigma_jy_beam"][row])
    background = float(np.nanmedian(image))
    snr = (image - np.float32(background)) / np.float32(rms)
    return View(snr, layers[MASK], rms, field.beam, field.pixel)


def window_at(y: int, x: int, side: int, shape: tuple[int, int]) -> Window:
    """Return a square window round a pixel, smaller in a smaller field, and shifted into it."""
    height, width = min(side, shape[0]), min(side, shape[1])
    y0 = min(max(y - height // 2, 0), shape[0] - height)
    x0 = min(max(x - width // 2, 0), shape[1] - width)
    return Window(y0, y0 + height, x0, x0 + width)


def find_twins(cutouts: StoreReader, scenes: list[View]) -> list[tuple[View, int] | None]:
    """Return for each scene the cutout that is most like it, and its number; None where none has a source.

    Compared are at most `COMPARED` cutouts that are spread evenly over the store.
    """
    columns = cutouts.columns
    usable = (columns["flags"] == 0) & (columns["rms_jy_beam"] > 0) & (columns["n_objects"] > 0)
    found = np.flatnonzero(usable & ~cutouts.is_background)
    found = found[:: max(1, math.ceil(len(found) / COMPARED))]
    wanted = [liken(scene) for scene in scenes]
    best: list[tuple[float, int]] = [(math.inf, -1)] * len(scenes)
    for first in range(0, len(found), AT_ONCE):
        for number, view in _read_views(cutouts, found[first : first + AT_ONCE]):
            likeness = liken(view)
            for i, other in enumerate(wanted):
                if likeness is not None and other is not None:
                    # On a tie the earlier cutout stays.
                    best[i] = min(best[i], (math.dist(likeness, other), number))
    chosen = [number for _, number in best]
    views = dict(_read_views(cutouts, np.unique([n for n in chosen if n >= 0]).astype(np.int64)))
    return [(views[n], n) if n >= 0 else None for n in chosen]


def _read_views(cutouts: StoreReader, numbers: NDArray[np.int64]) -> list[tuple[int, View]]:
    images, masks, columns = cutouts.read("image", numbers), cutouts.read("mask", numbers), cutouts.columns
    views = []
    for number, image, mask in zip(numbers.tolist(), images, masks, strict=True):
        entry = cutouts.attrs["maps"][int(columns["source_map"][number])]
        rms, background = float(columns["rms_jy_beam"][number]), float(columns["background_jy_beam"][number])
        background = background if math.isfinite(background) else float(np.nanmedian(image))
        snr = (image - np.float32(background)) / np.float32(rms)
        views.append((number, View(snr, mask, rms, Beam(**entry["beam"]), Pixel(*entry["pixel_arcsec"]))))
    return views


def find_central(view: View) -> NDArray[np.bool_] | None:
    """Return the pixels of the source that is nearest to the middle of a view; None where there is none.

    Sources that touch are one.
    """
    pieces, _ = label(view.mask >= SourceClass.COMPACT, np.ones((3, 3), np.int8))
    y, x = np.nonzero(pieces)
    if not len(y):
        return None
    height, width = pieces.shape
    nearest = np.argmin((y - height // 2) ** 2 + (x - width // 2) ** 2)
    inside: NDArray[np.bool_] = (pieces == pieces[y[nearest], x[nearest]]) & np.isfinite(view.snr)
    return inside if inside.any() else None


def liken(view: View) -> Likeness | None:
    """Return what makes sources alike: the logarithms of peak and area, half the number of peaks, the class.

    They are those of the source in the middle of a view; None where there is none. The area is in beams,
    peaks are brighter than `PEAK_SNR` and than `PEAK_SHARE` of the brightest one.
    """
    inside = find_central(view)
    if inside is None or (peak := float(view.snr[inside].max())) <= 0:
        return None
    snr = np.nan_to_num(view.snr, nan=-np.inf)
    # As wide as the beam: noise on the flank of a source is no peak of its own.
    reach = 2 * math.ceil(view.beam.fwhm_pix(view.pixel) / 2) + 1
    peaks = inside & (snr >= max(PEAK_SNR, PEAK_SHARE * peak)) & (snr == maximum_filter(snr, reach))
    area_beams = float(inside.sum()) / view.beam.area_pix(view.pixel)
    extended = bool((view.mask[inside] == SourceClass.EXTENDED).any())
    return math.log10(peak), math.log10(area_beams), min(int(peaks.sum()), MOST_PEAKS) / 2, extended / 2


def _draw(path: Path, name: str, scene: View, twin: tuple[View, int] | None, cutouts: StoreReader) -> None:
    """Draw a scene, its twin in the survey, and the scene with outlines of its mask."""
    side = max(cutouts.attrs["size_pix"], *scene.snr.shape)
    factor = max(1, PANEL_PIX // side)
    panel = side * factor
    sheet = Sheet(EDGE + 3 * (panel + GAP) + RIGHT, HEAD + panel + FOOT)
    peak = float(np.nanmax(scene.snr))
    stretch = Stretch.over_noise(0.0, 1.0, min(max(peak, LEAST_TOP_SNR), MOST_TOP_SNR))
    outlined = magnify(stretch.paint(scene.snr), factor)
    # `paint` puts row 0 at the bottom, so that the mask has to be flipped too.
    edges = _outline(magnify(scene.mask, factor))[::-1]
    for kind, rgb in OUTLINES.items():
        outlined[edges == kind] = rgb
    _put(sheet, 0, panel, _paint(scene, stretch, factor), "This field", _say(scene))
    if twin is not None:
        view, number = twin
        survey = cutouts.attrs["maps"][int(cutouts.columns["source_map"][number])]["name"]
        pixels = _paint(view, stretch, factor)
        _put(sheet, 1, panel, pixels, f"Survey: cutout {number} of {survey}", _say(view))
    _put(
        sheet, 2, panel, outlined, "This field with its mask", "blue compact, orange extended, grey spurious"
    )
    bar = EDGE + 3 * (panel + GAP)
    sheet.bar(bar, HEAD, panel, stretch, 1.0, "brightness over the noise")
    sheet.text(EDGE, 10, TITLES[name], 22)
    ny, nx = scene.snr.shape
    about = (
        f"{nx} x {ny} pixels, magnified {factor} times, row 0 below; the ellipse is the beam, ticks point at "
        "the source; "
        "of the survey's cutouts the one whose source is most alike in class, peak, area and number of peaks"
    )
    sheet.text(EDGE, HEAD + panel + 12, about, 13)
    sheet.publish(path, f"{TITLES[name]}; {about}")


def _put(sheet: Sheet, place: int, panel: int, pixels: NDArray[np.uint8], title: str, about: str) -> None:
    x = EDGE + place * (panel + GAP)
    sheet.text(x, HEAD - 44, title, 17)
    sheet.text(x, HEAD - 21, about, 13)
    sheet.sky(x, HEAD, pixels)


def _say(view: View) -> str:
    scale, unit = brightness_unit(view.rms_jy_beam)
    return f"noise {scale * view.rms_jy_beam:.3g} {unit}, pixel {say_pixel(view.pixel)}"


def _paint(view: View, stretch: Stretch, factor: int) -> NDArray[np.uint8]:
    """Return a magnified view with its beam, and two ticks that point at the source in its middle."""
    pixels = magnify(stretch.paint(view.snr), factor)
    stamp_beam(pixels, view.beam, view.pixel, factor)
    if (inside := find_central(view)) is not None:
        rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
        # Two pixels off the box of the source; `paint` puts row 0 at the bottom.
        y, x = (
            len(pixels) - round(factor * float(rows.mean() + 0.5)),
            round(factor * float(columns.mean() + 0.5)),
        )
        top, left = len(pixels) - factor * (int(rows[-1]) + 3), factor * (int(columns[0]) - 2)
        pixels[max(0, top - TICK) : max(0, top), x : x + 2] = MARK
        pixels[y : y + 2, max(0, left - TICK) : max(0, left)] = MARK
    return pixels


def _outline(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return for each background pixel the class of an object that shares a side with it; 0 elsewhere."""
    framed = np.pad(mask, 1)
    sides = (framed[:-2, 1:-1], framed[2:, 1:-1], framed[1:-1, :-2], framed[1:-1, 2:])
    return np.where(mask == 0, np.max(sides, axis=0), 0).astype(np.uint8)
