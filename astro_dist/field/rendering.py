"""Rendering: the brightness that an intrinsic model adds to a field, at any place, turn, pixel and beam.

A model is a set of points, each widened by one small Gaussian, and the beam is a Gaussian, so nothing is
interpolated. A single point is evaluated from the formula of a Gaussian. The points of a grid are spread with
a narrow Gaussian over the pixels round their exact places; what is missing of widening and beam is a Gaussian
too, and is multiplied in Fourier space. A patch is a function of its placement alone: its pixels and the
sides of its transform follow from the placement, and it is always computed whole.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

from astro_dist.sky.beams import Pixel, least_moment
from astro_dist.sky.windows import Window

Float = NDArray[np.float64]

REACH_SIGMAS = 6.0
"""A patch ends where a point has fallen to exp(-18) of its peak, 1.5e-8."""
PLACE_STEPS = 2.0**20
"""A place is rounded to this part of a pixel, so that a shift by whole pixels changes no bit."""
SIDES = tuple(sorted(factor * 2**n for n in range(3, 16) for factor in (2, 3)))
"""Sides of the transforms, in pixels."""
_NARROW_PIX2, _NARROW_REACH = 1.3, 6
"""Variance w^2 of the narrow Gaussian, and its reach in pixels, 4.8 w."""
_ENOUGH_PIX2 = 2.7
"""Least variance s^2 of the widened beam for a transform on the field's own pixels. The transform of the
narrow Gaussian repeats every cycle per pixel; what is repeated stays below exp(-2 pi^2 w^2 (1 - w^2 / s^2)),
2e-6 of the sum. A sharper beam is rendered on finer pixels, of which every second or nth is returned."""


@dataclass(frozen=True, eq=False)
class Patch:
    """Rendered pixels.

    Attributes
    ----------
    window
        The pixels of the field that `values` covers; it may reach beyond the field.
    values
        (h, w) float64, Jy/beam for a source of 1 Jy: their sum is the beam's area in pixels.
    """

    window: Window
    values: Float


def render(
    pixels: NDArray[np.floating[Any]],
    spread_pix: ArrayLike,
    origin: Sequence[float],
    step: Float,
    anchor: Sequence[float],
    place: Sequence[float],
    beam_pix: Float,
) -> Patch:
    """Return what a model of 1 Jy adds to the pixels of a field.

    Parameters
    ----------
    pixels
        (h, w), >= 0, sum 1: points at the centres of the donor's pixels.
    spread_pix
        (3,) yy, yx and xx of the Gaussian that widens each point, donor's pixels squared; zeros for points.
    origin
        y and x of ``pixels[0, 0]`` in the stamp.
    step
        (2, 2): turns a step (y, x) of the donor's pixels into one of the field's (`step_matrix`).
    anchor, place
        The point of the stamp that comes to lie at the point ``place`` of the field, (y, x) in pixels each.
    beam_pix
        (2, 2) second moments of the field's beam, axes (y, x), its pixels squared (`Beam.covariance_pix`).
    """
    y0, x0, height, width = patch_boxes(
        pixels.shape, spread_pix, origin, step, anchor, place, beam_pix
    ).tolist()
    cell, fraction = _split(place)
    rows, columns = np.nonzero(pixels)
    y, x = _stepped(step, rows + (origin[0] - anchor[0]), columns + (origin[1] - anchor[1]))
    # Whole pixels are subtracted from each other first, so that no bit depends on where in the field this is.
    y, x = y + fraction[0] - (y0 - cell[0]), x + fraction[1] - (x0 - cell[1])
    flux = pixels[rows, columns].astype(np.float64) * (2 * math.pi * math.sqrt(_determinant(beam_pix)))
    wide = _widened(spread_pix, step, beam_pix)
    draw = _one if len(flux) == 1 else _many
    return Patch(Window(y0, y0 + height, x0, x0 + width), draw((height, width), y, x, flux, wide))


def patch_boxes(
    shape: ArrayLike,
    spread_pix: ArrayLike,
    origin: ArrayLike,
    step: ArrayLike,
    anchor: ArrayLike,
    place: ArrayLike,
    beam_pix: ArrayLike,
) -> NDArray[np.int64]:
    """Return first row, first column, height and width of patches without rendering them.

    Parameters
    ----------
    shape, spread_pix, origin, step, anchor, place, beam_pix
        As `render` takes them, ``shape`` that of the pixels; each may have leading axes, which broadcast:
        (n, 2) places with one (2, 2) beam.

    Returns
    -------
    numpy.ndarray
        (..., 4) int64; the same numbers whether one box is asked for or many.
    """
    size, first, step = np.asarray(shape, np.float64), np.asarray(origin, np.float64), np.asarray(step)
    wide = _widened(spread_pix, step, np.asarray(beam_pix))
    cell, fraction = _split(place)
    middle, half = first - np.asarray(anchor) + (size - 1) / 2, (size - 1) / 2
    box = []
    for axis in (0, 1):
        row = step[..., axis, :]
        centre = row[..., 0] * middle[..., 0] + row[..., 1] * middle[..., 1] + fraction[..., axis]
        # The corners of a turned rectangle; the hair covers the rounding of the points' own places.
        reach = np.abs(row[..., 0]) * half[..., 0] + np.abs(row[..., 1]) * half[..., 1] + 1e-6
        reach = reach + REACH_SIGMAS * np.sqrt(wide[axis * 2])
        low, high = np.floor(centre - reach), np.ceil(centre + reach)
        box.append((cell[..., axis] + low.astype(np.int64), (high - low).astype(np.int64) + 1))
    (y0, height), (x0, width) = box
    return np.stack(np.broadcast_arrays(y0, x0, height, width), axis=-1)


def step_matrix(
    donor: Pixel, field: Pixel, turn_deg: float = 0.0, *, flipped: bool = False, scale: float = 1.0
) -> Float:
    """Return the matrix that takes a step (y, x) in a donor's pixels to one in the field's pixels.

    A model is mirrored first (east and west change places) if ``flipped``, then turned from +y towards -x, as
    position angles run, and made ``scale`` times as large.
    """
    cosine, sine = math.cos(math.radians(turn_deg)), math.sin(math.radians(turn_deg))
    mirrored = -1.0 if flipped else 1.0
    turned = np.array([[cosine, sine * mirrored], [-sine, cosine * mirrored]]) * scale
    sizes = np.array([donor.dy_arcsec, donor.dx_arcsec])
    return np.asarray(turned * sizes / np.array([[field.dy_arcsec], [field.dx_arcsec]]))


def _one(shape: tuple[int, int], y: Float, x: Float, flux: Float, wide: tuple[float, float, float]) -> Float:
    """Return the Gaussian of one point, by its formula."""
    yy, yx, xx = wide
    determinant = yy * xx - yx * yx
    dy, dx = np.arange(shape[0])[:, None] - y, np.arange(shape[1])[None] - x
    square = (xx * dy * dy + yy * dx * dx - (2 * yx * dy) * dx) / determinant
    return np.asarray(np.exp(-0.5 * square) * (flux / (2 * math.pi * math.sqrt(determinant))))


def _many(shape: tuple[int, int], y: Float, x: Float, flux: Float, wide: tuple[float, float, float]) -> Float:
    """Return the sum of the Gaussians of many points: spread narrowly, then widened in Fourier space."""
    finer = math.ceil(math.sqrt(_ENOUGH_PIX2 / min(least_moment(*wide), _ENOUGH_PIX2)))
    sides = tuple(next(side for side in SIDES if side >= finer * n) for n in shape)
    grid = _spread(sides, finer * y, finer * x, flux * finer**2)
    yy, yx, xx = (moment * finer**2 for moment in wide)
    ky, kx = scipy.fft.fftfreq(sides[0])[:, None], scipy.fft.rfftfreq(sides[1])[None]
    square = (yy - _NARROW_PIX2) * ky * ky + (2 * yx * ky) * kx + (xx - _NARROW_PIX2) * kx * kx
    spectrum = scipy.fft.rfft2(grid, workers=1) * np.exp((-2 * math.pi**2) * square)
    image = scipy.fft.irfft2(spectrum, s=sides, workers=1)
    return np.ascontiguousarray(image[: finer * shape[0] : finer, : finer * shape[1] : finer])


def _spread(sides: tuple[int, ...], y: Float, x: Float, flux: Float) -> Float:
    """Lay points on a grid as narrow Gaussians of sum ``flux``."""
    (top, rows), (left, columns) = _taps(y), _taps(x)
    place = (top[:, None] * sides[1] + left[:, None])[:, :, None] + _OFFSETS[:, None] * sides[1] + _OFFSETS
    values = (rows * flux[:, None])[:, :, None] * columns[:, None, :]
    # One thread and one order of addition, unlike a product of matrices.
    grid = np.bincount(place.ravel(), values.ravel(), minlength=sides[0] * sides[1])
    return np.asarray(grid, np.float64).reshape(sides)


_OFFSETS = np.arange(-_NARROW_REACH, _NARROW_REACH + 1)


def _taps(at: Float) -> tuple[NDArray[np.int64], Float]:
    """Return the pixel nearest to each place, (n,), and the narrow Gaussian round it, (n, taps) of sum 1."""
    nearest = np.rint(at)
    taps = np.exp(-0.5 / _NARROW_PIX2 * (_OFFSETS - (at - nearest)[:, None]) ** 2)
    return nearest.astype(np.int64), taps / taps.sum(axis=1, keepdims=True)


def _split(place: ArrayLike) -> tuple[NDArray[np.int64], Float]:
    """Return the pixel nearest to each place and the rest, rounded to `PLACE_STEPS`."""
    at = np.asarray(place, np.float64)
    cell = np.floor(at + 0.5)
    return cell.astype(np.int64), np.rint((at - cell) * PLACE_STEPS) / PLACE_STEPS


def _stepped(step: Float, y: NDArray[np.floating[Any]], x: NDArray[np.floating[Any]]) -> tuple[Float, Float]:
    return step[0, 0] * y + step[0, 1] * x, step[1, 0] * y + step[1, 1] * x


def _widened(spread_pix: ArrayLike, step: Float, beam_pix: Float) -> tuple[Any, Any, Any]:
    """Return yy, yx and xx of beam plus widening; leading axes broadcast.

    Written out, because a product of matrices may round differently for one and for many.
    """
    spread = np.asarray(spread_pix, np.float64)
    yy, yx, xx = spread[..., 0], spread[..., 1], spread[..., 2]
    a, b, c, d = step[..., 0, 0], step[..., 0, 1], step[..., 1, 0], step[..., 1, 1]
    return (
        beam_pix[..., 0, 0] + a * a * yy + 2 * a * b * yx + b * b * xx,
        beam_pix[..., 0, 1] + a * c * yy + (a * d + b * c) * yx + b * d * xx,
        beam_pix[..., 1, 1] + c * c * yy + 2 * c * d * yx + d * d * xx,
    )


def _determinant(moments: Float) -> float:
    return float(moments[0, 0] * moments[1, 1] - moments[0, 1] * moments[1, 0])
