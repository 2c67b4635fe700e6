"""Statistics and the picture of a whole field: a graph of dask over row bands, drawn with Pillow.

A pixel of the picture is the brightest one of its block: a source that is narrower than a block keeps its
peak, so that the grey scale is true for sources, and a mean would sink most of them in the noise. The price:
the sky between sources lies some two sigma above zero. The grey scale begins below it.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
from dask import compute  # type: ignore[attr-defined]
from numpy.typing import NDArray

from astro_dist.engine.arrays import Columns
from astro_dist.field.panels import (
    MARK,
    Sheet,
    brightness_unit,
    join_lines,
    noise_stretch,
    say_beam,
    say_pixel,
)
from astro_dist.field.ticks import Ticks, edge_ticks
from astro_dist.sky.lazy import THREADS, Scheduler, lazy_map
from astro_dist.sky.maps import SkyMap

OVERVIEW_PIX = 1500
MARKED, RING_PIX = 10, 13
LEFT, TOP, RIGHT, BOTTOM = 116, 66, 118, 92
READ_ROWS = 512
FIGURES = tuple(f"{name}_jy_beam" for name in ("min", "max", "mean", "std", "median", "rms"))
SAMPLE_PIX = 200_000
SUMS = ("n", "min", "max", "sum", "squares")


def summarise(
    sky_map: SkyMap, scheduler: Scheduler = "threads"
) -> tuple[dict[str, Any], NDArray[np.float32]]:
    """Return statistics of a map in Jy/beam and its block maxima for the overview, in one pass.

    Parameters
    ----------
    scheduler
        See `lazy.Scheduler`; the bits are the same.

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
    pixels = lazy_map(sky_map, max(1, READ_ROWS // unit) * unit)
    heights, (width,) = pixels.chunks
    shrunk = (tuple(height // factor for height in heights), (width // factor,))
    maxima = pixels.map_blocks(_block_maxima, factor, chunks=shrunk, meta=np.empty((0, 0), np.float32))
    lines = ((1,) * len(heights), (len(SUMS),))
    sums = pixels.map_blocks(_sum_block, chunks=lines, meta=np.empty((0, 0), np.float64))
    # Computed together: each band is read once, for all three.
    blocks, table, sample = compute(  # type: ignore[no-untyped-call]
        maxima, sums, pixels[::step, ::step], scheduler=scheduler, num_workers=THREADS
    )
    columns = dict(zip(SUMS, table.T, strict=True))
    n = int(columns["n"].sum())
    facts: dict[str, Any] = {"n_pix": n_pix, "n_blank": n_pix - n}
    sample = sample[np.isfinite(sample)]
    return facts | (_combine(columns, n, sample) if n else dict.fromkeys(FIGURES)), blocks


def _block_maxima(pixels: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Return the maxima of the whole blocks of some rows."""
    ny, nx = pixels.shape[0] // factor, pixels.shape[1] // factor
    # fmax passes over NaN: a block is blank only where all its pixels are.
    tall = np.fmax.reduce(pixels[: ny * factor].reshape(ny, factor, -1), axis=1)
    return np.asarray(np.fmax.reduce(tall[:, : nx * factor].reshape(ny, nx, factor), axis=2))


def _sum_block(pixels: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the `SUMS` of the pixels with data of some rows, as one line."""
    # Doubles: the variance is a difference of two sums, in which float32 would lose its digits.
    values = pixels[np.isfinite(pixels)].astype(np.float64)
    extremes = values.min(initial=np.inf), values.max(initial=-np.inf), values.sum()
    return np.array([[values.size, *extremes, np.square(values, out=values).sum()]])


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


def draw_overview(
    path: Path,
    blocks: NDArray[np.float32],
    field: SkyMap,
    name: str,
    rms_jy_beam: float | None,
    truth: Columns,
) -> None:
    """Publish the picture of a whole field with its axes, grey scale and brightest sources.

    Parameters
    ----------
    blocks
        Block maxima of `summarise`.
    rms_jy_beam
        Noise of the map, or None where nothing is known of it.
    truth
        Columns ``flux_jy``, ``x_peak_pix`` and ``y_peak_pix``.
    """
    height, width = blocks.shape
    factor = math.ceil(max(field.shape) / OVERVIEW_PIX)
    sheet = Sheet(max(LEFT + width + RIGHT, 760), TOP + height + BOTTOM)
    stretch = noise_stretch(blocks)
    sheet.sky(LEFT, TOP, stretch.paint(blocks))
    _mark_brightest(sheet, truth, blocks.shape, factor)
    ra, dec = edge_ticks(field)
    box = (LEFT, TOP, width, height)
    sheet.axes(box, _reduced(ra, factor, width), _reduced(dec, factor, height))
    scale, unit = brightness_unit(stretch.high)
    sheet.bar(LEFT + width + 16, TOP, height, stretch, scale, unit)
    about = describe_field(field, rms_jy_beam, len(truth["flux_jy"]))
    sheet.text(LEFT, 12, name, 22)
    sheet.text(LEFT, 42, about)
    block = f"a pixel is the brightest of {factor} x {factor} pixels of the map" if factor > 1 else ""
    marks = "rings: the brightest sources with their fluxes"
    how = join_lines((block, "grey: asinh, linear over the noise", marks))
    sheet.text(LEFT, TOP + height + 64, how, 13)
    sheet.publish(path, f"{name}; {about}; {how}")


def describe_field(field: SkyMap, rms_jy_beam: float | None, sources: int) -> str:
    """Return size, beam, frequency, noise and number of sources of a field, in one line."""
    ny, nx = field.shape
    noise = ""
    if rms_jy_beam:
        scale, unit = brightness_unit(rms_jy_beam)
        noise = f"noise {scale * rms_jy_beam:.3g} {unit}"
    return join_lines(
        (
            f"{ny:,} rows x {nx:,} columns of {say_pixel(field.pixel)}",
            say_beam(field.beam),
            f"{field.frequency_hz / 1e6:,.5g} MHz" if field.frequency_hz else "",
            noise,
            f"{sources:,} sources",
        )
    )


def _reduced(ticks: Ticks, factor: int, length: int) -> Ticks:
    """Return ticks in pixels of the picture; pixels count from their centre, the picture from its edge."""
    places = (((place + 0.5) / factor, label) for place, label in ticks)
    return [(place, label) for place, label in places if 0 <= place <= length]


def _mark_brightest(sheet: Sheet, truth: Columns, shape: tuple[int, int], factor: int) -> None:
    """Draw a ring round each of the brightest sources, and write its flux beside it."""
    height, width = shape
    # Stable: among equal fluxes the choice must not depend on the sort that this CPU's numpy uses.
    order = np.argsort(-truth["flux_jy"].astype(np.float64), kind="stable")[:MARKED]
    for row in order.tolist():
        x = LEFT + (float(truth["x_peak_pix"][row]) + 0.5) / factor
        y = TOP + height - (float(truth["y_peak_pix"][row]) + 0.5) / factor
        sheet.draw.ellipse((x - RING_PIX, y - RING_PIX, x + RING_PIX, y + RING_PIX), outline=MARK, width=2)
        flux = float(truth["flux_jy"][row])
        scale, unit = brightness_unit(flux)
        on_left = x > LEFT + width - 110
        place = x - RING_PIX - 5 if on_left else x + RING_PIX + 5
        label = f"{scale * flux:.3g} {unit.removesuffix('/beam')}"
        sheet.text(place, y, label, 14, "rm" if on_left else "lm", MARK)
