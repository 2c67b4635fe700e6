"""Intrinsic models: an object as a positive sky without any beam, found from its drawing.

What a network draws is not exactly what a beam can make: cores are too narrow, moats negative, noise rides on
all. A model is non-negative, and whatever is placed is that model through the field's beam, so none of this
can reach a map. A compact source becomes one point, or one Gaussian where the drawing is wider than the beam
by more than its errors; an extended one becomes a grid of points, each widened by a small Gaussian. A drawing
that no such model explains is refused with a one-word reason. The number of iterations is fixed, so the same
drawing always gives the same model.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage, optimize

from astro_dist.field.rendering import render
from astro_dist.sky.classes import SourceClass

Float = NDArray[np.float64]

MODEL_REASONS = ("no_fit", "not_like_beam")
"""Why a drawing has no model: the fit failed or left the footprint; the drawing differs from its model."""
ALLOWED_RESIDUAL = 0.35
"""Largest difference of drawing and model, over the drawing's peak, that is allowed: networks draw points
narrower than the beam, by a tenth to a third of the peak, and the model mends that."""
ALLOWED_SIGMA = 4.0
"""Largest difference that noise explains, in units of the donor's noise; larger ones of faint objects are not
allowed."""
SIGNIFICANT = 2.5
"""A width is intrinsic if the fit exceeds the beam by so many standard errors."""
WIDENING = 0.25
"""Width of the Gaussian that widens each point of a grid, in beam widths along each axis."""
ITERATIONS = 30
"""Steps of the deconvolution. More would fit the errors of drawings, a tenth of the peak, as spots finer than
the beam. Noise adds `MODEL_NOISE` whatever the signal-to-noise, so the number need not depend on it."""
MODEL_NOISE = 1.0
"""Noise of a grid seen through the donor's beam, in units of the noise of the drawing, in the footprint."""
MAX_NOISE = 0.003
"""Largest noise of a model, over its peak, at which it may be placed brighter than it was drawn."""
FAINTEST_SNR = 1.0
"""Points of a grid where the beam shows less of it than this, over the noise, are left out."""
SPECK_SNR = 3.0
"""A separate piece of a grid must reach this, through the beam and over the noise, to be kept."""
_FURTHEST = 0.99
_FEW_PIXELS = 8
_NEGLIGIBLE = 1e-4
"""Points below this part of the brightest are left out."""


@dataclass(frozen=True, eq=False)
class SkyModel:
    """One object as a positive sky.

    Attributes
    ----------
    pixels
        (h, w) float32, >= 0, sum 1: points at the centres of the stamp's pixels, or the one point of a
        compact source.
    spread_pix
        (3,) float64 yy, yx and xx of the Gaussian that widens each point, donor's pixels squared; or zeros.
    y0, x0
        Place of ``pixels[0, 0]`` in the stamp; not whole for a compact source.
    flux_snr
        Flux over the donor's noise, in beams: a point source of peak signal-to-noise 20 has 20.
    peak_snr
        Brightest pixel of the model through the donor's beam, over the donor's noise.
    residual, residual_snr
        Largest difference of drawing and model in the footprint, over the drawing's peak and over the noise.
    core_fraction
        Share of the flux within one beam width of the brightest point (`core_fraction`).
    """

    pixels: NDArray[np.float32]
    spread_pix: Float
    y0: float
    x0: float
    flux_snr: float
    peak_snr: float
    residual: float
    residual_snr: float
    core_fraction: float

    def shifted(self, dy: float, dx: float) -> "SkyModel":
        """Return the same model at another place of the stamp."""
        return replace(self, y0=self.y0 + dy, x0=self.x0 + dx)


@dataclass(frozen=True, eq=False)
class Drawing:
    """What a model is made from.

    Attributes
    ----------
    level
        (h, w) float32 brightness above the pedestal over the donor's noise, not tapered. Between instances it
        is this one's share of the brightness.
    trust
        (h, w) float32 between 0 and 1: weight of each pixel in the fit, the taper of the footprint; 0 outside
        it, where the model has no points either.
    beam_pix
        (2, 2) second moments of the donor's beam, axes (y, x), pixels squared.
    """

    level: NDArray[np.float32]
    trust: NDArray[np.float32]
    beam_pix: Float

    @property
    def peak(self) -> float:
        """Brightest pixel of the footprint, over the noise."""
        inside = self.trust > 0
        return float((self.level[inside] * self.trust[inside]).max())


