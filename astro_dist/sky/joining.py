"""Sources of several islands: lobes, cores and fragments of one radio galaxy, joined by stated rules.

The measure of every rule is chance. With n the number of sources per area that are at least as bright as the
fainter of two islands, the expected number of unrelated ones as near to the other island is

    mu = n (pi (r + g)^2 - pi r^2),

where g is the gap between the nearest pixels of the two and r the sum of the radii of circles of their areas.
For small islands this is the n pi theta^2 of Downes et al. 1986 (MNRAS 218, 31). As n falls about as 1/S, a
limit on mu is a limit theta ~ S^0.5 on the separation, the form of the rule of Magliocchetti et al. 1998
(MNRAS 300, 257) for FIRST, whose flux ratio of at most four is taken as well. n is counted in the map itself,
without the islands in question, among extended islands where both are extended. The 1.4 GHz counts of
`astro_dist.sky.sources` weigh as much as one source, so that the map of a single galaxy is not taken for a
crowded one. Two compact islands are mostly unrelated: their mu counts `COMPACT_FACTOR` times where it is
compared with ``chance``, and that of two extended ones side by side `EXTENDED_FACTOR` times.

Two islands that are not spurious are joined when one of these holds:

====== =====================================================================================================
rule   holds when
====== =====================================================================================================
near   the gap is at most ``near_beams``, mu at most ``chance``, and the flux ratio at most ``flux_ratio``
       unless both are extended: an extended source falls into pieces of any brightness.
lobes  at least one of both is extended, the flux ratio is at most ``flux_ratio``, the gap at most
       `LOBE_LENGTHS` times the longer one, mu at most ``linked_chance`` and mu a_1 a_2 at most ``chance``.
       a is one for a round island. For a long one whose axis is at an angle to the line between both it is
       the angle over 45 degrees, up to two: so seldom does an unrelated one point so well.
core   a third island lies near the line between two of a flux ratio of at most ``flux_ratio`` whose mu is
       at most ``linked_chance``; mu a_1 a_2 times the expected number of unrelated ones in that strip, times
       `CORE_FACTOR`, is at most ``chance``. All three are joined.
bridge the strip a beam wide across the gap, of at most ``bridge_beams``, is brighter than zero by
       ``bridge_sigma`` errors of its mean and positive in every beam's length, and mu a_1 a_2 is at most
       ``linked_chance``. A pixel above the merge threshold counts as one at it.
given  the user's table has both under one number. An island in the table is joined by the table alone.
====== =====================================================================================================

Rules are symmetric in the two islands. Links are followed from the least chance on, and none makes a source
longer than ``reach_beams``. Only islands of one map are compared, when all of them are known: nothing depends
on bands, on tasks or on the order of maps.
"""

import math
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from astro_dist.engine.arrays import Floats, Image
from astro_dist.sky.beams import Beam
from astro_dist.sky.beams import Pixel as PixelSize
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.config import JoinConfig
from astro_dist.sky.islands import Islands, Points, beam_axes, in_beams
from astro_dist.sky.sources import count_density
from astro_dist.sky.survey import COUNTS_HZ

ALONE, NEAR, LOBES, CORE, BRIDGE = "", "near", "lobes", "core", "bridge"
GIVEN, TRUTH = "given", "truth"
"""Not rules but facts: the user's word, and the truth of a simulation, see `astro_dist.sky.given`."""
Index = NDArray[np.intp]
Linked = Container[tuple[int, int]]
SnrOf = Callable[[Index, Index], Image]
"""Returns brightness over the noise in pixels (y, x) of the map, NaN where there are no data."""

LONG = 1.3
"""Ratio of the rms lengths of an island from which on it has a direction."""
RANDOM_ANGLE, LEAST_ANGLE = math.radians(45), math.radians(5)
"""The mean angle of a random direction to a line, and the error of an axis measured on pixels."""
COMPACT_FACTOR, EXTENDED_FACTOR, CORE_FACTOR = 5.0, 0.5, 10.0
"""How many times chance counts: of two compact islands, which are mostly unrelated, of two extended ones
side by side, and of three islands, for triples are many."""
LOBE_LENGTHS = 3.0
"""Longest gap between lobes, lengths of the longer: mu counted from few islands, in a small map, is rough."""
CORE_PART, CORE_BEAMS, CORE_OFFSET = 0.15, 1.0, 0.1
"""A core is this part of the separation or more from either lobe, and off the line by at most one beam width
or a tenth of the separation."""
STEP = 0.25
"""Distance between the samples of a bridge, beam widths."""
NOISE_BEAMS = 1.5
"""Length over which noise seen through the beam is correlated, about sqrt(2) beam widths."""
BRIGHTEST_JY = 1e3
MOST_DISTANCES = 30_000
"""Islands of fewer pairs of pixels are compared at once, others by a tree, which takes longer to make."""
EXTENDED_PART = 0.1
"""Assumed part of extended islands among all, where the map itself says nothing."""


