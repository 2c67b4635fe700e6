"""Whether a piece of an image is like those that a network learnt from.

Ten numbers describe a piece: its detail on four scales, its extremes, its skewness, how near pixels go
together. They need no network. The distance of a piece is that to its third nearest neighbour among the
training pieces, in units in which these numbers are uncorrelated and of spread 1; what lies farther than
`SHARE` of the training pieces, each compared with the others, is unlike.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from astro_dist.engine.arrays import AnyImage, Floats
from astro_dist.enhance.projection import halve_mean

SHARE = 0.995
NEIGHBOURS = 3
LEAST_PIECES = 20
"""Pieces without which nothing can be said."""
SCALES = 3


def describe_piece(piece_ss: AnyImage) -> Floats:
    """Return the numbers of a square piece, whatever its level and unit of brightness; NaN = no data."""
    known = piece_ss[np.isfinite(piece_ss)].astype(np.float64)
    if known.size < piece_ss.size // 2:
        return np.full(2 * SCALES + 5, np.nan)
    middle = float(np.median(known))
    spread = float(1.4826 * np.median(np.abs(known - middle))) or float(known.std()) or 1.0
    u = np.arcsinh(np.nan_to_num((piece_ss.astype(np.float64) - middle) / spread) / 2) / 2
    numbers = [float(np.log(np.var(u) + 1e-6)), float(np.arcsinh(_skewness(u)))]
    numbers += [float(q) for q in np.quantile(u, [0.005, 0.995])]
    for _ in range(SCALES):
        # The detail of an octave, and how much of it neighbours share.
        small = halve_mean(u[None, : len(u) // 2 * 2, : u.shape[1] // 2 * 2])[0]
        detail = u[: 2 * len(small), : 2 * small.shape[1]] - small.repeat(2, 0).repeat(2, 1)
        numbers += [float(np.log(np.var(detail) + 1e-6)), _neighbours(u)]
        u = small
    numbers.append(float(np.log(np.var(u) + 1e-6)))
    return np.array(numbers)


def _skewness(u: Floats) -> float:
    centred = u - u.mean()
    return float((centred**3).mean() / (u.std() ** 3 + 1e-9))


def _neighbours(u: Floats) -> float:
    centred = u - u.mean()
    both = (centred[1:] * centred[:-1]).mean() + (centred[:, 1:] * centred[:, :-1]).mean()
    return float(both / (2 * u.var() + 1e-9))


@dataclass(frozen=True)
class Likeness:
    """The training pieces in uncorrelated units, and the greatest distance that counts as like."""

    mean: Floats
    matrix: Floats
    pieces: Floats
    limit: float
    size_pix: int

    @classmethod
    def fit(cls, numbers: Floats, size_pix: int) -> "Likeness | None":
        """Return what the training pieces allow; None for fewer than `LEAST_PIECES`."""
        numbers = numbers[np.isfinite(numbers).all(1)]
        if len(numbers) < LEAST_PIECES:
            return None
        mean, spread = numbers.mean(0), np.cov(numbers, rowvar=False)
        # A floor: a number that hardly differs in the training would make everything else unlike.
        values, vectors = np.linalg.eigh(
            spread + 1e-3 * np.diag(np.diag(spread)) + 1e-6 * np.eye(len(spread))
        )
        matrix = vectors / np.sqrt(values)
        pieces = (numbers - mean) @ matrix
        own = cls(mean, matrix, pieces, math.inf, size_pix)
        # Each piece lies at distance 0 of itself.
        distances = np.sort([own._nearest(piece, NEIGHBOURS + 1) for piece in pieces])
        place = min(len(distances) - 1, math.ceil(SHARE * (len(distances) + 1)) - 1)
        # Few pieces do not show the tail of their distances.
        slack = 1 + 10 / len(distances)
        return cls(mean, matrix, pieces, float(distances[place] * slack), size_pix)

    def distance(self, piece_ss: AnyImage) -> float:
        """Return the distance of a piece, NaN for one with few data."""
        numbers = describe_piece(piece_ss)
        return self._nearest((numbers - self.mean) @ self.matrix, NEIGHBOURS)

    def _nearest(self, piece: Floats, number: int) -> float:
        if not np.isfinite(piece).all():
            return math.nan
        squares = np.square(self.pieces - piece).sum(1)
        return float(np.sqrt(np.partition(squares, number - 1)[number - 1]))

    def to_json(self) -> dict[str, Any]:
        """Return plain lists and numbers; the last digits, on which nothing rests, are left out."""
        return {
            "mean": _lists(self.mean),
            "matrix": _lists(self.matrix),
            "pieces": _lists(self.pieces),
            "limit": round(self.limit, 6),
            "size_pix": self.size_pix,
        }

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> "Likeness":
        """Return what `to_json` wrote."""
        mean, matrix, pieces = (np.array(found[name], np.float64) for name in ("mean", "matrix", "pieces"))
        return cls(mean, matrix, pieces, float(found["limit"]), int(found["size_pix"]))


def _lists(values: Floats) -> Any:
    return np.round(values, 6).tolist()
