"""Whether a piece of an image is like those that a network learnt from.

Twenty-six numbers describe a piece, whatever its level and unit: tails of its brightness, its detail on three
scales with sources and without them, how near neighbours go together along rows and columns. They need no
network. The distance of a piece is that to its tenth nearest neighbour among the training pieces, in units
in which these numbers are uncorrelated and of spread 1, over the same distance of these neighbours: rare
pieces, such as bright sources, lie apart from each other as well (local outlier factor, Breunig et al. 2000).
What has a larger one than `SHARE` of the training pieces, each compared with the others, is unlike. So is
what `astro_dist.enhance.textures` finds smoother or rougher than these pieces.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import AnyImage, Floats
from astro_dist.enhance.projection import halve_mean, repeat_twice
from astro_dist.enhance.textures import Texture

SHARE = 0.994
NEIGHBOURS = 10
LEAST_PIECES = 20
"""Pieces without which nothing can be said."""
SCALES, QUANTILES = 3, (0.005, 0.05, 0.16, 0.84, 0.995)
NUMBERS = 2 + len(QUANTILES) + 6 * SCALES + 1


def describe_piece(piece_ss: AnyImage) -> Floats:
    """Return the numbers of a square piece, whatever its level and unit of brightness; NaN = no data."""
    known = piece_ss[np.isfinite(piece_ss)].astype(np.float64)
    if known.size < piece_ss.size // 2:
        return np.full(NUMBERS, np.nan)
    middle = _median(known)
    spread = _spread(known) or float(known.std()) or 1.0
    u = np.arcsinh(np.nan_to_num((piece_ss.astype(np.float64) - middle) / spread) / 2) / 2
    numbers = [_log_power(u), float(np.arcsinh(_skewness(u)))]
    numbers += [float(q) for q in np.quantile(u, QUANTILES)]
    for _ in range(SCALES):
        small = halve_mean(u[None, : len(u) // 2 * 2, : u.shape[1] // 2 * 2])[0]
        numbers += _describe_octave(u, u[: 2 * len(small), : 2 * small.shape[1]] - repeat_twice(small))
        u = small
    return np.array([*numbers, _log_power(u)])


def _describe_octave(u: Floats, detail: Floats) -> list[float]:
    """Return the detail of an octave, with sources and without, and how alike neighbours are each way."""
    centred, power = u - u.mean(), u.var() + 1e-9
    pairs = ((centred[1:], centred[:-1]), (centred[:, 1:], centred[:, :-1]))
    together = [float((a * b).mean() / power) for a, b in pairs]
    steps = [math.log(_spread(a - b) + 1e-3) for a, b in pairs]
    return [_log_power(detail), math.log(_spread(detail) + 1e-3), *together, *steps]


def _spread(values: Floats) -> float:
    """Return the standard deviation that a normal distribution of the same median distance has."""
    return 1.4826 * _median(np.abs(values - _median(values)))


def _median(values: Floats) -> float:
    """Return `numpy.median` of finite numbers, which spends most of its time on NaN and axes."""
    half, flat = values.size // 2, values.ravel()
    low = half - 1 if values.size % 2 == 0 else half
    found = np.partition(flat, (low, half))
    return float((found[low] + found[half]) / 2)


def _log_power(values: Floats) -> float:
    return math.log(float(np.var(values)) + 1e-6)


def _skewness(u: Floats) -> float:
    centred = u - u.mean()
    # Not a power of 3, which numpy takes by logarithms.
    return float((centred * centred * centred).mean() / (u.std() ** 3 + 1e-9))


@dataclass(frozen=True)
class Likeness:
    """The training pieces in uncorrelated units, how far apart they lie, and the greatest distance.

    ``gaps`` (n,) are the distances of the training pieces to their `NEIGHBOURS`-th neighbour; ``texture`` is
    None where a run of an earlier version measured no smoothness.
    """

    mean: Floats
    matrix: Floats
    pieces: Floats
    gaps: Floats
    limit: float
    size_pix: int
    texture: Texture | None = None

    @classmethod
    def fit(cls, pieces: Sequence[AnyImage], wider: Sequence[AnyImage]) -> "Likeness | None":
        """Return what square training pieces allow; None for fewer than `LEAST_PIECES`.

        Parameters
        ----------
        pieces
            Each of the same side.
        wider
            Pieces of the same sky and side whose beam is twice as wide in pixels.
        """
        numbers = np.array([describe_piece(piece) for piece in pieces]).reshape(-1, NUMBERS)
        known = np.isfinite(numbers).all(1)
        if known.sum() < LEAST_PIECES:
            return None
        kept = np.flatnonzero(known).tolist()
        size_pix = len(pieces[0])
        texture = Texture.fit([pieces[i] for i in kept], [wider[i] for i in kept], size_pix)
        return cls._fit(numbers[known], size_pix, texture)

    @classmethod
    def _fit(cls, numbers: Floats, size_pix: int, texture: Texture) -> "Likeness":
        mean, spread = numbers.mean(0), np.cov(numbers, rowvar=False)
        # A floor: a number that hardly differs in the training would make everything else unlike.
        values, vectors = np.linalg.eigh(
            spread + 1e-3 * np.diag(np.diag(spread)) + 1e-6 * np.eye(len(spread))
        )
        matrix = vectors / np.sqrt(values)
        pieces = (numbers - mean) @ matrix
        order = [_nearest(pieces, piece, NEIGHBOURS + 1) for piece in pieces]
        # Each piece lies at distance 0 of itself.
        gaps = np.array([far for _, far in order])
        distances = np.sort([far / _gap(gaps, rows, far) for rows, far in order])
        place = min(len(distances) - 1, math.ceil(SHARE * (len(distances) + 1)) - 1)
        # Few pieces do not show the tail of their distances.
        slack = 1 + 10 / len(distances)
        return cls(mean, matrix, pieces, gaps, float(distances[place] * slack), size_pix, texture)

    def distance(self, piece_ss: AnyImage) -> float:
        """Return the distance of a piece, about 1 for those like the training, NaN for one with few data."""
        piece = (describe_piece(piece_ss) - self.mean) @ self.matrix
        if not np.isfinite(piece).all():
            return math.nan
        rows, far = _nearest(self.pieces, piece, NEIGHBOURS)
        apart = far / _gap(self.gaps, rows, far)
        if self.texture is None:
            return apart
        return max(apart, self.limit * self.texture.excess(piece_ss, self.size_pix))

    def to_json(self) -> dict[str, Any]:
        """Return plain lists and numbers; the last digits, on which nothing rests, are left out."""
        return {
            "mean": _lists(self.mean),
            "matrix": _lists(self.matrix),
            "pieces": _lists(self.pieces),
            "gaps": _lists(self.gaps),
            "limit": round(self.limit, 6),
            "size_pix": self.size_pix,
            "texture": None if self.texture is None else self.texture.to_json(),
        }

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> "Likeness":
        """Return what `to_json` wrote."""
        arrays = (np.array(found[name], np.float64) for name in ("mean", "matrix", "pieces", "gaps"))
        mean, matrix, pieces, gaps = arrays
        texture = Texture.from_json(found["texture"]) if found.get("texture") else None
        return cls(mean, matrix, pieces, gaps, float(found["limit"]), int(found["size_pix"]), texture)


def _nearest(pieces: Floats, piece: Floats, number: int) -> tuple[NDArray[np.int64], float]:
    """Return the rows of the nearest pieces but for the piece itself, and the distance of the farthest."""
    apart = pieces - piece
    squares = np.einsum("nd,nd->n", apart, apart)
    rows = np.argpartition(squares, number - 1)[:number]
    far = float(np.sqrt(squares[rows].max()))
    return rows[squares[rows] > 0], max(far, 1e-9)


def _gap(gaps: Floats, rows: NDArray[np.int64], far: float) -> float:
    # Equal pieces, such as blank ones, are no neighbours of each other.
    return float(gaps[rows].mean()) if len(rows) else far


def _lists(values: Floats) -> Any:
    return np.round(values, 6).tolist()
