"""The direct comparison of two looks: one is laid over the other by a similarity, refined, and compared.

A similarity is a matrix (2, 3) that takes (y, x, 1) of the first look to (y, x) of the second.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from astro_dist.engine.arrays import Floats, Integers
from astro_dist.engine.arrays import Image as Pixels
from astro_dist.pictures.looks import COLOUR_SIDE, SIDE, Spots, blur, sample

STEPS, STRIDE_PIX, BLOCK_PIX = 5, 2, 8
COARSE_PIX = 4
TEXTURE = 2.0
"""Least standard deviation of a block's detail, in grey levels, for the block to count."""
LEAST_LIKE, CONTRADICTION, MOST_CONTRADICTING = 0.6, 0.3, 0.1
MOST_SCALE, SAME_SCALE, LEAST_PART = 1.3, 1.03, 0.55
LEAST_COVER, LEAST_COVER_OF_CROP = 0.8, 0.93
BLOCKS, COLOURS = (24.0, 48.0), (0.85, 0.5)
"""Least correlation of the colours by the number of blocks with detail: small objects on black look alike."""


def first_guess(first: Spots, second: Spots, scale: Pixels, angle: Pixels, flip: NDArray[np.bool_]) -> Floats:
    """Return the similarities (m, 2, 3) that a pair of discs gives, see `turn_discs`."""
    cos, sin = np.cos(angle, dtype=np.float64), np.sin(angle, dtype=np.float64)
    turned = np.empty((len(angle), 2, 3))
    turned[:, 0, 0], turned[:, 0, 1] = np.where(flip, -cos, cos), np.where(flip, sin, -sin)
    turned[:, 1, 0], turned[:, 1, 1] = sin, cos
    turned[:, :, :2] *= scale[:, None, None]
    here = np.stack([first.y, first.x], axis=-1)[..., None].astype(np.float64)
    there = np.stack([second.y, second.x], axis=-1)
    turned[:, :, 2] = there - (turned[:, :, :2] @ here)[..., 0]
    return turned


