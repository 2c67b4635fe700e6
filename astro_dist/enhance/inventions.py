"""Sources that an enhanced map shows and its input does not.

A source is invented where a pixel rises above ``source_sigma`` times the noise of the input and the input
nowhere within a beam of it reaches ``input_sigma``. The second level is lower than the first, since a faint
source may cross one and the same threshold by how its pixels are cut.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from astro_dist.engine.arrays import AnyImage
from astro_dist.enhance.projection import repeat_twice

BLOCK_PIX = 32
"""Side, in pixels of the input, of the blocks in which an image is taken back; they lie on a fixed grid."""
NO_BEAM_PIX = 3.0
"""Width that is taken for that of the beam or PSF where none is known, pixels of the input."""
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Judge:
    """The two levels, and the reach within which the input must show a source."""

    source_sigma: float
    input_sigma: float
    fwhm_pix: float | None

    @property
    def reach_pix(self) -> int:
        """Pixels of the input within which it must show a source: a beam."""
        return math.ceil(self.fwhm_pix or NO_BEAM_PIX)

    def find(self, large_PHW: AnyImage, image_Phw: AnyImage) -> Flags:
        """Return the invented pixels of a doubled image, in sigma above the background, NaN = no data."""
        # No wider than the image, since filters of scipy go wrong far beyond it.
        side = 2 * min(self.reach_pix, max(image_Phw.shape[1:])) + 1
        known = np.where(np.isnan(image_Phw), -np.inf, image_Phw)
        near = ndimage.maximum_filter(known, (1, side, side), mode="constant", cval=-np.inf)
        above = np.nan_to_num(large_PHW, nan=-np.inf) > self.source_sigma
        return np.asarray(above & (repeat_twice(near) < self.input_sigma))


def say_invented(count: int) -> str:
    """Return how many sources were taken back, in words."""
    sources, were = ("source", "was") if count == 1 else ("sources", "were")
    return f"{count} {sources} that the input does not show {were} taken back"


def peaks(large_PHW: AnyImage, found_PHW: Flags) -> NDArray[np.intp]:
    """Return plane, row and column of each highest pixel among its neighbours of those found, (n, 3)."""
    if not found_PHW.any():
        return np.zeros((0, 3), np.intp)
    values = np.nan_to_num(large_PHW, nan=-np.inf)
    top = ndimage.maximum_filter(values, (1, 3, 3), mode="constant", cval=-np.inf)
    return np.argwhere(found_PHW & (values == top))


def blocks_of(found_PHW: Flags, origin: tuple[int, int]) -> Flags:
    """Return the pixels (h, w) of the input whose blocks of `BLOCK_PIX` hold one of the found pixels.

    Parameters
    ----------
    origin
        Row and column of the image's first pixel in the map, in pixels of the input.
    """
    _, height, width = found_PHW.shape
    bad_hw = found_PHW.any(0).reshape(height // 2, 2, width // 2, 2).any((1, 3))
    y, x = ((start + np.arange(side)) // BLOCK_PIX for start, side in zip(origin, bad_hw.shape, strict=True))
    rows, columns = (edge - edge[0] for edge in (y, x))
    blocks = np.zeros((rows[-1] + 1, columns[-1] + 1), bool)
    np.logical_or.at(blocks, (rows[:, None], columns[None, :]), bad_hw)
    return np.asarray(blocks[rows[:, None], columns[None, :]])
