"""Standard normal noise that belongs to a position in a map, so that no border of a tile changes it.

The plane of enlarged pixels is divided into blocks of `BLOCK_PIX` x `BLOCK_PIX`; each has a random stream of
its own, and a window takes its pixels from the blocks it overlaps. Positions may be negative.
"""

import numpy as np

from astro_dist.engine.arrays import Image
from astro_dist.engine.seeds import stream

BLOCK_PIX = 64


def draw_noise(
    seed: int, sample: int, call: int, origin: tuple[int, int], shape: tuple[int, int, int]
) -> Image:
    """Return noise for a window of a map, float32.

    Parameters
    ----------
    seed, sample, call
        Seed, number of the sample of the map, and number of the network's call that the noise is added after
        (0 for the noise that sampling begins with).
    origin
        Row and column of the window's first pixel in the map, in enlarged pixels.
    shape
        Planes, height and width of the window.

    Returns
    -------
    ndarray
        Noise of ``shape``: a function of seed, sample, call, plane and position.
    """
    planes, height, width = shape
    (y0, x0), noise = origin, np.empty(shape, np.float32)
    for by in range(y0 // BLOCK_PIX, -(-(y0 + height) // BLOCK_PIX)):
        for bx in range(x0 // BLOCK_PIX, -(-(x0 + width) // BLOCK_PIX)):
            rng = stream(seed, "noise", sample, call, by, bx)
            block = rng.standard_normal((planes, BLOCK_PIX, BLOCK_PIX), np.float32)
            (into_y, from_y), (into_x, from_x) = (
                _overlap(number, start, side) for number, start, side in ((by, y0, height), (bx, x0, width))
            )
            noise[:, into_y, into_x] = block[:, from_y, from_x]
    return noise


def _overlap(block: int, start: int, side: int) -> tuple[slice, slice]:
    """Return where a block and a window overlap on an axis: in the window, and in the block."""
    first, last = max(block * BLOCK_PIX, start), min((block + 1) * BLOCK_PIX, start + side)
    return slice(first - start, last - start), slice(first - block * BLOCK_PIX, last - block * BLOCK_PIX)
