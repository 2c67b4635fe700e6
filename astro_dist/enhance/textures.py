"""Whether the noise of a piece of an image is as smooth as that of the training, which its beam decides.

What counts is the power of a piece, its sources clipped, in rings of spatial frequency, along one direction:
from the training pieces to the same sky with a beam twice as wide in pixels (Fisher's linear discriminant).
Beams of other widths lie along it too, and one number tells them apart with far fewer pieces than all rings
together would.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import AnyImage, Floats

SHARES = 0.001, 0.996
"""Shares of the training pieces below the least and the greatest smoothness that are like it."""
RINGS = (1 / 8, 3 / 16, 1 / 4, 5 / 16, 3 / 8, 7 / 16, 1 / 2, 0.6, 0.72)
"""Edges of the rings in cycles per pixel; 0.71 is that of a chessboard."""
CLIP_SIGMA = 3.0
LEAST_POWER = 1e-5
AT_ONCE = 64
NORMAL = 1.4826
"""Standard deviation of a normal distribution over its median distance from the median."""


def in_blocks(describe: Callable[[AnyImage], Floats], pieces_Nhw: AnyImage, numbers: int) -> Floats:
    """Return the numbers (N, ``numbers``) of pieces, a few pieces at a time, for the sake of memory."""
    firsts = range(0, len(pieces_Nhw), AT_ONCE)
    found = [describe(pieces_Nhw[first : first + AT_ONCE]) for first in firsts]
    return np.concatenate([np.empty((0, numbers)), *found])


def find_medians(values_NM: Floats) -> Floats:
    """Return the median (N,) of the numbers of each row that are no NaN; every row needs one."""
    # NaN is sorted behind all numbers.
    ordered = np.sort(values_NM, axis=1)
    number = np.isfinite(values_NM).sum(1)
    rows = np.arange(len(ordered))
    return np.asarray((ordered[rows, (number - 1) // 2] + ordered[rows, number // 2]) / 2)


def find_level(values_NM: Floats) -> tuple[Floats, Floats]:
    """Return median and spread of each row, both (N, 1), in units of a normal distribution's deviation.

    The spread is that of the median distance, the standard deviation where that is 0, or 1.
    """
    middle = find_medians(values_NM)[:, None]
    spread = NORMAL * find_medians(np.abs(values_NM - middle))
    for row in np.flatnonzero(spread == 0):
        spread[row] = np.nanstd(values_NM[row]) or 1.0
    return middle, spread[:, None]


def describe_textures(pieces_Nhw: AnyImage, grid_pix: int) -> Floats:
    """Return the logarithms of the shares of the power in each of `RINGS`, (N, rings).

    Level and unit of the pieces do not matter, and the numbers of a piece do not depend on the others.

    Parameters
    ----------
    pieces_Nhw
        At most ``grid_pix`` a side; NaN and infinity are no data, of which each piece has some.
    grid_pix
        Side to which pieces are filled up, so that those at borders have the rings of whole ones.
    """
    return in_blocks(partial(_describe, grid_pix=grid_pix), pieces_Nhw, len(RINGS) - 1)


def _describe(pieces_Nhw: AnyImage, grid_pix: int) -> Floats:
    flat = pieces_Nhw.reshape(len(pieces_Nhw), -1).astype(np.float64)
    flat[~np.isfinite(flat)] = np.nan
    middle, spread = find_level(flat)
    u = np.nan_to_num((flat - middle) / spread).clip(-CLIP_SIGMA, CLIP_SIGMA)
    u = (u - u.mean(1, keepdims=True)).reshape(pieces_Nhw.shape)
    # A window without jumps at the borders: their power would be spread over all rings.
    power = np.abs(np.fft.fft2(u * _taper(*u.shape[1:]), (grid_pix, grid_pix))) ** 2
    place, number = _rings(grid_pix)
    rings = len(RINGS) + 1
    sums = np.stack([np.bincount(place, one.ravel(), rings)[1 : len(RINGS)] for one in power])
    means = sums / np.maximum(number, 1)
    return np.asarray(np.log(means / np.maximum(means.sum(1, keepdims=True), 1e-300) + LEAST_POWER))


@lru_cache(maxsize=4)
def _rings(grid_pix: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the ring of each frequency, and how many frequencies each ring has."""
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(grid_pix)] * 2))
    place = np.digitize(frequency, RINGS).ravel()
    return place, np.bincount(place, minlength=len(RINGS) + 1)[1 : len(RINGS)]


@lru_cache(maxsize=16)
def _taper(height: int, width: int) -> Floats:
    return np.outer(*(np.hanning(side + 2)[1:-1] for side in (height, width)))


@dataclass(frozen=True)
class Texture:
    """The direction in which pieces of wider beams lie, and where along it the training pieces are."""

    direction: Floats
    low: float
    middle: float
    high: float

    @classmethod
    def fit(cls, pieces: Sequence[AnyImage], wider: Sequence[AnyImage], grid_pix: int) -> "Texture":
        """Return what the training pieces allow, and pieces of the same sky with a beam twice as wide."""
        own, other = (describe_textures(np.stack(some), grid_pix) for some in (pieces, wider))
        # Each half is judged by a direction that follows from the other one (cross-conformal).
        halves = [slice(0, None, 2), slice(1, None, 2)]
        scores = [own[a] @ _discriminate(own[b], other[b]) for a, b in (halves, halves[::-1])]
        found = np.sort(np.concatenate(scores))
        ranks = [round(share * (len(found) + 1)) - 1 for share in (SHARES[0], 0.5, SHARES[1])]
        low, middle, high = (float(found[min(max(rank, 0), len(found) - 1)]) for rank in ranks)
        return cls(_discriminate(own, other), low, middle, high)

    def excess(self, pieces_Nhw: AnyImage, grid_pix: int) -> Floats:
        """Return how far pieces (N,) are from the middle of the training; 1 is the edge of the like."""
        # One product for each: those of a matrix have other last bits, depending on how many rows it has.
        products = [one @ self.direction for one in describe_textures(pieces_Nhw, grid_pix)]
        score = np.array(products) - self.middle
        edge = np.where(score > 0, self.high, self.low) - self.middle
        return np.asarray(score / np.where(edge == 0, 1e-9, edge))

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers."""
        places = {name: round(getattr(self, name), 6) for name in ("low", "middle", "high")}
        return {"direction": np.round(self.direction, 6).tolist(), **places}

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> "Texture":
        """Return what `to_json` wrote."""
        places = (float(found[name]) for name in ("low", "middle", "high"))
        return cls(np.array(found["direction"], np.float64), *places)


def _discriminate(own: Floats, other: Floats) -> Floats:
    """Return Fisher's direction from the one to the other, of unit spread, with a shrunk covariance."""
    spread = (np.cov(own, rowvar=False) + np.cov(other, rowvar=False)) / 2
    spread = 0.95 * spread + np.diag(0.05 * np.diag(spread) + 1e-4)
    found = np.linalg.solve(spread, other.mean(0) - own.mean(0))
    return np.asarray(found / np.sqrt(found @ spread @ found))