@dataclass(frozen=True)
class Link:
    """Two islands, by index, that belong together, with the rule that says so and its chance."""

    chance: float
    first: int
    second: int
    rule: str


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


def find_links(found: Candidates, config: JoinConfig, snr_of: SnrOf, merge: float) -> list[Link]:
    """Return the links of a map, the least chance first; islands that they connect are one source.

    Parameters
    ----------
    snr_of
        Reads the map, for the bridges.
    merge
        The snr above which pixels belong to islands.
    """
    if len(found.index) < 2:
        return []
    pairs = _pairs(found, config)
    links = [*_lobes(found, pairs, config), *_cores(found, pairs, config)]
    # Only pairs that no other rule joins are worth reading the map for.
    linked = {(link.first, link.second) for link in links}
    links += _bridges(found, pairs, config, snr_of, merge, linked)
    return sorted(links, key=lambda link: (link.chance, link.first, link.second, link.rule))


def group_islands(
    links: Sequence[Link], centre: Points, reach_beams: float
) -> tuple[NDArray[np.int32], NDArray[np.str_]]:
    """Follow links in their order; return the source of each island, and the rule that joined it.

    A source has the number of its first island; islands count from 1. The rule is that of an island's first
    link, `ALONE` where there is none. A link that would make a source longer than ``reach_beams`` between
    centroids is left out, unless it was given.
    """
    n = len(centre)
    members = {i: [i] for i in range(n)}
    owner, rules = np.arange(n), [ALONE] * n
    for link in links:
        a, b = sorted((int(owner[link.first]), int(owner[link.second])))
        if a != b:
            both = members[a] + members[b]
            spread = centre[both][:, None] - centre[both]
            if link.rule not in (GIVEN, TRUTH) and np.hypot(*spread.T).max() > reach_beams:
                continue
            owner[members.pop(b)] = a
            members[a] = both
        for island in (link.first, link.second):
            rules[island] = rules[island] or link.rule
    # A fixed width, for the type of the column must not depend on what was found.
    return (owner + 1).astype(np.int32), np.array(rules, "<U6")


@dataclass(frozen=True, eq=False)
class _Pairs:
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


def _pairs(found: Candidates, config: JoinConfig) -> _Pairs:
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
    return _Pairs(first, second, separation[kept], gap, ends, ratio, mu, aligned, n_extended[kept])


def _pointing(found: Candidates, island: Index, line: Points) -> Floats:
    """Return the factor a of the rule ``lobes``."""
    values, vectors = np.linalg.eigh(found.moments[1][island])
    # `eigh` sorts ascending: the last eigenvector is the long axis.
    along = np.abs(np.einsum("ni,ni->n", vectors[:, :, 1], line)) / np.hypot(*line.T)
    angle = np.maximum(np.arccos(np.clip(along, 0, 1)), LEAST_ANGLE)
    is_long = values[:, 1] >= LONG**2 * np.maximum(values[:, 0], 1e-6)
    return np.where(is_long, angle / RANDOM_ANGLE, 1.0)


def _gaps(found: Candidates, first: Index, second: Index) -> tuple[Floats, Index]:
    """Return the distance of the nearest pixels of pairs of islands, and the indices of these pixels."""
    gap, ends = np.zeros(len(first)), np.zeros((len(first), 2), np.intp)
    for row, (i, j) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        these, those = found.pixels_of(i), found.pixels_of(j)
        if len(these) * len(those) <= MOST_DISTANCES:
            distances = cdist(these, those)
            closest = np.divmod(distances.argmin(), len(those))
            gap[row] = distances[closest]
        else:
            nearest, place = cKDTree(these).query(those)
            closest = place[nearest.argmin()], nearest.argmin()
            gap[row] = nearest.min()
        ends[row] = found.islands.starts[[i, j]] + closest
    return gap, ends


