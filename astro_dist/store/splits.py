"""Splits that share no sky: windows whose footprints touch, in whatever maps, are never in two splits.

Every window belongs to the block of its map that holds its centre, and whole blocks are dealt to the splits.
Windows of two splits may still touch, across the border of their blocks or because maps overlap. Of such a
pair the window of the lower split (train < validation < test) leaves all splits and becomes a guard.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from astro_dist.engine.arrays import Floats
from astro_dist.store.schema import SPLIT_NAMES

TRAIN, VALIDATION, TEST, GUARD = range(len(SPLIT_NAMES))
MIN_BLOCKS = 8
# Windows closer than this part of the sum of their radii count as touching, because the edge of a window is
# treated as a great circle, which is not quite true.
TOLERANCE = 0.01
# Bounds the memory of the lists of neighbours.
WINDOWS_AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class Footprints:
    """The outlines of n windows on the sky.

    Attributes
    ----------
    corners
        Unit vectors, shape (n, 4, 3), in the order of the outline; NaN for a corner off the sky.
    centres
        Unit vectors, shape (n, 3).
    radii
        Largest distance of a corner from the centre, as a chord of the unit sphere, shape (n,).
    """

    corners: Floats
    centres: Floats
    radii: Floats

    @classmethod
    def of_corners(cls, ra_deg: Floats, dec_deg: Floats) -> "Footprints":
        """Return the outlines of windows whose corners are at positions of shape (n, 4)."""
        ra, dec = np.radians(ra_deg), np.radians(dec_deg)
        corners = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)
        middle = corners.mean(axis=1)
        centres = middle / np.linalg.norm(middle, axis=-1, keepdims=True)
        # `max` keeps the NaN of a corner off the sky, by which `assign_splits` finds such windows.
        radii = np.linalg.norm(corners - centres[:, None], axis=-1).max(axis=1)
        return cls(corners, centres, radii)

    def __getitem__(self, index: NDArray[np.int64]) -> "Footprints":
        return Footprints(self.corners[index], self.centres[index], self.radii[index])


def assign_splits(
    map_index: NDArray[np.integer],
    centres_pix: NDArray[np.integer],
    footprints: Footprints,
    fractions: Sequence[float],
    block_pix: int,
    least_block_pix: int,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Return the split (an index into ``SPLIT_NAMES``) of every window.

    Parameters
    ----------
    map_index, centres_pix
        The map of each window, shape (n,), and its centre (y, x) there, shape (n, 2).
    footprints
        The outlines on the sky; a window that reaches off the sky becomes a guard.
    fractions
        Shares of train, validation and test.
    block_pix, least_block_pix
        Side of a block. It is halved, not below ``least_block_pix``, while fewer than 8 blocks hold
        windows. With at least three blocks every split of a positive fraction gets one; two blocks
        are train and validation, and a single one is all train. Where no window of train is left, the
        windows of the other splits become train.
    rng
        Source of the order in which blocks are dealt.
    """
    owners = _find_blocks(map_index, centres_pix, block_pix)
    while owners.max() + 1 < MIN_BLOCKS and block_pix // 2 >= least_block_pix:
        block_pix //= 2
        owners = _find_blocks(map_index, centres_pix, block_pix)
    split = deal(np.bincount(owners), fractions, rng)[owners]
    split[~np.isfinite(footprints.radii)] = GUARD
    _guard(split, footprints)
    if not np.any(split == TRAIN):
        split[split != GUARD] = TRAIN
    return split


