"""Whether the noise of a piece of an image is as smooth as that of the training, which its beam decides.

What counts is the power of a piece, its sources clipped, in rings of spatial frequency, along one direction:
from the training pieces to the same sky with a beam twice as wide in pixels (Fisher's linear discriminant).
Beams of other widths lie along it too, and one number tells them apart with far fewer pieces than all rings
together would.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
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


def describe_texture(piece_hw: AnyImage, grid_pix: int) -> Floats:
    """Return the logarithm of the share of the power in each of `RINGS`; NaN = no data.

    Level and unit of the piece do not matter.

    Parameters
    ----------
    piece_hw
        At most ``grid_pix`` a side.
    grid_pix
        Side to which the piece is filled up, so that pieces at borders have the rings of whole ones.
    """
    known = piece_hw[np.isfinite(piece_hw)]
    middle = np.median(known)
    spread = 1.4826 * np.median(np.abs(known - middle)) or known.std() or 1.0
    u = np.nan_to_num((piece_hw.astype(np.float64) - middle) / spread).clip(-CLIP_SIGMA, CLIP_SIGMA)
    # A window without jumps at the borders: their power would be spread over all rings.
    taper = _taper(*u.shape)
    power = np.abs(np.fft.fft2((u - u.mean()) * taper, (grid_pix, grid_pix))) ** 2
    place, number = _rings(grid_pix)
    sums = np.bincount(place, power.ravel(), len(RINGS) + 1)[1 : len(RINGS)]
    means = sums / np.maximum(number, 1)
    return np.asarray(np.log(means / max(means.sum(), 1e-300) + LEAST_POWER))


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
        own, other = (np.array([describe_texture(one, grid_pix) for one in some]) for some in (pieces, wider))
        # Each half is judged by a direction that follows from the other one (cross-conformal).
        halves = [slice(0, None, 2), slice(1, None, 2)]
        scores = [own[a] @ _discriminate(own[b], other[b]) for a, b in (halves, halves[::-1])]
        found = np.sort(np.concatenate(scores))
        ranks = [round(share * (len(found) + 1)) - 1 for share in (SHARES[0], 0.5, SHARES[1])]
        low, middle, high = (float(found[min(max(rank, 0), len(found) - 1)]) for rank in ranks)
        return cls(_discriminate(own, other), low, middle, high)

    def excess(self, piece_hw: AnyImage, grid_pix: int) -> float:
        """Return how far a piece is from the middle of the training, 1 at the edge of what is like it."""
        score = float(describe_texture(piece_hw, grid_pix) @ self.direction) - self.middle
        edge = self.high if score > 0 else self.low
        return score / ((edge - self.middle) or 1e-9)

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
