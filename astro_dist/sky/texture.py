"""The texture of real noise: its power in every direction, as a kernel that white noise is convolved with.

Noise of real maps has stripes and grids, by the array, the hour angles and the imaging, that no beam
explains. A kernel keeps the mean power at each wave vector, so that simulated noise has the same stripes.
Each of some maps gives one, and the kernel of a field changes from place to place among them.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from astro_dist.engine.seeds import stream
from astro_dist.sky.noise import BLOCK, filtered_noise
from astro_dist.sky.windows import Window

REACH_PIX = 63
"""Half the side of a kernel; no less than the halo that is filtered round a block, a cell of white noise."""
FEWEST_PAIRS = 0.02
"""Lags that a smaller part of the pixels have in common are not measured."""


def measure_kernel(
    images: NDArray[np.float32], free: NDArray[np.bool_], reach: int = REACH_PIX
) -> NDArray[np.float32]:
    """Return the kernel that makes noise with the power spectrum of images.

    Parameters
    ----------
    images
        (n, s, s) brightness over the local noise; what is not free has no meaning.
    free
        (n, s, s) pixels of noise alone: with data, and without sources.
    reach
        Half the side of the kernel in pixels.

    Returns
    -------
    numpy.ndarray
        (2 reach + 1, 2 reach + 1) float32, its own mirror image; the sum of its squares is 1.

    Raises
    ------
    ValueError
        No pixel is free.
    """
    if not free.any():
        raise ValueError("no pixel is free of sources")
    side = scipy.fft.next_fast_len(images.shape[1] + 2 * reach + 1, real=True)
    products, pairs = np.zeros((side, side)), np.zeros((side, side))
    # Sources are left out by weighting each lag by the number of pairs of free pixels that have it.
    for image, seen in zip(images, free, strict=True):
        level = float(np.median(image[seen])) if seen.any() else 0.0
        values = np.where(seen, image - level, 0).astype(np.float64)
        products += _correlate(values, side)
        pairs += _correlate(seen.astype(np.float64), side)
    enough = pairs > FEWEST_PAIRS * pairs[0, 0]
    lags = np.where(enough, products / np.maximum(pairs, 1), 0) * _fade(side, reach)
    power = scipy.fft.fft2(lags).real
    kernel = scipy.fft.ifft2(np.sqrt(np.maximum(power, 0))).real * _fade(side, reach)
    middle = np.roll(kernel, (reach, reach), (0, 1))[: 2 * reach + 1, : 2 * reach + 1]
    middle = (middle + middle[::-1, ::-1]) / 2
    return np.asarray(middle / np.sqrt((middle**2).sum()), np.float32)


@dataclass(frozen=True, eq=False)
class Texture:
    """Noise whose kernel changes from place to place, of unit rms everywhere.

    Each corner of the grid of blocks (`astro_dist.sky.noise.BLOCK`) has one of the kernels. Between corners
    the noise of the four is mixed with weights whose squares are bilinear and add up to 1, so no seam shows.

    Attributes
    ----------
    kernels
        (n, 2 r + 1, 2 r + 1) of `measure_kernel`.
    seed, key
        Name of the plane, as for `astro_dist.sky.noise.beam_noise`.
    """

    kernels: NDArray[np.float32]
    seed: int
    key: tuple[int | str, ...]

    def read(self, window: Window) -> NDArray[np.float32]:
        """Return the noise of a window, float32 (h, w), bit-equal wherever two windows overlap."""
        noise = np.empty(window.shape, np.float32)
        for by in range(window.y0 // BLOCK, (window.y1 - 1) // BLOCK + 1):
            for bx in range(window.x0 // BLOCK, (window.x1 - 1) // BLOCK + 1):
                part = Window(by * BLOCK, (by + 1) * BLOCK, bx * BLOCK, (bx + 1) * BLOCK) & window
                assert part is not None
                noise[part.within(window)] = self._mixed(part, by, bx)
        return noise

    def _mixed(self, part: Window, by: int, bx: int) -> NDArray[np.float32]:
        """Return the noise of a part of one block."""
        down = ((np.arange(part.y0, part.y1) + 0.5) / BLOCK - by)[:, None]
        right = ((np.arange(part.x0, part.x1) + 0.5) / BLOCK - bx)[None]
        shares: dict[int, NDArray[np.float64]] = {}
        for cy, rows in ((by, 1 - down), (by + 1, down)):
            for cx, columns in ((bx, 1 - right), (bx + 1, right)):
                kind = int(stream(self.seed, *self.key, "texture", cy, cx).integers(len(self.kernels)))
                shares[kind] = shares.get(kind, 0) + rows * columns
        mixed = np.zeros(part.shape)
        for kind, share in sorted(shares.items()):
            plane = filtered_noise(part, *self._filters[kind], self.seed, (*self.key, kind))
            mixed += np.sqrt(share) * plane
        return mixed.astype(np.float32)

    @cached_property
    def _filters(self) -> list[tuple[int, NDArray[np.float32]]]:
        return [_design_filter(kernel) for kernel in self.kernels]


def _design_filter(kernel: NDArray[np.float32]) -> tuple[int, NDArray[np.float32]]:
    """Return halo and transfer function of a block, as `filtered_noise` takes them."""
    reach = len(kernel) // 2
    side = scipy.fft.next_fast_len(BLOCK + 2 * reach, real=True)
    side += side % 2
    whole = np.zeros((side, side))
    whole[: len(kernel), : len(kernel)] = kernel
    # Of a kernel that is its own mirror image the spectrum is real.
    transfer = scipy.fft.rfft2(np.roll(whole, (-reach, -reach), (0, 1)), workers=1).real
    return (side - BLOCK) // 2, transfer.astype(np.float32)


def _correlate(values: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Return the sum over all pairs of pixels of their product, by lag, the lag 0 first."""
    spectrum = scipy.fft.rfft2(values, s=(side, side), workers=1)
    return np.asarray(scipy.fft.irfft2(np.abs(spectrum) ** 2, s=(side, side), workers=1))


def _fade(side: int, reach: int) -> NDArray[np.float64]:
    """Return a round taper over lags that falls as a cosine from 1 at half of the reach to 0 beyond it."""
    lag = scipy.fft.fftfreq(side, 1 / side)
    far = np.hypot(lag[:, None], lag[None]) / (reach + 1)
    return np.asarray(0.5 + 0.5 * np.cos(np.pi * np.clip(2 * far - 1, 0, 1)))