def make_model(
    drawing: Drawing, source_class: SourceClass, allowed: float = ALLOWED_RESIDUAL
) -> SkyModel | str:
    """Return the intrinsic model of a drawn source, or the reason why it has none (`MODEL_REASONS`).

    Parameters
    ----------
    allowed
        Largest difference of drawing and model over the drawing's peak. From 1 on anything is allowed, and
        what cannot be fitted becomes a point in its brightest pixel.
    """
    if drawing.peak <= 0:
        return "no_fit"
    found = fit_compact(drawing) if source_class is SourceClass.COMPACT else deconvolve(drawing)
    if found == "no_fit" and allowed >= 1:
        bright = np.where(drawing.trust > 0, drawing.level * drawing.trust, -np.inf)
        y, x = np.unravel_index(int(bright.argmax()), bright.shape)
        point = np.ones((1, 1), np.float32)
        found = _compared(drawing, point, np.zeros(3), (float(y), float(x)), drawing.peak)
    if isinstance(found, str) or found.residual_snr <= max(allowed * drawing.peak, ALLOWED_SIGMA):
        return found
    return found if allowed >= 1 else "not_like_beam"


def fit_compact(drawing: Drawing) -> SkyModel | str:
    """Fit a point, or a Gaussian where the drawing is wider than the beam, by weighted least squares.

    The flux is the fitted one: the sum of a drawing counts its negative moat and its noise. Place and widths
    are free; along an axis in which the fit does not exceed the beam by `SIGNIFICANT` standard errors the
    source is a point.
    """
    inside = _Footprint.of(drawing)
    if len(inside.level) < _FEW_PIXELS:
        return "no_fit"
    free = optimize.least_squares(
        _misfit, _first_guess(inside), args=(inside, None), method="lm", max_nfev=100
    )
    spread = _significant(_spread_of(free.x[2:]), inside, free.fun)
    placed = optimize.least_squares(_misfit, free.x[:2], args=(inside, spread), method="lm")
    y, x = placed.x.tolist()
    amplitude = _amplitude(inside, _gaussian(inside, y, x, spread))
    if not (amplitude > 0 and _trusted(drawing, y, x, spread)):
        return "no_fit"
    wide = drawing.beam_pix + _matrix(spread)
    flux = amplitude * math.sqrt(np.linalg.det(wide) / np.linalg.det(drawing.beam_pix))
    return _compared(drawing, np.ones((1, 1), np.float32), spread, (y, x), flux)


