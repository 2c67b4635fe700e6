"""The doubled maps of a run, a piece of each beside what it was made from."""

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.work import Run
from astro_dist.report.gain_figures import plot_pictures
from astro_dist.report.page import Block, Picture
from astro_dist.report.style import to_webp
from astro_dist.sky.sky_image import SkyImage
from astro_dist.sky.windows import Window

MOST_MAPS, MOST_LOOKS, SIDE_PIX = 6, 8, 128
"""Maps that are shown, pieces of a map along each axis that are looked at, and their sides."""
DARK, BRIGHT = 2.0, 60.0
"""What is black and white, in noises below and above the median."""


def show_maps(run: Run) -> list[Block]:
    """Return a picture of the brightest of some pieces of each doubled map."""
    names = list(run.facts("enhance").get("maps", {}))
    shown: dict[str, list[NDArray[np.float32]]] = {"given": [], "doubled": [], "uncertainty": []}
    images = {name: SkyImage.open(run.product("enhanced") / f"{name}.fits") for name in names[:MOST_MAPS]}
    side = min(SIDE_PIX, *(length // 2 * 2 for image in images.values() for length in image.shape))
    for name, image in images.items():
        window = _find_bright(image, side)
        doubled = _read(image, window)
        # Of a flux in a pixel the sum is the old one, which is four times the mean: the stretch is the same.
        halves = doubled.reshape(len(doubled) // 2, 2, doubled.shape[1] // 2, 2).mean((1, 3))
        for row, values in (("given", halves), ("doubled", doubled)):
            shown[row].append(_stretch(values, doubled))
        error = run.product("enhanced") / f"{name}-uncertainty.fits"
        if error.exists():
            shown["uncertainty"].append(np.nan_to_num(_read(SkyImage.open(error), window)).astype(np.float32))
    caption = (
        f"Of each map the brightest of up to {MOST_LOOKS**2} pieces: what was given, as the 2 x 2 means of "
        "the new pixels; the doubled map in the same stretch; where a network drew, one standard deviation, "
        "to its largest value."
    )
    rows = {row: np.stack(found) for row, found in shown.items() if found}
    # The plot takes pictures with an axis of planes; without one they are drawn about 0.
    rows |= {row: rows[row][:, None] for row in ("given", "doubled")}
    figure = plot_pictures(rows, list(images))
    return [Picture(to_webp(figure), caption, "Pieces of the doubled maps", wide=len(images) > 3)]


def _find_bright(image: SkyImage, side: int) -> Window:
    """Return the window with the highest pixel of those on a coarse grid over an image."""
    rows, columns = (
        # Even places, where blocks of 2 x 2 pixels begin.
        sorted({int(at) // 2 * 2 for at in np.linspace(0, length - side, MOST_LOOKS)})
        for length in image.shape
    )
    windows = [Window(y, y + side, x, x + side) for y in rows for x in columns]
    peaks = [np.nanmax(part) if np.isfinite(part := _read(image, w)).any() else -np.inf for w in windows]
    return windows[int(np.argmax(peaks))]


def _read(image: SkyImage, window: Window) -> NDArray[np.float64]:
    """Return the mean of the planes of a window."""
    return np.asarray(image.read(window).mean(axis=0), np.float64)


def _stretch(values: NDArray[np.float64], base: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return values from -1 to 1 by asinh above the median of ``base``, in units of its noise; NaN is -1."""
    known = base[np.isfinite(base)] if np.isfinite(base).any() else np.zeros(1)
    middle = float(np.median(known))
    noise = 1.4826 * float(np.median(np.abs(known - middle))) or 1.0
    scaled = np.arcsinh(DARK + (values - middle) / noise) / np.arcsinh(DARK + BRIGHT)
    return np.nan_to_num(2 * np.clip(scaled, 0, 1) - 1, nan=-1.0).astype(np.float32)
