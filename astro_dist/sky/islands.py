"""Islands: connected pixels that rise above the noise, found without ever holding a map.

Row bands keep only the few pixels beyond the merge threshold, of either sign. Pixels are joined for a whole
map at once, so that an island does not depend on where the bands were cut. Two pixels are connected when they
touch by a side or a corner.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntFlag
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from astro_dist.engine.arrays import Image
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.mesh import Mesh
from astro_dist.sky.windows import Window

Flags = NDArray[np.bool_]
Points = NDArray[np.float64]
NEIGHBOURS = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0))


@dataclass(frozen=True, eq=False)
class Pixels:
    """Pixels of one map beyond the merge threshold, of either sign, as columns in raster order.

    Attributes
    ----------
    y, x
        Position in the map, int32.
    value_jy_beam
        Brightness above the local background, float32.
    snr
        ``value_jy_beam`` over the local rms, float32.
    cut
        uint8, what cuts an island at the pixel: bits of `Cut`; by default nothing.
    """

    y: NDArray[np.int32]
    x: NDArray[np.int32]
    value_jy_beam: Image
    snr: Image
    cut: NDArray[np.uint8] | None = None

    @property
    def cuts(self) -> NDArray[np.uint8]:
        """``cut``, zeros where it was not looked at."""
        return np.zeros(len(self), np.uint8) if self.cut is None else self.cut

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: Flags | NDArray[np.integer] | slice) -> "Pixels":
        columns = self.y[index], self.x[index], self.value_jy_beam[index], self.snr[index]
        return Pixels(*columns, None if self.cut is None else self.cut[index])

    def __neg__(self) -> "Pixels":
        # Places stay and signs turn, so that `join_islands` serves negative islands as it stands.
        return Pixels(self.y, self.x, -self.value_jy_beam, -self.snr, self.cut)

    @classmethod
    def none(cls, *, with_cut: bool) -> "Pixels":
        """Return no pixels, with or without the column ``cut``."""
        place, value = np.zeros(0, np.int32), np.zeros(0, np.float32)
        return cls(place, place, value, value, np.zeros(0, np.uint8) if with_cut else None)

    @classmethod
    def join(cls, parts: list["Pixels"]) -> "Pixels":
        """Return the pixels of consecutive bands as one."""
        names = ["y", "x", "value_jy_beam", "snr"]
        if any(part.cut is not None for part in parts):
            names.append("cuts")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


class Cut(IntFlag):
    """What an island is cut by: part of it may lie where there are no data."""

    EDGE = 1
    """A pixel lies on the first or last row or column of the map."""
    BLANK = 2
    """A pixel touches one without data, by a side or a corner."""


def find_cuts(image: Image, window: Window, shape: Sequence[int], pixels: Pixels) -> NDArray[np.uint8]:
    """Return `Cut` of each of the pixels of a map of ``shape``.

    Parameters
    ----------
    image
        The pixels of ``window``, which holds the pixels and, as far as the map goes, their neighbours.
    """
    ny, nx = shape
    y, x = pixels.y, pixels.x
    edge = (y == 0) | (y == ny - 1) | (x == 0) | (x == nx - 1)
    blank = np.zeros(len(pixels), np.bool_)
    # Only the few pixels of islands are looked at, and none where the sum shows that nothing is missing: a
    # plane of neighbours would cost as much as finding them.
    for dy, dx in NEIGHBOURS if np.isnan(image.sum()) else ():
        row, column = np.clip(y + dy, 0, ny - 1) - window.y0, np.clip(x + dx, 0, nx - 1) - window.x0
        blank |= np.isnan(image[row, column])
    return (Cut.EDGE * edge + Cut.BLANK * blank).astype(np.uint8)


def find_pixels(image: Image, mesh: Mesh, window: Window, threshold: float) -> Pixels:
    """Return the pixels of a window whose snr is at least ``threshold`` above or below zero.

    Parameters
    ----------
    image
        The pixels of ``window``, Jy/beam; NaN is never an island.
    """
    background, rms = mesh.evaluate(window)
    # Both planes are written over: a band is the largest array that a task holds.
    value = np.subtract(image, background, out=background)
    snr = np.divide(value, rms, out=rms)
    y, x = np.nonzero(np.abs(snr) >= threshold)
    # int32, half of what `np.nonzero` returns: `finish` holds these columns of a whole map.
    place = (y + window.y0).astype(np.int32), (x + window.x0).astype(np.int32)
    return Pixels(*place, value[y, x], snr[y, x])


@dataclass(frozen=True, eq=False)
class Islands:
    """Pixels sorted by the island they belong to, in raster order within each.

    Attributes
    ----------
    pixels
        The pixels of all islands.
    starts
        Index of the first pixel of each island. Islands are in the order of their first pixels.
    is_peak
        Whether a pixel is brighter than all its neighbours (of equal ones, the first in raster order).
    """

    pixels: Pixels
    starts: NDArray[np.intp]
    is_peak: Flags

    def __len__(self) -> int:
        return len(self.starts)

    @cached_property
    def sizes(self) -> NDArray[np.intp]:
        """Number of pixels of each island."""
        return np.diff(self.starts, append=len(self.pixels))

    @cached_property
    def owner(self) -> NDArray[np.intp]:
        """The index, from 0, of each pixel's island."""
        return np.repeat(np.arange(len(self)), self.sizes)

    @cached_property
    def brightest(self) -> NDArray[np.intp]:
        """The index of each island's pixel of the highest snr."""
        if not len(self):
            return np.zeros(0, np.intp)
        highest = np.maximum.reduceat(self.pixels.snr, self.starts)
        # Several pixels may be equally bright; `np.unique` keeps the first of each island.
        tops = np.flatnonzero(self.pixels.snr == highest[self.owner])
        return tops[np.unique(self.owner[tops], return_index=True)[1]]

    @cached_property
    def cut(self) -> NDArray[np.uint8]:
        """What each island is cut by: bits of `Cut`."""
        cuts = self.pixels.cuts
        return np.bitwise_or.reduceat(cuts, self.starts) if len(self) else cuts

    @cached_property
    def peak_snr(self) -> Image:
        """Highest snr of each island."""
        return self.pixels.snr[self.brightest]

    def __getitem__(self, keep: Flags) -> "Islands":
        chosen = keep[self.owner]
        return Islands(self.pixels[chosen], _starts(self.sizes[keep]), self.is_peak[chosen])

    def grouped(self, group: NDArray[np.integer]) -> "Islands":
        """Return the islands of equal ``group`` as one, in raster order of their pixels."""
        _, member = np.unique(group, return_inverse=True)
        owner = member[self.owner]
        order = np.lexsort((self.pixels.x, self.pixels.y, owner))
        return Islands(self.pixels[order], _starts(np.bincount(owner)), self.is_peak[order])

    @classmethod
    def merge(cls, parts: list["Islands"]) -> "Islands":
        """Return the islands of several sets, which share no pixel, as one."""
        pixels = Pixels.join([part.pixels for part in parts])
        is_peak = np.concatenate([part.is_peak for part in parts])
        return _ordered(pixels, np.concatenate([part.sizes for part in parts]), is_peak)