def deconvolve(drawing: Drawing) -> SkyModel | str:
    """Find the non-negative grid of widened points that explains the drawing through the beam."""
    spread = _moments(drawing.beam_pix) * WIDENING**2
    sky, seen, flux = _iterate(drawing, spread)
    sky = np.where(_believed(sky, seen), sky, 0)
    if not (flux > 0 and sky.any()):
        return "no_fit"
    rows, columns = (np.flatnonzero(sky.any(axis=axis)) for axis in (1, 0))
    pixels = sky[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    pixels = (pixels / pixels.sum()).astype(np.float32)
    return _compared(drawing, pixels, spread, (float(rows[0]), float(columns[0])), flux)


def core_fraction(pixels: NDArray[np.float32], spread_pix: Float, beam_pix: Float) -> float:
    """Return the share of a model's flux in a Gaussian of the beam's size at its brightest point.

    The brightest point is that of the model through the beam. The share is the flux density there over
    the flux, in beams: 1 for a point, and less the wider the source.
    """
    patch = render(pixels, spread_pix, (0, 0), np.eye(2), (0, 0), (0, 0), beam_pix)
    if pixels.size == 1:  # between pixel centres, so the brightest pixel is not the brightest point
        return float(math.sqrt(np.linalg.det(beam_pix) / np.linalg.det(beam_pix + _matrix(spread_pix))))
    return min(float(patch.values.max()), 1.0)


def highest_factor(peak_snr: ArrayLike, compact: ArrayLike) -> Float:
    """Return how many times brighter than drawn, in signal-to-noise, models may be placed.

    A grid keeps the noise of its drawing as lumps. Placed no brighter than drawn they lie below the noise of
    the field (factor 1). Where they are below `MAX_NOISE` of the peak, any brightness is borne (infinity). So
    it is by a compact model, which is smooth.

    Parameters
    ----------
    peak_snr, compact
        `SkyModel.peak_snr` and whether the model is a point or Gaussian; they broadcast.
    """
    noise = MODEL_NOISE / np.asarray(peak_snr, np.float64)
    return np.where(np.asarray(compact) | (noise <= MAX_NOISE), np.inf, 1.0)


@dataclass(frozen=True, eq=False)
class _Footprint:
    """The trusted pixels of a drawing, one after the other; ``beam_pix`` of the drawing."""

    y: Float
    x: Float
    level: Float
    trust: Float
    beam_pix: Float

    @classmethod
    def of(cls, drawing: Drawing) -> "_Footprint":
        inside = np.nonzero(drawing.trust > 0)
        y, x, level, trust = (
            np.asarray(values, np.float64)
            for values in (*inside, drawing.level[inside], drawing.trust[inside])
        )
        return cls(y, x, level, trust, drawing.beam_pix)


def _first_guess(inside: _Footprint) -> Float:
    brightest = int((inside.level * inside.trust).argmax())
    root = np.linalg.cholesky(inside.beam_pix) / 3
    return np.array([inside.y[brightest], inside.x[brightest], root[0, 0], root[1, 0], root[1, 1]])


def _misfit(free: Float, inside: _Footprint, spread: Float | None) -> Float:
    """Return the weighted differences of drawing and Gaussian, at the amplitude that makes them least."""
    shape = _gaussian(inside, free[0], free[1], _spread_of(free[2:]) if spread is None else spread)
    return np.asarray(np.sqrt(inside.trust) * (inside.level - _amplitude(inside, shape) * shape))


def _gaussian(inside: _Footprint, y: float, x: float, spread: Float) -> Float:
    """Return the unit-peak Gaussian of a widened point through the beam."""
    inverse = np.linalg.inv(inside.beam_pix + _matrix(spread))
    dy, dx = inside.y - y, inside.x - x
    square = inverse[0, 0] * dy * dy + inverse[1, 1] * dx * dx + (2 * inverse[0, 1] * dy) * dx
    return np.asarray(np.exp(-0.5 * square))


def _amplitude(inside: _Footprint, shape: Float) -> float:
    weighted = inside.trust * shape
    # A fit may stray so far that nothing of the Gaussian is left in the footprint.
    return float((weighted * inside.level).sum() / max(float((weighted * shape).sum()), 1e-12))


def _spread_of(root: Float) -> Float:
    """Return the moments L L^T of a lower triangle (a, b, c): never negative, whatever the numbers."""
    # A fit may stray; the inverse of larger moments would be lost in rounding.
    a, b, c = np.clip(root, -1e3, 1e3)
    return np.array([a * a, a * b, b * b + c * c])


def _significant(spread: Float, inside: _Footprint, misfit: Float) -> Float:
    """Keep the widths of a fit that exceed the beam's by more than their errors, axis by axis."""
    root = np.linalg.cholesky(inside.beam_pix)
    inverse = np.linalg.inv(root)
    # In coordinates in which the beam is round and of unit width.
    excess, axes = np.linalg.eigh(inverse @ _matrix(spread) @ inverse.T)
    # The scatter round the fit, at least the donor's noise.
    noise = max(1.0, math.sqrt(float((misfit**2).sum()) / float(inside.trust.sum())))
    # Condon (1997): a width's relative error is sqrt(2) over the signal-to-noise of a beam-sized source.
    error = math.sqrt(2) * noise / float((inside.level * inside.trust).max())
    excess = np.where(np.sqrt(1 + excess) - 1 > SIGNIFICANT * error, excess, 0.0)
    return _moments(root @ (axes * excess) @ axes.T @ root.T)


def _trusted(drawing: Drawing, y: float, x: float, spread: Float) -> bool:
    """Return whether a fit lies in the footprint and is not larger than it."""
    height, width = drawing.trust.shape
    if not (0 <= y <= height - 1 and 0 <= x <= width - 1):
        return False
    small = spread[0] + spread[2] <= max(height, width) ** 2 / 4
    return bool(small and drawing.trust[round(y), round(x)] > 0.5)


def _believed(sky: Float, seen: Float) -> NDArray[np.bool_]:
    """Return the pixels of the sky other than separate specks and what is fainter than the noise."""
    bright = (sky > _NEGLIGIBLE * sky.max()) & (seen > FAINTEST_SNR)
    pieces, count = ndimage.label(bright, np.ones((3, 3)))
    brightest = ndimage.maximum(seen, pieces, np.arange(1, count + 1))
    return np.isin(pieces, 1 + np.flatnonzero(np.asarray(brightest) >= SPECK_SNR))


def _iterate(drawing: Drawing, spread: Float) -> tuple[Float, Float, float]:
    """Return the sky after `ITERATIONS` steps of Richardson and Lucy, what the beam sees of it, and its flux.

    Both sides are lifted by a constant, so that negative pixels of the drawing count as what they are. Every
    step begins further along the last one, by the acceleration of Biggs and Andrews (1997), which saves five
    steps of six. The flux, over the noise and in beams, is that at which drawing and model have the same
    sum in the footprint.
    """
    trust, support = drawing.trust.astype(np.float64), drawing.trust > 0
    level = np.where(support, drawing.level, 0)
    blur = _blur(drawing, spread)
    lift = max(1.0, -float(level[support].min()))
    weight = np.maximum(blur(trust), 1e-6)
    total = float((level * trust).sum())
    sky = np.where(support, max(total, 1.0) / trust.sum(), 0.0)
    start, change, along = sky, np.zeros_like(sky), 0.0
    for _ in range(ITERATIONS):
        ratio = (level + lift) / (np.maximum(blur(start), 0) + lift)
        found = np.where(support, start * np.maximum(blur(trust * ratio), 0) / weight, 0)
        before, change = change, found - start
        if before.any():
            along = min(max(float((change * before).sum() / (before * before).sum()), 0.0), _FURTHEST)
        start, sky = np.maximum(found + along * (found - sky), 0), found
    seen = blur(sky)
    kept = total / max(float((seen * trust).sum()), 1e-12)
    return sky, seen, float(sky.sum()) * kept / _area(drawing.beam_pix)


def _blur(drawing: Drawing, spread: Float) -> Callable[[Float], Float]:
    """Return the function that convolves an image with beam and widening, of sum 1; it is its own adjoint."""
    yy, yx, xx = _moments(drawing.beam_pix) + spread
    shape = drawing.level.shape
    reach = (math.ceil(4 * math.sqrt(yy)), math.ceil(4 * math.sqrt(xx)))
    sides = tuple(scipy.fft.next_fast_len(n + r, real=True) for n, r in zip(shape, reach, strict=True))
    ky, kx = scipy.fft.fftfreq(sides[0])[:, None], scipy.fft.rfftfreq(sides[1])[None]
    beam = np.exp(-2 * math.pi**2 * (yy * ky * ky + (2 * yx * ky) * kx + xx * kx * kx))

    def blur(image: Float) -> Float:
        spectrum = scipy.fft.rfft2(image, s=sides, workers=1) * beam
        return np.asarray(scipy.fft.irfft2(spectrum, s=sides, workers=1)[: shape[0], : shape[1]])

    return blur


def _compared(
    drawing: Drawing, pixels: NDArray[np.float32], spread: Float, place: tuple[float, float], flux: float
) -> SkyModel:
    """Return the model with what it differs from its drawing by."""
    y0, x0 = place
    patch = render(pixels, spread, place, np.eye(2), (0, 0), (0, 0), drawing.beam_pix)
    seen = np.zeros(drawing.level.shape)
    height, width = drawing.level.shape
    rows = slice(max(patch.window.y0, 0), min(patch.window.y1, height))
    columns = slice(max(patch.window.x0, 0), min(patch.window.x1, width))
    inner = patch.values[
        rows.start - patch.window.y0 : rows.stop - patch.window.y0,
        columns.start - patch.window.x0 : columns.stop - patch.window.x0,
    ]
    seen[rows, columns] = inner * flux
    inside = drawing.trust > 0
    worst = float((drawing.trust * np.abs(drawing.level - seen))[inside].max())
    share = core_fraction(pixels, spread, drawing.beam_pix)
    return SkyModel(
        pixels, spread, y0, x0, flux, float(patch.values.max()) * flux, worst / drawing.peak, worst, share
    )


def _matrix(moments: Float) -> Float:
    return np.array([[moments[0], moments[1]], [moments[1], moments[2]]])


def _moments(matrix: Float) -> Float:
    return np.array([matrix[0, 0], matrix[0, 1], matrix[1, 1]])


def _area(beam_pix: Float) -> float:
    return float(2 * math.pi * math.sqrt(np.linalg.det(beam_pix)))
