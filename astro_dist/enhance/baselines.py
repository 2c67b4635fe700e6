"""What needs no network: colours by a table of grey levels, and doubling by a linear map of 5 x 5 pixels.

Shape letters: N pictures, P planes, h w pixels of the input, H W = 2h 2w new pixels.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from astro_dist.engine.arrays import AnyImage, Floats
from astro_dist.pictures.transforms import LUMA

LEVELS, SMOOTH_LEVELS = 256, 4.0
REACH_PIX = 2
RIDGE = 1e-6


def brightness(picture_PHW: AnyImage) -> Floats:
    """Return the brightness (H, W) of a picture of 1 or 3 planes."""
    return np.asarray(np.tensordot(LUMA if len(picture_PHW) == 3 else np.ones(1), picture_PHW, 1))


@dataclass(frozen=True)
class ColourTable:
    """The mean colour of each level of grey: red, green and blue less grey, (LEVELS, 3)."""

    shift: Floats

    @classmethod
    def fit(cls, pictures: Iterable[AnyImage]) -> "ColourTable":
        """Return the table of coloured pictures from 0 to 1; levels that none has follow their neighbours."""
        count, total = np.zeros(LEVELS), np.zeros((LEVELS, 3))
        for picture in pictures:
            grey = brightness(picture)
            level = _levels(grey).ravel()
            count += np.bincount(level, minlength=LEVELS)
            for i, plane in enumerate(picture):
                total[:, i] += np.bincount(level, (plane - grey).ravel(), LEVELS)
        near = ndimage.gaussian_filter1d(count, SMOOTH_LEVELS)
        summed = ndimage.gaussian_filter1d(total, SMOOTH_LEVELS, 0)
        return cls(summed / np.maximum(near, 1e-9)[:, None])

    def colour(self, grey_HW: AnyImage) -> Floats:
        """Return a grey picture from 0 to 1 in colour, (3, H, W)."""
        return np.clip(grey_HW + np.moveaxis(self.shift[_levels(grey_HW)], -1, 0), 0, 1)


def _levels(grey_HW: AnyImage) -> NDArray[np.int64]:
    return np.clip(np.rint(np.asarray(grey_HW) * (LEVELS - 1)), 0, LEVELS - 1).astype(np.int64)


@dataclass(frozen=True)
class LinearDoubling:
    """The linear map of 5 x 5 pixels of all planes to 2 x 2 new ones with the least squared error."""

    weights: Floats

    @classmethod
    def fit(cls, pairs: Iterable[tuple[AnyImage, AnyImage]]) -> "LinearDoubling":
        """Return the map of pairs of a small image (P, h, w) and a large one (P, H, W)."""
        # One after the other: the neighbourhoods of all pictures would take gigabytes.
        sums = [(x.T @ x, x.T @ y) for x, y in ((_neighbourhoods(a), _blocks(b)) for a, b in pairs)]
        square, product = (np.sum(part, 0) for part in zip(*sums, strict=True))
        # A ridge: pictures that are blank in a plane leave its weights open.
        ridge = RIDGE * np.trace(square) / len(square) * np.eye(len(square))
        return cls(np.asarray(np.linalg.solve(square + ridge, product), np.float64))

    def double(self, image_Phw: AnyImage) -> Floats:
        """Return an image with twice the pixels, float64."""
        planes, height, width = image_Phw.shape
        found = (_neighbourhoods(image_Phw) @ self.weights).reshape(height, width, planes, 2, 2)
        return found.transpose(2, 0, 3, 1, 4).reshape(planes, 2 * height, 2 * width)


def _neighbourhoods(image_Phw: AnyImage) -> Floats:
    """Return for each pixel the 5 x 5 pixels of all planes round it, and a one."""
    image = np.asarray(image_Phw, np.float64)
    side = 2 * REACH_PIX + 1
    wide = np.pad(image, ((0, 0), (REACH_PIX, REACH_PIX), (REACH_PIX, REACH_PIX)), mode="edge")
    seen = np.lib.stride_tricks.sliding_window_view(wide, (side, side), (1, 2))
    rows = seen.transpose(1, 2, 0, 3, 4).reshape(-1, len(image) * side * side)
    return np.hstack([rows, np.ones((len(rows), 1))])


def _blocks(large_PHW: AnyImage) -> Floats:
    planes, height, width = large_PHW.shape
    blocks = np.asarray(large_PHW, np.float64).reshape(planes, height // 2, 2, width // 2, 2)
    return blocks.transpose(1, 3, 0, 2, 4).reshape(-1, 4 * planes)
