"""Spurious structure round bright sources: spokes, rings and fine rays, a small part of the peak.

Spokes are the lines in six directions of a snapshot with three arms. Rays differ in every direction, as
errors of phase make them. Rings come from a sharp edge in the uv plane. All are positive and negative.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Floats
from astro_dist.sky.windows import Window, bands

FAINTEST_SNR, LOWEST_SNR = 1.0, 0.15
"""An artefact whose level at the source is below the first is left out; others reach down to the second."""
LARGEST_BEAMS = 100.0
"""No artefact reaches farther from its source."""
LEVEL, HIGHEST_LEVEL = 0.004, 0.02
"""Typical level at the source over the peak of a source of 1000 sigma, and the highest typical level."""
DECAY = 0.8
"""An artefact falls with the distance r in beams as (1 + r/2) to minus this power."""
SLAB_ROWS = 64
"""Rows computed at once. Slabs belong to the artefact, not to the window that is asked for, because the last
bits of a sine may depend on the length of the array."""
RAY_ORDERS = (20, 45, 100)
RAY_BINS = 8192
"""Number of directions in which rays are tabulated: at the largest distance a beam spans a dozen of them."""


@dataclass(frozen=True)
class Artefact:
    """The pattern round one source; lengths in beams, angles in radians.

    Attributes
    ----------
    y, x
        The source's centre, pix.
    fwhm_pix
        The beam.
    amplitude_jy_beam
        Level of the pattern, which falls with the distance r in beams as (1 + r/2)^-0.8.
    radius_beams
        Distance from the source at which the pattern ends.
    spokes
        Rows (direction, weight, width, wavelength, phase), one per line through the source.
    rings
        (weight, wavelength, phase).
    rays
        Fourier coefficients of the weight over all directions, one array per fineness.
    """

    y: float
    x: float
    fwhm_pix: float
    amplitude_jy_beam: float
    radius_beams: float
    spokes: Floats
    rings: tuple[float, float, float]
    rays: tuple[NDArray[np.complex128], ...]

    @property
    def window(self) -> Window:
        """The pixels that the pattern may touch, also beyond the map's edge."""
        reach = math.ceil(self.radius_beams * self.fwhm_pix)
        y, x = round(self.y), round(self.x)
        return Window(y - reach, y + reach + 1, x - reach, x + reach + 1)

    def draw(self) -> NDArray[np.float32]:
        """Return the whole pattern, the pixels of `window`, Jy/beam."""
        whole = np.zeros(self.window.shape, np.float32)
        self.add_to(whole, self.window)
        return whole

    def add_to(self, layer: NDArray[np.float32], window: Window) -> None:
        """Add the pattern to a layer that holds the pixels of ``window``, Jy/beam."""
        own = self.window
        if (own & window) is None:
            return
        # Tables are made at need: an artefact keeps 5 kB of coefficients in place of 98 kB of directions.
        rays = [np.fft.irfft(ray, RAY_BINS).astype(np.float32) for ray in self.rays]
        for slab in bands(own.shape, SLAB_ROWS):
            slab = slab.shifted(own.y0, own.x0)
            if part := slab & window:
                layer[part.within(window)] += self._draw(slab, rays)[part.within(slab)]

    def _draw(self, window: Window, rays: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        y = ((np.arange(window.y0, window.y1) - self.y) / self.fwhm_pix).astype(np.float32)[:, None]
        x = ((np.arange(window.x0, window.x1) - self.x) / self.fwhm_pix).astype(np.float32)[None]
        r = np.sqrt(y * y + x * x)
        pattern = np.zeros(r.shape, np.float32)
        for direction, weight, width, wavelength, phase in self.spokes.tolist():
            t = x * math.sin(direction) - y * math.cos(direction)
            line = weight * np.exp(-0.5 * (t / width) ** 2)
            pattern += line * np.cos(2 * np.pi * t / wavelength + phase)
        # Rings fade within three of their wavelengths, faster than spokes and rays.
        weight, wavelength, phase = self.rings
        pattern += weight * np.cos(2 * np.pi * r / wavelength + phase) * np.exp(-r / (3 * wavelength))
        # Negative bins count from the end of the table, where a table from 0 to 2 pi has negative angles.
        theta = (np.arctan2(y, x) * ((RAY_BINS - 1) / (2 * np.pi))).astype(np.intp)
        for order, ray in zip(RAY_ORDERS, rays, strict=True):
            # Rays finer than the beam are invisible: each order begins where its rays are about a beam wide.
            begin = 1 - np.exp(-((2 * np.pi * r / (1.5 * order)) ** 2))
            pattern += begin * ray[theta]
        # Zero at the radius, and zero at the source, whose peak stays as it was drawn.
        fade = np.clip(1 - (r / self.radius_beams) ** 2, 0, None) * (1 - np.exp(-((r / 1.5) ** 2)))
        return np.asarray(self.amplitude_jy_beam * fade * (1 + r / 2) ** -DECAY * pattern)


def draw_artefact(
    rng: np.random.Generator,
    y: float,
    x: float,
    snr: float,
    size_beams: float,
    rms_jy_beam: float,
    fwhm_pix: float,
    first_direction: float,
    level: float = LEVEL,
    lowest_snr: float = LOWEST_SNR,
) -> Artefact | None:
    """Draw the artefact of one source; return None when the source is too faint to have one.

    Parameters
    ----------
    snr
        The source's peak over the noise.
    size_beams
        The source's length: extended sources leave broader spokes.
    first_direction
        Direction of the first spoke in this map, rad from +x towards +y; the other two follow at 60 degrees.
    level
        Typical level over the peak at snr 1000. It is less for brighter sources, because calibration is done
        on them: it goes as 1 / sqrt(snr), up to `HIGHEST_LEVEL`.
    lowest_snr
        Level over the noise at which the pattern ends.
    """
    above_noise = float(snr) * min(level * (snr / 1000) ** -0.5, HIGHEST_LEVEL) * rng.lognormal(0, 0.5)
    if above_noise < FAINTEST_SNR:
        return None
    # Where (1 + r/2)^-DECAY brings the level down to lowest_snr, the 1 left out beside r/2.
    radius = min(2 * (above_noise / lowest_snr) ** (1 / DECAY), LARGEST_BEAMS)
    directions = first_direction + np.arange(3) * np.pi / 3 + rng.normal(0, 0.03, 3)
    # Widths add in quadrature, as those of a spoke convolved with the source.
    widths = np.hypot(rng.uniform(0.7, 1.8, 3), 0.3 * size_beams)
    spokes = (
        directions,
        rng.normal(0, 1.0, 3),
        widths,
        np.maximum(widths * rng.uniform(1.5, 4.0, 3), 2.0),
        rng.uniform(0, 2 * np.pi, 3),
    )
    rings = rng.uniform(0.2, 1.5), rng.uniform(2.5, 6.0), rng.uniform(0, 2 * np.pi)
    strength = rng.uniform(0.1, 0.5)
    rays = tuple(strength * _draw_ray(rng, order) for order in RAY_ORDERS)
    return Artefact(y, x, fwhm_pix, above_noise * rms_jy_beam, radius, np.stack(spokes, axis=1), rings, rays)


def _draw_ray(rng: np.random.Generator, order: int) -> NDArray[np.complex128]:
    """Return `irfft` coefficients of a random function of direction, unit variance, details of 1/order."""
    m = np.arange(2 * order)
    # Power at angular frequencies about `order`, none at 0: a ray adds no flux when averaged over directions.
    spectrum = m * np.exp(-((m / order) ** 2)) * (rng.normal(size=len(m)) + 1j * rng.normal(size=len(m)))
    # `irfft` divides by RAY_BINS and each coefficient stands for two of a real function (Parseval).
    return np.asarray(spectrum * RAY_BINS / np.sqrt(2 * np.sum(np.abs(spectrum) ** 2)))
