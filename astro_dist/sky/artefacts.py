"""Spurious structure round bright sources: spokes, rings and fine rays, a small part of the peak.

What a snapshot with three arms leaves (lines in six directions), what errors of phase leave (rays that
differ in every direction), and the rings of a sharp edge in the uv plane; all positive and negative.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astro_dist.sky.windows import Window, bands

Floats = NDArray[np.float64]

FAINTEST_SNR, LOWEST_SNR = 1.0, 0.15
"""Artefacts that begin below the first are left out; the others are drawn down to the second."""
LARGEST_BEAMS = 100.0
DECAY = 0.8
SLAB_ROWS = 64
"""Height of the pieces computed at once: the same ones always, as last bits of a sine may depend on them."""
RAY_ORDERS = (20, 45, 100)
RAY_BINS = 8192
"""Directions in which rays are tabulated: a beam at the largest distance is a dozen of them."""


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
        Of the pattern as a whole; it falls with the distance r in beams as (1 + r/2)^-0.8.
    radius_beams
        Where it ends.
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
        """The pixels it may touch, also beyond the map's edge."""
        reach = math.ceil(self.radius_beams * self.fwhm_pix)
        y, x = round(self.y), round(self.x)
        return Window(y - reach, y + reach + 1, x - reach, x + reach + 1)

    def add_to(self, layer: NDArray[np.float32], window: Window) -> None:
        """Add the pattern to a layer that holds the pixels of ``window``, Jy/beam."""
        own = self.window
        if (own & window) is None:
            return
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
        weight, wavelength, phase = self.rings
        pattern += weight * np.cos(2 * np.pi * r / wavelength + phase) * np.exp(-r / (3 * wavelength))
        # Negative bins count from the end, which is where negative angles belong.
        theta = (np.arctan2(y, x) * ((RAY_BINS - 1) / (2 * np.pi))).astype(np.intp)
        for order, ray in zip(RAY_ORDERS, rays, strict=True):
            # Finer rays than the beam cannot be seen: each begins where it is about a beam wide.
            begin = 1 - np.exp(-((2 * np.pi * r / (1.5 * order)) ** 2))
            pattern += begin * ray[theta]
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
) -> Artefact | None:
    """Draw what a source leaves, or None when it is too faint to leave anything.

    Parameters
    ----------
    snr
        The source's peak over the noise; the pattern is a few per mille of it, less for brighter ones,
        as they are calibrated on.
    size_beams
        The source's length: extended sources leave broader spokes.
    first_direction
        Of the spokes of this map, rad from +x towards +y; the others follow at 60 degrees.
    """
    level = float(snr) * min(0.004 * (snr / 1000) ** -0.5, 0.02) * rng.lognormal(0, 0.5)
    if level < FAINTEST_SNR:
        return None
    radius = min(2 * (level / LOWEST_SNR) ** (1 / DECAY), LARGEST_BEAMS)
    directions = first_direction + np.arange(3) * np.pi / 3 + rng.normal(0, 0.03, 3)
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
    return Artefact(y, x, fwhm_pix, level * rms_jy_beam, radius, np.stack(spokes, axis=1), rings, rays)


def _draw_ray(rng: np.random.Generator, order: int) -> NDArray[np.complex128]:
    """Return `irfft` coefficients of a random function of direction, unit variance, details of 1/order."""
    m = np.arange(2 * order)
    spectrum = m * np.exp(-((m / order) ** 2)) * (rng.normal(size=len(m)) + 1j * rng.normal(size=len(m)))
    return np.asarray(spectrum * RAY_BINS / np.sqrt(2 * np.sum(np.abs(spectrum) ** 2)))