def _lobes(found: Candidates, pairs: _Pairs, config: JoinConfig) -> Iterator[Link]:
    """Yield the links of the rules ``near`` and ``lobes``."""
    alike = pairs.ratio <= config.flux_ratio
    close = pairs.gap <= config.near_beams
    chance = pairs.mu * np.choose(pairs.n_extended, (COMPACT_FACTOR, 1.0, EXTENDED_FACTOR))
    near = close & (alike | (pairs.n_extended == 2)) & (chance <= config.chance)
    likely = (pairs.mu <= config.linked_chance) & (pairs.aligned <= config.chance)
    length = 2 * np.maximum(found.extent[pairs.first], found.extent[pairs.second])
    lobes = (pairs.n_extended > 0) & alike & likely & (pairs.gap <= LOBE_LENGTHS * length)
    for rule, holds, value in ((NEAR, near, chance), (LOBES, lobes, pairs.aligned)):
        for row in np.flatnonzero(holds).tolist():
            yield Link(float(value[row]), int(pairs.first[row]), int(pairs.second[row]), rule)


def _cores(found: Candidates, pairs: _Pairs, config: JoinConfig) -> Iterator[Link]:
    """Yield the links of the rule ``core``: two for each triple."""
    centre, tree = found.moments[0], cKDTree(found.moments[0][found.index])
    possible = (pairs.ratio <= config.flux_ratio) & (pairs.mu <= config.linked_chance)
    for row in np.flatnonzero(possible).tolist():
        i, j, length = int(pairs.first[row]), int(pairs.second[row]), float(pairs.separation[row])
        line = (centre[j] - centre[i]) / length
        for place in sorted(tree.query_ball_point((centre[i] + centre[j]) / 2, length / 2)):
            k = int(found.index[place])
            offset = centre[k] - centre[i]
            along, across = float(offset @ line), abs(float(offset @ (line[1], -line[0])))
            between = CORE_PART <= along / length <= 1 - CORE_PART
            if k in (i, j) or not between or across > max(CORE_BEAMS, CORE_OFFSET * length):
                continue
            # A strip as wide as the core is off the line, at least a beam.
            area = max(2 * across, CORE_BEAMS) * length
            strip = area * float(found.density(found.flux_jy[[k]], 3)[0])
            chance = float(pairs.aligned[row]) * min(CORE_FACTOR * strip, 1.0)
            if chance <= config.chance:
                yield Link(chance, min(i, k), max(i, k), CORE)
                yield Link(chance, min(j, k), max(j, k), CORE)


def _bridges(
    found: Candidates, pairs: _Pairs, config: JoinConfig, snr_of: SnrOf, merge: float, linked: Linked
) -> Iterator[Link]:
    """Yield the links of the rule ``bridge`` between islands that are not linked."""
    possible = (pairs.gap <= config.bridge_beams) & (pairs.aligned <= config.linked_chance)
    for row in np.flatnonzero(possible).tolist():
        ends = int(pairs.first[row]), int(pairs.second[row])
        if ends in linked:
            continue
        mean, least, error = _strip(found, pairs.ends[row], snr_of, merge)
        if mean >= config.bridge_sigma * error and least > 0:
            yield Link(float(pairs.aligned[row]), *ends, BRIDGE)


def _strip(found: Candidates, ends: Index, snr_of: SnrOf, merge: float) -> tuple[float, float, float]:
    """Return the mean snr of a strip between two pixels, its least mean over a beam, and the error."""
    start, end = found.points[ends]
    length = float(np.hypot(*(end - start)))
    line = (end - start) / length
    # Within half a beam of an island its own wings shine; of a short gap the middle half remains.
    trim = min(0.5, length / 4)
    along = np.linspace(trim, length - trim, max(2, round((length - 2 * trim) / STEP) + 1))
    across = np.arange(-0.5, 0.5 + STEP / 2, STEP)
    places = start + along[:, None, None] * line + across[:, None] * np.array([line[1], -line[0]])
    pixels = np.rint(places @ beam_axes(found.beam, found.pixel).T).astype(np.intp).reshape(-1, 2)
    y, x = np.clip(pixels, 0, np.array(found.shape) - 1).T
    snr = snr_of(y, x).reshape(len(along), len(across))
    profile = np.minimum(snr, merge).mean(axis=1)
    inner = float(along[-1] - along[0])
    pieces = np.array_split(profile, max(1, math.ceil(inner)))
    # NaN where the strip leaves the data: no comparison with NaN holds.
    least = float(np.min([piece.mean() for piece in pieces]))
    return float(profile.mean()), least, 1 / math.sqrt(1 + inner / NOISE_BEAMS)