def may_fit(
    smooth: Pixels, first: Integers, second: Integers, similarity: Floats, least: float
) -> NDArray[np.bool_]:
    """Return which pairs are worth going on with: blurred looks overlap enough and correlate by ``least``."""
    axis = np.arange(COARSE_PIX // 2, SIDE, COARSE_PIX, dtype=np.float32)
    found, inside = lay_over(smooth, second, similarity, axis)
    wanted = smooth[first][:, COARSE_PIX // 2 :: COARSE_PIX, COARSE_PIX // 2 :: COARSE_PIX]
    target, level = _level(wanted, inside), _level(found, inside)
    norm = np.sqrt((target**2).sum((1, 2)) * (level**2).sum((1, 2))) + 1
    like = (target * level).sum((1, 2)) / norm > least
    return like & _fits(inside.mean((1, 2)), _scale(similarity), slack=0.1)


def _scale(similarity: Floats) -> Floats:
    """Return the pixels of the second look per pixel of the first."""
    return np.sqrt(np.abs(np.linalg.det(similarity[:, :, :2])))


def _fits(cover: Floats, scale: Floats, slack: float = 0.0) -> NDArray[np.bool_]:
    """Return whether an overlap, as a part of the first look, is that of a turn or of a crop to 80 %."""
    covers = np.stack([cover, cover * scale**2])
    # A crop lies wholly in its picture; only a picture of the same scale loses corners by a turn.
    least = np.where(np.abs(np.log(scale)) < np.log(SAME_SCALE), LEAST_COVER, LEAST_COVER_OF_CROP)
    fits = (np.abs(np.log(scale)) < np.log(MOST_SCALE) + slack) & (covers.min(axis=0) > LEAST_PART - slack)
    return np.asarray(fits & (covers.max(axis=0) > least - slack))


def refine(smooth: Pixels, first: Integers, second: Integers, similarity: Floats) -> Floats:
    """Return the similarities after some steps of Gauss-Newton on grey levels (Lucas and Kanade 1981).

    Every second pixel is used: the looks in ``smooth`` are blurred by more than that.
    """
    axis = np.arange(0, SIDE, STRIDE_PIX, dtype=np.float32)
    middle = (SIDE - 1) / 2
    v, u = np.meshgrid((axis - middle) / middle, (axis - middle) / middle, indexing="ij")
    wanted = smooth[first][:, ::STRIDE_PIX, ::STRIDE_PIX]
    for _ in range(STEPS):
        found, inside = lay_over(smooth, second, similarity, axis)
        target, level = _level(wanted, inside), _level(found, inside)
        gain = _ratio(level * target, level * level)
        error = (target - gain * level) * inside
        slope_y, slope_x = (gain * inside * part for part in np.gradient(found, STRIDE_PIX, axis=(1, 2)))
        # Shifts along y and x, a change of scale, a turn; the last two in pixels at the edge.
        parts = [slope_y, slope_x, slope_y * v + slope_x * u, slope_x * v - slope_y * u]
        moves = np.stack(parts, axis=-1).reshape(len(first), -1, 4).astype(np.float64)
        normal = moves.transpose(0, 2, 1) @ moves
        # A little damping, for looks without detail along some direction.
        damping = 1e-3 * np.trace(normal, axis1=1, axis2=2) / 4 + 1e-3
        right = moves.transpose(0, 2, 1) @ error.reshape(len(first), -1, 1).astype(np.float64)
        step = np.linalg.solve(normal + damping[:, None, None] * np.eye(4), right)[..., 0]
        similarity = _apply(similarity, np.clip(step, -2, 2), middle)
    return similarity


def _apply(similarity: Floats, step: Floats, middle: float) -> Floats:
    """Return the similarities after small shifts, changes of scale and turns of the first look."""
    dy, dx, scale, turn = step.T
    small = np.zeros((len(step), 3, 3))
    small[:, 0, 0] = small[:, 1, 1] = 1 + scale / middle
    small[:, 0, 1], small[:, 1, 0], small[:, 2, 2] = -turn / middle, turn / middle, 1
    small[:, 0, 2], small[:, 1, 2] = dy - scale + turn, dx - scale - turn
    return similarity @ small


def lay_over(
    images: Pixels, second: Integers, similarity: Floats, axis: Pixels
) -> tuple[Pixels, NDArray[np.bool_]]:
    """Return the second look of each pair at the pixels of the first, and where it has any."""
    y, x = np.meshgrid(axis, axis, indexing="ij")
    a = similarity.astype(np.float32)[..., None, None]
    return sample(
        images,
        second,
        a[:, 0, 0] * y + a[:, 0, 1] * x + a[:, 0, 2],
        a[:, 1, 0] * y + a[:, 1, 1] * x + a[:, 1, 2],
    )


def _level(values: Pixels, inside: NDArray[np.bool_]) -> Pixels:
    """Return values less their mean over the overlap, 0 outside."""
    counts = inside.sum((1, 2), keepdims=True) + 1e-3
    return (values - (values * inside).sum((1, 2), keepdims=True) / counts) * inside


def _ratio(above: Pixels, below: Pixels) -> Pixels:
    found = above.sum((1, 2), keepdims=True) / (below.sum((1, 2), keepdims=True) + 1e-3)
    return np.clip(found, 0.3, 3)


@dataclass(frozen=True)
class Likeness:
    """How alike the overlapping parts of pairs are; every field has the shape (m,).

    Attributes
    ----------
    cover
        Part of the first look that overlaps the second.
    scale
        Pixels of the second per pixel of the first.
    detail
        Correlation of detail in blocks of 8 pixels, weighted by how much detail they have.
    contradicting
        Fraction of the blocks with detail whose correlation is below 0.3.
    blocks
        Number of blocks with detail.
    colour
        Correlation of the colour differences.
    """

    cover: Floats
    scale: Floats
    detail: Floats
    contradicting: Floats
    blocks: Integers
    colour: Floats

    @property
    def is_copy(self) -> NDArray[np.bool_]:
        """Whether both looks are of one picture."""
        fits = _fits(self.cover, self.scale)
        like = (self.detail > LEAST_LIKE) & (self.contradicting < MOST_CONTRADICTING)
        needed = np.interp(self.blocks, BLOCKS, COLOURS)
        return fits & like & ((self.blocks > BLOCKS[1]) | (self.colour > needed))


def compare(grey: Pixels, colours: Pixels, first: Integers, second: Integers, similarity: Floats) -> Likeness:
    """Compare looks that similarities lay over each other.

    Parameters
    ----------
    grey, colours
        See `grey_of` and `colours_of`.
    first, second
        The looks of each pair, shape (m,).
    similarity
        Shape (m, 2, 3).
    """
    axis = np.arange(SIDE, dtype=np.float32)
    found, inside = lay_over(grey, second, similarity, axis)
    wanted = grey[first]
    target, level = _level(wanted, inside), _level(found, inside)
    gain = np.sqrt(_ratio(target**2, level**2))
    # Outside of the overlap the first look stands in, so that no edge is taken for detail.
    laid = np.where(inside, gain * level + (wanted - target), wanted)
    core = ndimage.minimum_filter(inside, size=(1, 3, 3))
    counts = _blocks(core.astype(np.float32))
    a, b = (_less_means(blur(image, 0.7) - blur(image, 4), core, counts) for image in (wanted, laid))
    own, other = _blocks(a * a), _blocks(b * b)
    like = _blocks(a * b) / (np.sqrt(own * other) + 0.5 * counts + 1e-3)
    strength = np.sqrt(np.maximum(own, other) / (counts + 1e-3)) * (counts > 0.4 * BLOCK_PIX**2)
    has_detail = strength > TEXTURE
    blocks = has_detail.sum((1, 2))
    against = (has_detail & (like < CONTRADICTION)).sum((1, 2)) / np.maximum(blocks, 1)
    detail = (strength * like).sum((1, 2)) / (strength.sum((1, 2)) + 1e-3)
    colour = _compare_colours(colours, first, second, similarity)
    return Likeness(inside.mean((1, 2)), _scale(similarity), detail, against, blocks, colour)


def _blocks(values: Pixels) -> Pixels:
    count = SIDE // BLOCK_PIX
    return values.reshape(-1, count, BLOCK_PIX, count, BLOCK_PIX).sum((2, 4))


def _less_means(values: Pixels, core: NDArray[np.bool_], counts: Pixels) -> Pixels:
    means = _blocks(values * core) / (counts + np.float32(1e-3))
    return (values - means.repeat(BLOCK_PIX, 1).repeat(BLOCK_PIX, 2)) * core


def _compare_colours(colours: Pixels, first: Integers, second: Integers, similarity: Floats) -> Floats:
    axis, shrink = np.arange(COLOUR_SIDE, dtype=np.float32), SIDE / COLOUR_SIDE
    # Centres of pixels of both grids: y of the large one is shrink * (y + 1/2) - 1/2 of the small one.
    small, half = similarity.copy(), (shrink - 1) / 2
    small[:, :, 2] = (similarity[:, :, 2] + half * (similarity[:, :, :2].sum(axis=-1) - 1)) / shrink
    sums = np.zeros((3, len(first)))
    for plane in range(2):
        found, inside = lay_over(np.ascontiguousarray(colours[:, plane]), second, small, axis)
        wanted = colours[first, plane] * inside
        found = found * inside
        sums += [(one * two).sum((1, 2)) for one, two in ((wanted, found), (wanted, wanted), (found, found))]
    # Grey pictures have no colours, and those are alike.
    return (sums[0] + 4) / (np.sqrt(sums[1] * sums[2]) + 4)
