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
from astro_dist.enhance.textures import NORMAL, Texture, find_level, find_medians, in_blocks

SHARE = 0.994
NEIGHBOURS = 10
LEAST_PIECES = 20
"""Pieces without which nothing can be said."""
SCALES, QUANTILES = 3, (0.005, 0.05, 0.16, 0.84, 0.995)
NUMBERS = 2 + len(QUANTILES) + 6 * SCALES + 1


def describe_pieces(pieces_Nhw: AnyImage) -> Floats:
    """Return the numbers (N, `NUMBERS`) of pieces, whatever their level and unit of brightness.

    Those of a piece with NaN or infinity (no data) in more than half of its pixels are NaN. The numbers of a
    piece do not depend on the others.
    """
    return in_blocks(_describe, pieces_Nhw, NUMBERS)


def _describe(pieces_Nhw: AnyImage) -> Floats:
    count, height, width = pieces_Nhw.shape
    flat = pieces_Nhw.reshape(count, -1).astype(np.float64)
    flat[~np.isfinite(flat)] = np.nan
    few = np.isfinite(flat).sum(1) < height * width // 2
    flat[few] = 0
    middle, spread = find_level(flat)
    compressed = np.arcsinh(np.nan_to_num((flat - middle) / spread) / 2) / 2
    tails = np.quantile(compressed, QUANTILES, axis=1)
    columns = [_log_power(compressed), np.arcsinh(_skewness(compressed)), *tails]
    u: Floats = compressed.reshape(pieces_Nhw.shape)
    for _ in range(SCALES):
        small = halve_mean(u[:, : u.shape[1] // 2 * 2, : u.shape[2] // 2 * 2])
        height, width = (2 * side for side in small.shape[1:])
        columns += _describe_octave(u, u[:, :height, :width] - repeat_twice(small))
        u = small
    numbers: Floats = np.stack([*columns, _log_power(_flat(u))], 1)
    numbers[few] = np.nan
    return numbers


def _describe_octave(u_Nhw: Floats, detail_Nhw: Floats) -> list[Floats]:
    """Return the detail of an octave, with sources and without, and how alike neighbours are each way."""
    u, detail = _flat(u_Nhw), _flat(detail_Nhw)
    centred = u_Nhw - u.mean(1)[:, None, None]
    power = u.var(1) + 1e-9
    pairs = ((centred[:, 1:], centred[:, :-1]), (centred[:, :, 1:], centred[:, :, :-1]))
    together = [_flat(a * b).mean(1) / power for a, b in pairs]
    steps = [np.log(_spread(_flat(a - b)) + 1e-3) for a, b in pairs]
    return [_log_power(detail), np.log(_spread(detail) + 1e-3), *together, *steps]


def _flat(values_Nhw: Floats) -> Floats:
    return values_Nhw.reshape(len(values_Nhw), -1)


def _spread(values_NM: Floats) -> Floats:
    """Return the standard deviations (N,) that normal distributions of the same median distance have."""
    middle = find_medians(values_NM)[:, None]
    return NORMAL * find_medians(np.abs(values_NM - middle))


def _log_power(values_NM: Floats) -> Floats:
    return np.asarray(np.log(values_NM.var(1) + 1e-6))


def _skewness(u_NM: Floats) -> Floats:
    centred = u_NM - u_NM.mean(1, keepdims=True)
    # Not a power of 3, which numpy takes by logarithms.
    return np.asarray((centred * centred * centred).mean(1) / (u_NM.std(1) ** 3 + 1e-9))


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
        numbers = describe_pieces(np.array(pieces))
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

    def distances(self, pieces_Nhw: AnyImage) -> Floats:
        """Return the distances (N,) of pieces, about 1 for those like the training, NaN with few data."""
        numbers = describe_pieces(pieces_Nhw) - self.mean
        known = np.flatnonzero(np.isfinite(numbers).all(1))
        apart = np.full(len(numbers), np.nan)
        for row in known:
            rows, far = _nearest(self.pieces, numbers[row] @ self.matrix, NEIGHBOURS)
            apart[row] = far / _gap(self.gaps, rows, far)
        if self.texture is not None and len(known):
            excess = self.texture.excess(pieces_Nhw[known], self.size_pix)
            apart[known] = np.maximum(apart[known], self.limit * excess)
        return apart

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