def follow_splits(these: Footprints, those: Footprints, splits: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the splits of further windows, such as backgrounds, beside windows whose splits are known.

    A further window belongs to the split of the windows that it touches, to train where it touches none, and
    becomes a guard where it touches several splits or a further window of a higher one.
    """
    found = np.full(len(these.radii), GUARD, np.uint8)
    # A window that reaches off the sky stays a guard.
    known = np.flatnonzero(np.isfinite(these.radii))
    dealt = [those[np.flatnonzero(splits == one)] for one in (TRAIN, VALIDATION, TEST)]
    touched = np.stack([touches_any(these[known], one) for one in dealt])
    # Where none is touched `argmax` gives 0, which is train.
    found[known] = np.where(touched.sum(axis=0) > 1, GUARD, touched.argmax(axis=0))
    _guard(found, these)
    return found


def _guard(split: NDArray[np.uint8], footprints: Footprints) -> None:
    """Make guards of the windows that touch one of a higher split."""
    # Validation gives way to test first: a window that has left its split displaces none of train.
    for low, high in ((VALIDATION, TEST), (TRAIN, TEST), (TRAIN, VALIDATION)):
        lower, higher = np.flatnonzero(split == low), np.flatnonzero(split == high)
        split[lower[touches_any(footprints[lower], footprints[higher])]] = GUARD


def touches_any(these: Footprints, those: Footprints) -> NDArray[np.bool_]:
    """Return, for each of ``these`` outlines, whether it touches any of ``those``."""
    found = np.zeros(len(these.radii), np.bool_)
    if not len(those.radii):
        return found
    tree = cKDTree(those.centres)
    for start in range(0, len(found), WINDOWS_AT_ONCE):
        some = these[np.arange(start, min(start + WINDOWS_AT_ONCE, len(found)))]
        # Circles round the outlines find the candidates; `touch` then decides exactly.
        reach = (1 + TOLERANCE) * (some.radii + those.radii.max())
        near = tree.query_ball_point(some.centres, reach, return_sorted=True)
        a = np.repeat(np.arange(len(near)), [len(hits) for hits in near])
        b = np.concatenate([np.asarray(hits, np.int64) for hits in near])
        found[start + a[touch(some[a], those[b])]] = True
    return found


def touch(these: Footprints, those: Footprints) -> NDArray[np.bool_]:
    """Return, for each pair of convex outlines, whether they touch, by separating axes on the tangent plane.

    The gnomonic projection about the middle of a pair makes great circles straight lines.
    """
    # The middle of the pair keeps both outlines near the point of tangency, far from the horizon.
    middle = these.centres + those.centres
    middle /= np.linalg.norm(middle, axis=-1, keepdims=True)
    # The axis of the sphere least parallel to each middle gives a stable basis of its tangent plane.
    helper = np.eye(3)[np.abs(middle).argmin(axis=-1)]
    east = np.cross(helper, middle)
    east /= np.linalg.norm(east, axis=-1, keepdims=True)
    basis = np.stack([middle, east, np.cross(middle, east)], axis=-1)
    first, second = (_project(outlines.corners, basis) for outlines in (these, those))
    tolerance = TOLERANCE * (these.radii + those.radii)
    return ~(_is_parted(first, second, tolerance) | _is_parted(second, first, tolerance))


def _project(corners: Floats, basis: Floats) -> Floats:
    turned = corners @ basis
    return turned[..., 1:] / turned[..., :1]


def _is_parted(quads: Floats, others: Floats, tolerance: Floats) -> NDArray[np.bool_]:
    """Return whether an edge of each quad has the other quad wholly on its far side."""
    edges = np.roll(quads, -1, axis=1) - quads
    normals = np.stack([edges[..., 1], -edges[..., 0]], axis=-1)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    own, far = (points @ normals.swapaxes(1, 2) for points in (quads, others))
    gaps = np.maximum(far.min(axis=1) - own.max(axis=1), own.min(axis=1) - far.max(axis=1))
    return np.asarray(gaps.max(axis=-1) > tolerance)


def _find_blocks(
    map_index: NDArray[np.integer], centres_pix: NDArray[np.integer], block_pix: int
) -> NDArray[np.int64]:
    """Return the number of each window's block; the blocks that hold windows are counted from 0."""
    keys = np.column_stack([map_index, centres_pix // block_pix])
    return np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)


def deal(sizes: NDArray[np.int64], fractions: Sequence[float], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the split of each block: a block goes to the split that still misses most of its members."""
    wanted = np.asarray(fractions) * sizes.sum()
    have, split = np.zeros(len(fractions)), np.zeros(len(sizes), np.uint8)
    for block in rng.permutation(len(sizes)):
        split[block] = np.argmax(wanted - have)
        have[split[block]] += sizes[block]
    # A split without any block takes the smallest block of the split that has most.
    for empty in np.flatnonzero((wanted > 0) & (have == 0)):
        counts = np.bincount(split, minlength=len(fractions))
        # No split gives up its only block: with fewer blocks than splits one stays without.
        if counts.max() > 1:
            blocks = np.flatnonzero(split == counts.argmax())
            split[blocks[sizes[blocks].argmin()]] = empty
    return split
