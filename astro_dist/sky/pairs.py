"""Pairs of islands of one map as the rules of `astro_dist.sky.joining` compare them.

Lengths are in beam widths, in a plane where the beam is round. The letters are those of the rules.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from astro_dist.engine.arrays import Floats
from astro_dist.sky.beams import Beam
from astro_dist.sky.beams import Pixel as PixelSize
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.config import JoinConfig
from astro_dist.sky.islands import Islands, Points, beam_axes, in_beams
from astro_dist.sky.sources import count_density
from astro_dist.sky.survey import COUNTS_HZ

Index = NDArray[np.intp]

LONG = 1.3
"""Ratio of the rms lengths of an island from which on it has a direction."""
RANDOM_ANGLE, LEAST_ANGLE = math.radians(45), math.radians(5)
"""The mean angle of a random direction to a line, and the error of an axis measured on pixels."""
COMPACT_FACTOR = 5.0
"""How many times the chance of two compact islands counts, which are mostly unrelated."""
BRIGHTEST_JY = 1e3
EXTENDED_PART = 0.1
"""Assumed part of extended islands among all, where the map itself says nothing."""
MOST_DISTANCES = 5_000
"""Of islands of more pairs of pixels only those are compared that can be the nearest."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """The islands of a map as the rules compare them.

    Attributes
    ----------
    islands, classes, flux_jy
        All islands of the map, the `SourceClass` and the flux of each.
    beam, pixel, shape, frequency_hz
        Of the map; an unknown frequency counts as 1.4 GHz.
    """

    islands: Islands
    classes: NDArray[np.uint8]
    flux_jy: Floats
    beam: Beam
    pixel: PixelSize
    shape: tuple[int, int]
    frequency_hz: float | None

    @cached_property
    def index(self) -> Index:
        """The islands that are not spurious."""
        return np.flatnonzero(self.classes >= SourceClass.COMPACT)

    @cached_property
    def points(self) -> Points:
        """Positions of all pixels, see `in_beams`."""
        return in_beams(self.islands.pixels.y, self.islands.pixels.x, self.beam, self.pixel)

    def pixels_of(self, island: int) -> Points:
        """Return the positions of the pixels of an island."""
        first = self.islands.starts[island]
        return self.points[first : first + self.islands.sizes[island]]

    @cached_property
    def moments(self) -> tuple[Points, NDArray[np.float64]]:
        """Centroid (n, 2) and second moments (n, 2, 2) of the brightness of each island, beam widths."""
        owner, n = self.islands.owner, len(self.islands)
        value = self.islands.pixels.value_jy_beam.astype(np.float64)
        total = np.bincount(owner, value, n)
        centre = np.stack([np.bincount(owner, value * p, n) / total for p in self.points.T], axis=-1)
        y, x = (self.points - centre[owner]).T
        yy, xx, yx = (np.bincount(owner, value * m, n) / total for m in (y * y, x * x, y * x))
        return centre, np.stack([yy, yx, yx, xx], axis=-1).reshape(-1, 2, 2)

    @cached_property
    def extent(self) -> Floats:
        """Distance of the farthest pixel of each island from its centroid, beam widths."""
        distance = np.hypot(*(self.points - self.moments[0][self.islands.owner]).T)
        return np.asarray(np.maximum.reduceat(distance, self.islands.starts))

    @cached_property
    def radius(self) -> Floats:
        """Radius of a circle of each island's area, beam widths."""
        return np.asarray(np.sqrt(self.islands.sizes * self._pixel_area / math.pi))

    @cached_property
    def _pixel_area(self) -> float:
        return 1 / float(np.prod(np.diag(beam_axes(self.beam, self.pixel))))

    @cached_property
    def _sorted_jy(self) -> tuple[Floats, Floats]:
        """Fluxes of all islands and of the extended ones."""
        flux = self.flux_jy[self.index]
        return np.sort(flux), np.sort(flux[self.classes[self.index] == SourceClass.EXTENDED])

    @cached_property
    def _counts(self) -> tuple[Floats, Floats]:
        """Logarithms of fluxes, and of the published number above each per square beam width."""
        flux = np.geomspace(max(float(self._sorted_jy[0][0]), 1e-9), BRIGHTEST_JY, 400)
        density = count_density(flux, self.frequency_hz or COUNTS_HZ)
        steps = (density[1:] + density[:-1]) / 2 * np.diff(flux)
        # Summed from the bright end; the last flux takes a trifle, for the logarithm.
        above = np.append(np.cumsum(steps[::-1])[::-1], steps[-1] * 1e-3)
        steradian = math.radians(1 / 3600) ** 2 * self.pixel.dy_arcsec * self.pixel.dx_arcsec
        return np.log(flux), np.log(above * steradian / self._pixel_area)

    def density(self, flux_jy: Floats, without: int, extended: bool = False) -> Floats:
        """Return the number of sources of at least ``flux_jy`` per square beam width, see the module.

        ``without`` islands of the map are at least as bright and do not count; ``extended`` counts extended
        islands only.
        """
        known = self._sorted_jy[extended]
        brighter = len(known) - np.searchsorted(known, flux_jy)
        area = math.prod(self.shape) * self._pixel_area
        published = np.exp(np.interp(np.log(flux_jy), *self._counts)) * (EXTENDED_PART if extended else 1)
        return np.asarray((np.maximum(brighter - without, 0) + 1) / (area + 1 / published))


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of islands.

    Attributes
    ----------
    first, second
        Indices of the islands, ascending.
    separation, gap
        Distance of the centroids and of the nearest pixels, beam widths.
    ends
        (n, 2), indices of these pixels.
    ratio
        Flux of the brighter over that of the fainter.
    mu, aligned
        See the module; ``aligned`` is mu a_1 a_2, times `COMPACT_FACTOR` for two compact ones.
    n_extended
        How many of the two are extended.
    """

    first: Index
    second: Index
    separation: Floats
    gap: Floats
    ends: Index
    ratio: Floats
    mu: Floats
    aligned: Floats
    n_extended: NDArray[np.int64]


def compare_pairs(found: Candidates, config: JoinConfig) -> Pairs:
    """Return the pairs within reach whose chance some rule could accept."""
    centre, _ = found.moments
    near = cKDTree(centre[found.index]).query_pairs(config.reach_beams, output_type="ndarray")
    # Sorted by index, so that no order of a tree shows.
    first, second = found.index[np.sort(near, axis=1)].T
    order = np.lexsort((second, first))
    first, second = first[order], second[order]
    separation = np.hypot(*(centre[second] - centre[first]).T)
    low, high = np.sort([found.flux_jy[first], found.flux_jy[second]], axis=0)
    n_extended = np.sum(found.classes[np.stack([first, second])] == SourceClass.EXTENDED, axis=0)
    density = np.where(n_extended == 2, found.density(low, 2, extended=True), found.density(low, 2))
    radius = found.radius[first] + found.radius[second]

    def expected(gap: Floats) -> Floats:
        return np.asarray(density * math.pi * ((radius + gap) ** 2 - radius**2))

    # No gap is below what the farthest pixels leave: most pairs need no comparison of pixels.
    least = expected(np.maximum(separation - found.extent[first] - found.extent[second], 0))
    kept = least <= max(config.chance, config.linked_chance)
    first, second, density, radius = first[kept], second[kept], density[kept], radius[kept]
    gap, ends = _gaps(found, first, second)
    mu, ratio = expected(gap), (high / low)[kept]
    line = centre[second] - centre[first]
    aligned = mu * _pointing(found, first, line) * _pointing(found, second, line)
    aligned *= np.where(n_extended[kept], 1, COMPACT_FACTOR)
    return Pairs(first, second, separation[kept], gap, ends, ratio, mu, aligned, n_extended[kept])


def _pointing(found: Candidates, island: Index, line: Points) -> Floats:
    """Return the factor a of the rule ``lobes``."""
    values, vectors = np.linalg.eigh(found.moments[1][island])
    # `eigh` sorts ascending: the last eigenvector is the long axis.
    along = np.abs(np.einsum("ni,ni->n", vectors[:, :, 1], line)) / np.hypot(*line.T)
    angle = np.maximum(np.arccos(np.clip(along, 0, 1)), LEAST_ANGLE)
    is_long = values[:, 1] >= LONG**2 * np.maximum(values[:, 0], 1e-6)
    return np.where(is_long, angle / RANDOM_ANGLE, 1.0)


def _gaps(found: Candidates, first: Index, second: Index) -> tuple[Floats, Index]:
    """Return the distance of the nearest pixels of pairs of islands, and the indices of these pixels.

    Of equally near pairs of pixels the first in the order of the islands' pixels counts.
    """
    gap, ends = np.zeros(len(first)), np.zeros((len(first), 2), np.intp)
    for row, (i, j) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        these, those = found.pixels_of(i), found.pixels_of(j)
        kept = None
        if len(these) * len(those) > MOST_DISTANCES:
            kept = _possible(found, i, j, these, those)
            these, those = these[kept[0]], those[kept[1]]
        distances = cdist(these, those)
        closest = np.divmod(distances.argmin(), len(those))
        gap[row] = distances[closest]
        ends[row] = found.islands.starts[[i, j]]
        ends[row] += closest if kept is None else [kept[0][closest[0]], kept[1][closest[1]]]
    return gap, ends


def _possible(found: Candidates, i: int, j: int, these: Points, those: Points) -> tuple[Index, Index]:
    """Return the pixels of two islands, by their place in each, that can be among the nearest."""
    centre = found.moments[0]
    from_i, from_j = (_distance(points, centre[k]) for points, k in ((those, i), (these, j)))
    nearest = those[from_i.argmin()]
    # Some pixel of one island to one of the other: the gap is not longer. A little more, for rounding.
    most = float(_distance(these, nearest).min()) + 1e-6
    # No pixel of an island is farther from its centre than its extent.
    return np.flatnonzero(from_j <= most + found.extent[j]), np.flatnonzero(from_i <= most + found.extent[i])


def _distance(points: Points, place: Points) -> Floats:
    offset = points - place
    return np.asarray(np.sqrt(np.einsum("ni,ni->n", offset, offset)))
