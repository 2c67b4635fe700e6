"""The class of an island: the first rule of a fixed list that holds decides, and its name is kept.

A point source of peak P (in units of the noise) seen above a threshold t covers the area
``A = Omega ln(P / t)``, where Omega is the beam's area: a Gaussian of area Omega has fallen to t/P on the
edge of A. Bright point sources are therefore large, and an area means nothing without its peak. Artefacts of
imaging are about as often negative as positive, while no source is negative. Artefacts gather round bright
sources, along rays and rings, and are much fainter than those sources. The rules in their order:

======== ======== ====================================================================================
rule     class    holds when
======== ======== ====================================================================================
narrow   spurious the island covers less than ``narrow`` A: nothing real is narrower than the beam.
negative spurious a negative pixel within ``near_beams`` of the island is at least ``depth`` as strong
                  as the island's peak: errors of the image are as large as the island there.
mirror   spurious a negative island of comparable strength (a factor 2) lies within a beam width of the
                  point opposite to it about a source ``mirror_ratio`` times brighter within
                  ``reach_beams``: phase errors make antisymmetric pairs.
ray      spurious a source ``ratio`` times brighter lies within ``reach_beams`` and the island, at least
                  ``long`` times longer than wide, points at it: a sidelobe of an antenna spoke.
ring     spurious the same, stretched along the circle about that source: a ring of the dirty beam.
area     extended the area is above ``extended_area`` A + ``extended_margin`` Omega.
peaks    extended two peaks or more, a beam width apart, and an area above 2 Omega.
beam     compact  none of these: one peak of about the beam's shape.
======== ======== ====================================================================================

Islands are trimmed before the rules are applied, because the sidelobes of a bright source are connected to
it. Where an island is ``trim_ratio`` times brighter than the negative pixels beside it, its pixels that are
fainter than those negative ones become islands of their own.

Distances are in beam widths in a plane where the beam is round, so that the elliptical rings of an
elliptical beam are circles.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from astro_dist.engine.arrays import Image
from astro_dist.sky.beams import Beam
from astro_dist.sky.beams import Pixel as PixelSize
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.config import RulesConfig as RulesConfig
from astro_dist.sky.islands import Flags, Islands, Points, count_peaks, in_beams, trim_islands

RULES = {
    "narrow": SourceClass.SPURIOUS,
    "negative": SourceClass.SPURIOUS,
    "mirror": SourceClass.SPURIOUS,
    "ray": SourceClass.SPURIOUS,
    "ring": SourceClass.SPURIOUS,
    "area": SourceClass.EXTENDED,
    "peaks": SourceClass.EXTENDED,
    "beam": SourceClass.COMPACT,
}
# Rms length and breadth of a ray or a ring, beam widths: shorter islands look like a noisy point source, and
# broader ones are diffuse emission.
LEAST_LENGTH, MOST_BREADTH = 0.7, 0.6
# Bounds the memory of the list of neighbours in a map with much negative structure.
PIXELS_AT_ONCE = 10_000


@dataclass(frozen=True, eq=False)
class Scene:
    """The islands of one map and everything that the rules compare them with.

    Attributes
    ----------
    islands, negatives
        The positive islands, and the islands of the negated map.
    beam, pixel
        Beam and size of a pixel of the map.
    seed, merge
        The thresholds the islands were found with, snr.
    area_pix
        The beam's solid angle in the pixels at some positions, see `SkyMap.beam_area_pix`.
    """

    islands: Islands
    negatives: Islands
    beam: Beam
    pixel: PixelSize
    seed: float
    merge: float
    area_pix: Callable[[NDArray[Any], NDArray[Any]], Points]

    @cached_property
    def points(self) -> Points:
        """Positions of all pixels of the islands, see `in_beams`."""
        return in_beams(self.islands.pixels.y, self.islands.pixels.x, self.beam, self.pixel)

    @cached_property
    def beam_area_pix(self) -> Image:
        """The beam's solid angle in the pixels of each island."""
        top = self.islands.pixels[self.islands.brightest]
        return self.area_pix(top.y, top.x).astype(np.float32)

    @cached_property
    def n_peaks(self) -> NDArray[np.int32]:
        """Separate peaks of each island."""
        return count_peaks(self.islands, self.seed, self.points)

    def pixel_depth(self, near_beams: float) -> Image:
        """Return the strongest negative snr near each pixel, as a positive number; 0 where there is none."""
        # The rims of negative islands, between merge and seed, are within reach of plain noise.
        pixels = self.negatives.pixels[self.negatives.pixels.snr >= self.seed]
        depth = np.zeros(len(self.islands.pixels), np.float32)
        if not len(pixels) or not len(depth):
            return depth
        points, tree = in_beams(pixels.y, pixels.x, self.beam, self.pixel), cKDTree(self.points)
        for start in range(0, len(pixels), PIXELS_AT_ONCE):
            part = slice(start, start + PIXELS_AT_ONCE)
            near = cKDTree(points[part]).sparse_distance_matrix(tree, near_beams, output_type="ndarray")
            # `at`, since several negative pixels may be near one: indexing would keep the last of them.
            np.maximum.at(depth, near["j"], pixels.snr[part][near["i"]])
        return depth


def trim(scene: Scene, rules: RulesConfig, least_pix: float) -> Scene:
    """Return the scene with the sidelobes that hang on bright islands cut off as islands of their own."""
    islands, depth = scene.islands, scene.pixel_depth(rules.near_beams)
    bright = islands.peak_snr >= rules.trim_ratio * _island_depth(islands, depth)
    # A pixel fainter than a negative one nearby is as likely an error of the image as the negative one.
    doubted = bright[islands.owner] & (islands.pixels.snr < depth)
    trimmed = trim_islands(islands, doubted, scene.points, scene.seed, least_pix)
    # A new scene, since the cached points and peaks of the old one belong to the untrimmed islands.
    return replace(scene, islands=trimmed)


