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

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from astro_dist.engine.arrays import Image
from astro_dist.sky.config import JoinConfig
from astro_dist.sky.islands import Points, beam_axes
from astro_dist.sky.pairs import COMPACT_FACTOR, Candidates, Index, Pairs, compare_pairs

ALONE, NEAR, LOBES, CORE, BRIDGE = "", "near", "lobes", "core", "bridge"
GIVEN, TRUTH = "given", "truth"
"""Not rules but facts: the user's word, and the truth of a simulation, see `astro_dist.sky.given`."""
Linked = Container[tuple[int, int]]
Sky = Callable[[Index, Index, Index], Image]
"""Returns brightness over the noise in pixels (y, x) of the map, NaN where there are no data; the third array
splits them, as `numpy.split` does, into parts that lie close together."""

EXTENDED_FACTOR, CORE_FACTOR = 0.5, 10.0
"""How many times chance counts: of two extended islands side by side, and of three, for triples are many."""
LOBE_LENGTHS = 3.0
"""Longest gap between lobes, lengths of the longer: mu counted from few islands, in a small map, is rough."""
CORE_PART, CORE_BEAMS, CORE_OFFSET = 0.15, 1.0, 0.1
"""A core is this part of the separation or more from either lobe, and off the line by at most one beam width
or a tenth of the separation."""
STEP = 0.25
"""Distance between the samples of a bridge, beam widths."""
NOISE_BEAMS = 1.5
"""Length over which noise seen through the beam is correlated, about sqrt(2) beam widths."""


@dataclass(frozen=True)
class Link:
    """Two islands, by index, that belong together, with the rule that says so and its chance."""

    chance: float
    first: int
    second: int
    rule: str


def find_links(found: Candidates, config: JoinConfig, sky: Sky, merge: float) -> list[Link]:
    """Return the links of a map, the least chance first; islands that they connect are one source.

    Parameters
    ----------
    sky
        Reads the map, for the bridges.
    merge
        The snr above which pixels belong to islands.
    """
    if len(found.index) < 2:
        return []
    pairs = compare_pairs(found, config)
    links = [*_lobes(found, pairs, config), *_cores(found, pairs, config)]
    # Only pairs that no other rule joins are worth reading the map for.
    linked = {(link.first, link.second) for link in links}
    links += _bridges(found, pairs, config, sky, merge, linked)
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


def _lobes(found: Candidates, pairs: Pairs, config: JoinConfig) -> Iterator[Link]:
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


def _cores(found: Candidates, pairs: Pairs, config: JoinConfig) -> Iterator[Link]:
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
    found: Candidates, pairs: Pairs, config: JoinConfig, sky: Sky, merge: float, linked: Linked
) -> Iterator[Link]:
    """Yield the links of the rule ``bridge`` between islands that are not linked."""
    possible = (pairs.gap <= config.bridge_beams) & (pairs.aligned <= config.linked_chance)
    ends = [(int(pairs.first[row]), int(pairs.second[row])) for row in np.flatnonzero(possible)]
    free = [ends_of not in linked for ends_of in ends]
    rows = np.flatnonzero(possible)[free]
    profiles = _profiles(found, pairs.ends[rows], sky, merge)
    for row, (profile, inner) in zip(rows.tolist(), profiles, strict=True):
        pieces = np.array_split(profile, max(1, math.ceil(inner)))
        error = 1 / math.sqrt(1 + inner / NOISE_BEAMS)
        # NaN where the strip leaves the data: no comparison with NaN holds.
        least = float(np.min([piece.mean() for piece in pieces]))
        if float(profile.mean()) >= config.bridge_sigma * error and least > 0:
            yield Link(float(pairs.aligned[row]), int(pairs.first[row]), int(pairs.second[row]), BRIDGE)


def _profiles(found: Candidates, ends: Index, sky: Sky, merge: float) -> Iterator[tuple[Image, float]]:
    """Yield the snr along the strips between pairs of pixels, and the length of each, beam widths."""
    axes = beam_axes(found.beam, found.pixel).T
    across = np.arange(-0.5, 0.5 + STEP / 2, STEP)
    strips, inner = [], []
    for start, end in found.points[ends]:
        length = float(np.hypot(*(end - start)))
        line = (end - start) / length
        # Within half a beam of an island its own wings shine; of a short gap the middle half remains.
        trim = min(0.5, length / 4)
        along = np.linspace(trim, length - trim, max(2, round((length - 2 * trim) / STEP) + 1))
        places = start + along[:, None, None] * line + across[:, None] * np.array([line[1], -line[0]])
        strips.append(places.reshape(-1, 2) @ axes)
        inner.append(float(along[-1] - along[0]))
    if not strips:
        return
    pixels = np.rint(np.concatenate(strips)).astype(np.intp)
    y, x = np.clip(pixels, 0, np.array(found.shape) - 1).T
    parts = np.cumsum([len(strip) for strip in strips])[:-1]
    snr = sky(y, x, parts).reshape(-1, len(across))
    profile = np.minimum(snr, merge).mean(axis=1)
    yield from zip(np.split(profile, parts // len(across)), inner, strict=True)
