"""Pictures and statistics of a whole field, read in row bands through dask and drawn with Pillow.

The PNG files are byte-stable: they depend on no time, font or number of threads.
"""

import io
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from dask.base import compute
from dask.delayed import delayed
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from astro_dist.engine.files import publish_bytes
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.windows import Window, bands

OVERVIEW_PIX = 1500
ZOOM_PIX, ZOOM_FACTOR = 320, 3
SOFTENING = 4.0  # asinh(4 x): linear up to a quarter of the range, logarithmic above
READ_ROWS = 512
FIGURES = tuple(f"{name}_jy_beam" for name in ("min", "max", "mean", "std", "median", "rms"))
SAMPLE_PIX = 200_000
# Dark blue over red and orange to pale yellow; brightness rises evenly, so that a greyscale print works too.
PALETTE = (
    (0, 0, 12),
    (33, 12, 74),
    (87, 16, 110),
    (149, 38, 103),
    (206, 68, 70),
    (245, 125, 21),
    (252, 255, 180),
)
# RGB by class: compact, extended, spurious.
OUTLINES = {2: (90, 220, 255), 3: (255, 120, 255), 1: (160, 160, 160)}


def summarise(sky_map: SkyMap) -> tuple[dict[str, Any], NDArray[np.float32]]:
    """Return statistics of a map in Jy/beam and its block maxima for the overview, in one pass.

    Returns
    -------
    facts
        ``n_pix``, ``n_blank`` (NaN), ``min_jy_beam``, ``max_jy_beam``, ``mean_jy_beam``,
        ``std_jy_beam``, and ``median_jy_beam`` and ``rms_jy_beam`` (from the median absolute deviation)
        of some `SAMPLE_PIX` evenly spread pixels; None instead of a figure where all is blank.
    blocks
        Shape at most `OVERVIEW_PIX` on a side; NaN where a block has no data.
    """
    n_pix = sky_map.shape[0] * sky_map.shape[1]
    factor = math.ceil(max(sky_map.shape) / OVERVIEW_PIX)
    step = max(1, math.isqrt(n_pix // SAMPLE_PIX))
    # Bands begin at multiples of both, so that blocks and samples do not depend on the height of bands.
    unit = math.lcm(factor, step)
    rows = max(1, READ_ROWS // unit) * unit
    lazy = [delayed(_summarise_band)(sky_map, w, factor, step) for w in bands(sky_map.shape, rows)]
    # The parts come back in the order of the bands, so that their sums do not depend on the threads.
    parts = compute(*lazy, scheduler="threads", num_workers=2)  # type: ignore[no-untyped-call]
    figures, blocks, samples = zip(*parts, strict=True)
    table = {name: np.array([figure[name] for figure in figures]) for name in figures[0]}
    n = int(table["n"].sum())
    facts: dict[str, Any] = {"n_pix": n_pix, "n_blank": n_pix - n}
    sample = np.concatenate(samples)
    return facts | (_combine(table, n, sample) if n else dict.fromkeys(FIGURES)), np.concatenate(blocks)


def _summarise_band(
    sky_map: SkyMap, window: Window, factor: int, step: int
) -> tuple[dict[str, float], NDArray[np.float32], NDArray[np.float32]]:
    """Return the sums, the maxima of whole blocks and the sampled pixels with data of some rows."""
    pixels = sky_map.read(window)
    sample = pixels[::step, ::step]
    ny, nx = pixels.shape[0] // factor, pixels.shape[1] // factor
    # fmax passes over NaN: a block is blank only where all its pixels are.
    tall = np.fmax.reduce(pixels[: ny * factor].reshape(ny, factor, -1), axis=1)
    blocks = np.fmax.reduce(tall[:, : nx * factor].reshape(ny, nx, factor), axis=2)
    # Doubles: the variance is a difference of two sums, in which float32 would lose its digits.
    values = pixels[np.isfinite(pixels)].astype(np.float64)
    figures = {
        "n": values.size,
        "min": float(values.min(initial=np.inf)),
        "max": float(values.max(initial=-np.inf)),
        "sum": float(values.sum()),
        "squares": float(np.square(values, out=values).sum()),
    }
    return figures, blocks, sample[np.isfinite(sample)]


def _combine(table: dict[str, NDArray[Any]], n: int, sample: NDArray[np.float32]) -> dict[str, float]:
    mean = float(table["sum"].sum()) / n
    median = float(np.median(sample)) if sample.size else mean
    spread = float(np.median(abs(sample - np.float32(median)))) if sample.size else 0.0
    # 1.4826 times the median absolute deviation is the standard deviation of a Gaussian.
    values = (
        float(table["min"].min()),
        float(table["max"].max()),
        mean,
        # Rounding may make the variance of equal pixels slightly negative.
        math.sqrt(max(0.0, float(table["squares"].sum()) / n - mean**2)),
        median,
        1.4826 * spread,
    )
    return dict(zip(FIGURES, values, strict=True))


def colour(image: NDArray[np.float32], low: float, high: float) -> NDArray[np.uint8]:
    """Return RGB pixels in an asinh scale between two limits, NaN grey; the sky's last row comes first."""
    share = np.clip((image - low) / (high - low), 0, 1)
    # The level becomes an index below, which NaN cannot be; blank pixels are painted grey afterwards.
    level = np.nan_to_num(np.arcsinh(SOFTENING * share) / math.asinh(SOFTENING))
    anchors = np.linspace(0, 1, len(PALETTE))
    table = np.stack(
        [np.interp(np.linspace(0, 1, 256), anchors, band) for band in zip(*PALETTE, strict=True)]
    )
    pixels: NDArray[np.uint8] = table.T.round().astype(np.uint8)[(level * 255).round().astype(np.uint8)]
    pixels[~np.isfinite(image)] = 90
    return pixels[::-1]


def limits(image: NDArray[np.float32]) -> tuple[float, float]:
    """Return brightness limits: median - 2 sigma, and the 99.7 % level but at least median + 12 sigma."""
    values = image[np.isfinite(image)]
    if values.size == 0:
        return 0.0, 1.0
    median = float(np.median(values))
    sigma = 1.4826 * float(np.median(abs(values - median)))
    low = median - 2 * sigma
    # In a field of few sources the 99.7 % level is noise, which would be drawn as bright as sources. The last
    # term keeps the limits of a constant image apart.
    return low, max(float(np.quantile(values, 0.997)), median + 12 * sigma, low + 1e-12)


def draw_overview(path: Path, blocks: NDArray[np.float32]) -> None:
    """Publish the picture of a whole field from its block maxima."""
    _publish_png(path, colour(blocks, *limits(blocks)))


def draw_zoom(path: Path, image: NDArray[np.float32], mask: NDArray[np.uint8], sky_map: SkyMap) -> None:
    """Publish a magnified part of a field, and beside it the same part with objects outlined by class.

    The beam is drawn in the lower left corner; the file's Description gives the scale.
    """
    plain = _magnify(colour(image, *limits(image)))
    marked = plain.copy()
    # `colour` puts row 0 at the bottom, so that the mask has to be flipped too.
    outlines = _outline(_magnify(mask))[::-1]
    for kind, rgb in OUTLINES.items():
        marked[outlines == kind] = rgb
    # After the copy: the beam covers a corner of the plain half only.
    _stamp_beam(plain, sky_map)
    gap = np.full((len(plain), 2 * ZOOM_FACTOR, 3), 255, np.uint8)
    ny, nx = image.shape
    dy, dx = sky_map.pixel.dy_arcsec, sky_map.pixel.dx_arcsec
    about = (
        f"{nx} x {ny} pixels of {dx:g} x {dy:g} arcsec, magnified {ZOOM_FACTOR} times; "
        f"each half is {nx * dx:.4g} x {ny * dy:.4g} arcsec; north is up, east is left"
    )
    _publish_png(path, np.concatenate([plain, gap, marked], axis=1), about)


def zoom_windows(shape: tuple[int, int], centres: Iterable[tuple[int, int]]) -> list[Window]:
    """Return windows of `ZOOM_PIX` (less in a smaller field) round pixels, shifted into the field."""
    height, width = min(ZOOM_PIX, shape[0]), min(ZOOM_PIX, shape[1])
    windows = []
    for y, x in centres:
        y0 = min(max(y - height // 2, 0), shape[0] - height)
        x0 = min(max(x - width // 2, 0), shape[1] - width)
        windows.append(Window(y0, y0 + height, x0, x0 + width))
    return windows


def _magnify(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(np.repeat(pixels, ZOOM_FACTOR, 0), ZOOM_FACTOR, 1)


def _outline(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return for each background pixel the class of an object that shares a side with it; 0 elsewhere."""
    framed = np.pad(mask, 1)
    sides = (framed[:-2, 1:-1], framed[2:, 1:-1], framed[1:-1, :-2], framed[1:-1, 2:])
    return np.where(mask == 0, np.max(sides, axis=0), 0).astype(np.uint8)


def _stamp_beam(pixels: NDArray[np.uint8], sky_map: SkyMap) -> None:
    """Draw the half-maximum ellipse of the beam over the lower left corner of an RGB image."""
    fwhm = sky_map.beam.fwhm_pix(sky_map.pixel) * ZOOM_FACTOR
    half = math.ceil(1.5 * fwhm)
    # A beam that would cover a third of the picture is left out rather than hide the sources.
    if 2 * half + 1 > min(pixels.shape[:2]) // 3:
        return
    offsets = np.arange(-half, half + 1) / ZOOM_FACTOR
    inside = sky_map.beam.profile(offsets[:, None], offsets[None, :], sky_map.pixel)[::-1] >= 0.5
    margin = ZOOM_FACTOR
    corner = pixels[-margin - 2 * half - 1 : -margin, margin : margin + 2 * half + 1]
    corner[:] = 25
    corner[inside] = 255


def _publish_png(path: Path, pixels: NDArray[np.uint8], about: str = "") -> None:
    buffer, text = io.BytesIO(), PngInfo()
    if about:
        text.add_text("Description", about)
    # The level is stated, because the default of another Pillow would give other bytes.
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=6, pnginfo=text)
    publish_bytes(path, buffer.getvalue())