def classify(scene: Scene, rules: RulesConfig) -> NDArray[np.str_]:
    """Return the name of the rule that decides each island; `RULES` gives its class."""
    islands = scene.islands
    # Positive: a peak reaches the seed, and `AnnotateConfig` keeps the seed above merge.
    point_pix = scene.beam_area_pix * np.log(islands.peak_snr / scene.merge)
    depth = _island_depth(islands, scene.pixel_depth(rules.near_beams))
    mirror, ray, ring = sidelobes(scene, rules)
    # Rule `area`: the margin keeps faint islands, of few pixels, from being extended by chance.
    large = islands.sizes > rules.extended_area * point_pix + rules.extended_margin * scene.beam_area_pix
    # In the order of `RULES`: `np.select` takes the first that holds.
    holds = {
        "narrow": islands.sizes < rules.narrow * point_pix,
        "negative": depth >= rules.depth * islands.peak_snr,
        "mirror": mirror,
        "ray": ray,
        "ring": ring,
        "area": large,
        "peaks": (scene.n_peaks > 1) & (islands.sizes > 2 * scene.beam_area_pix),
    }
    return np.select(list(holds.values()), list(holds), "beam")


def sidelobes(scene: Scene, rules: RulesConfig) -> tuple[Flags, Flags, Flags]:
    """Return which islands are the mirror of a negative one, a ray or a ring about a brighter source."""
    snr, peaks = scene.islands.peak_snr, scene.points[scene.islands.brightest]
    # Pairs of the lower ratio serve all three rules; each rule then keeps its own.
    bright, faint = _bright_neighbours(snr, peaks, min(rules.ratio, rules.mirror_ratio), rules.reach_beams)
    flags = [np.zeros(len(snr), np.bool_) for _ in range(3)]
    far = snr[bright] >= rules.mirror_ratio * snr[faint]
    flags[0][faint[far][_has_mirror(scene, peaks, bright[far], faint[far])]] = True
    far = snr[bright] >= rules.ratio * snr[faint]
    along, across = _polar_lengths(scene, peaks[bright[far]], faint[far])
    # A ray is long along the direction to its source, a ring across it.
    for flag, length, breadth in ((flags[1], along, across), (flags[2], across, along)):
        thin = (breadth <= MOST_BREADTH) & (length >= rules.long * breadth)
        flag[faint[far][thin & (length >= LEAST_LENGTH)]] = True
    return flags[0], flags[1], flags[2]


Index = NDArray[np.intp]


def _island_depth(islands: Islands, pixel_depth: Image) -> Image:
    return np.maximum.reduceat(pixel_depth, islands.starts) if len(islands) else pixel_depth


def _bright_neighbours(snr: Image, peaks: Points, ratio: float, reach_beams: float) -> tuple[Index, Index]:
    """Return the pairs (bright, faint) of islands that differ by ``ratio`` and are within reach."""
    # Fainter islands are no source to even the faintest one; without them the tree is small.
    sources = np.flatnonzero(snr >= ratio * snr.min(initial=np.inf))
    if not len(sources):
        return sources, sources
    near = cKDTree(peaks[sources]).sparse_distance_matrix(cKDTree(peaks), reach_beams, output_type="ndarray")
    bright, faint = sources[near["i"]], near["j"].astype(np.intp)
    far = snr[bright] >= ratio * snr[faint]
    return bright[far], faint[far]


def _has_mirror(scene: Scene, peaks: Points, bright: Index, faint: Index) -> Flags:
    """Return, for each pair, whether a negative island of like strength is opposite to the faint one."""
    negatives = scene.negatives
    if not len(negatives) or not len(bright):
        return np.zeros(len(bright), np.bool_)
    top = negatives.pixels[negatives.brightest]
    opposite = 2 * peaks[bright] - peaks[faint]
    distance, nearest = cKDTree(in_beams(top.y, top.x, scene.beam, scene.pixel)).query(opposite)
    strength = top.snr[nearest] / scene.islands.peak_snr[faint]
    return np.asarray((distance <= 1) & (strength >= 0.5) & (strength <= 2))


def _polar_lengths(scene: Scene, centres: Points, faint: Index) -> tuple[Points, Points]:
    """Return the rms lengths of islands along and across the direction to their centres, beam widths."""
    sizes = scene.islands.sizes[faint]
    pair = np.repeat(np.arange(len(faint)), sizes)
    # The pixels of an island are repeated for each of its bright neighbours; `within` counts them from 0.
    within = np.arange(len(pair)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    member = scene.islands.starts[faint][pair] + within
    # Positions as complex numbers: multiplying by the conjugate of `towards` turns angles to be near 0, where
    # they do not wrap.
    offset = (scene.points[member] - centres[pair]) @ np.array([1, 1j])
    towards = (scene.points[scene.islands.brightest[faint]] - centres) @ np.array([1, 1j])
    radius, turn = np.abs(offset), np.angle(offset * np.conj(towards)[pair])

    def mean(values: Points) -> Points:
        return np.bincount(pair, values, len(faint)) / sizes

    # Standard deviations of the distance, and of the angle times the mean distance; rounding may make a
    # variance negative.
    along = np.sqrt(np.maximum(mean(radius**2) - mean(radius) ** 2, 0))
    across = mean(radius) * np.sqrt(np.maximum(mean(turn**2) - mean(turn) ** 2, 0))
    return along, across