def join_islands(pixels: Pixels, seed: float, least_pix: float) -> Islands:
    """Connect pixels to islands and keep those with a peak of at least ``seed``.

    Parameters
    ----------
    pixels
        All pixels of one sign of a whole map above the merge threshold, in raster order, snr > 0.
    least_pix
        Smaller islands are dropped.
    """
    n = len(pixels)
    a, b = touching(pixels.y, pixels.x)
    # One entry for a pair is enough: `directed=False` follows it both ways.
    graph = coo_matrix((np.ones(len(a), np.bool_), (a, b)), shape=(n, n))
    _, label = connected_components(graph, directed=False)
    # Of two pixels that touch the fainter is no peak, and of equal ones the later in raster order.
    is_peak = np.ones(n, np.bool_)
    is_peak[np.where(pixels.snr[b] > pixels.snr[a], a, b)] = False
    # Stable, so that raster order survives within an island.
    order = np.argsort(label, kind="stable")
    found = _ordered(pixels[order], np.bincount(label), is_peak[order])
    return found[(found.peak_snr >= seed) & (found.sizes >= least_pix)]


def trim_islands(islands: Islands, doubted: Flags, points: Points, seed: float, least_pix: float) -> Islands:
    """Cut doubtful pixels off islands and join them to islands of their own.

    Pixels within half a beam width of a pixel that is not doubted stay, because the wings of a source fall to
    the noise there.

    Parameters
    ----------
    doubted
        Whether each pixel of the islands is doubtful.
    points
        Positions of all pixels, see `in_beams`.
    seed, least_pix
        The thresholds that a piece must reach to be an island, see `join_islands`.
    """
    hurt = np.bincount(islands.owner, doubted, len(islands)) > 0
    if not hurt.any():
        return islands
    index = np.flatnonzero(hurt[islands.owner])
    # `join_islands` needs raster order over all islands together, not within each of them.
    index = index[np.lexsort((islands.pixels.x[index], islands.pixels.y[index]))]
    believed = cKDTree(points[index[~doubted[index]]])
    # Believed pixels are at distance 0 of themselves; beyond the bound the distance is infinite.
    stays = believed.query(points[index], distance_upper_bound=0.5)[0] <= 0.5
    # Each part is joined apart: joined together, the pieces would grow together at the cut.
    pieces = [join_islands(islands.pixels[index[part]], seed, least_pix) for part in (stays, ~stays)]
    return Islands.merge([islands[~hurt], *pieces])


def count_peaks(islands: Islands, seed: float, points: Points) -> NDArray[np.int32]:
    """Count the peaks of each island that reach ``seed`` and have no brighter one within a beam width.

    Parameters
    ----------
    points
        Positions of all pixels, see `in_beams`.
    """
    index = np.flatnonzero(islands.is_peak & (islands.pixels.snr >= seed))
    owner, snr = islands.owner[index], islands.pixels.snr[index]
    alone = np.ones(len(index), np.bool_)
    a, b = np.sort(cKDTree(points[index]).query_pairs(1.0, output_type="ndarray"), axis=1).T
    same = owner[a] == owner[b]
    # Pairs are sorted, so that of equal peaks the first in raster order remains, as in `join_islands`.
    alone[np.where(snr[b] > snr[a], a, b)[same]] = False
    return np.bincount(owner[alone], minlength=len(islands)).astype(np.int32)


def in_beams(y: NDArray[Any], x: NDArray[Any], beam: Beam, pixel: Pixel) -> Points:
    """Return pixel positions as (n, 2) points of a plane where the beam is round and its width is 1."""
    lower = beam_axes(beam, pixel)
    first = y / lower[0, 0]
    return np.column_stack([first, (x - lower[1, 0] * first) / lower[1, 1]])


def beam_axes(beam: Beam, pixel: Pixel) -> NDArray[np.float64]:
    """Return the lower triangular matrix (2, 2) that turns a point of `in_beams` into pixels (y, x)."""
    # With L L^T the matrix of the squared full widths, L^-1 maps the beam's half-maximum ellipse to a circle.
    return np.asarray(np.linalg.cholesky(beam.covariance_pix(pixel) * (8 * math.log(2))), np.float64)


def touching(y: NDArray[np.integer], x: NDArray[np.integer]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the indices ``(a, b)``, a < b, of all pairs that touch among pixels given in raster order."""
    # The stride leaves an empty column between the end of a row and the start of the next.
    stride = int(x.max(initial=0)) + 2
    key = y.astype(np.int64) * stride + x
    first = [np.flatnonzero(np.diff(key) == 1)]
    second = [first[0] + 1]
    # Three neighbours in the next row and one in the same: every pair is found once, from its earlier pixel.
    for step in (stride - 1, stride, stride + 1):
        place = np.searchsorted(key, key + step)
        # Beyond the last key there is no neighbour, and key[0] is below every key looked for.
        place[place == len(key)] = 0
        hit = np.flatnonzero(key[place] == key + step)
        first.append(hit)
        second.append(place[hit])
    return np.concatenate(first), np.concatenate(second)


def _ordered(pixels: Pixels, sizes: NDArray[np.intp], is_peak: Flags) -> Islands:
    """Return islands, given one after the other, in the order of their first pixels."""
    first = _starts(sizes)
    order = np.lexsort((pixels.x[first], pixels.y[first]))
    # The inverse permutation: `order` has an old number at each new place, `rank` the reverse.
    rank = np.argsort(order)
    moved = np.argsort(np.repeat(rank, sizes), kind="stable")
    return Islands(pixels[moved], _starts(sizes[order]), is_peak[moved])


def _starts(sizes: NDArray[np.intp]) -> NDArray[np.intp]:
    return np.cumsum(sizes) - sizes
