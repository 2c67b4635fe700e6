"""Overlap of an image's islands with its mask, by intersection over union.

Overlaps are counts of pixels, which add up exactly and in any order. The figure of many images is that of all
their pixels together.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.classes import CLASS_NAMES
from astro_dist.sky.noise import beam_noise
from astro_dist.sky.windows import Window

ALL = "all"
_EIGHT_NEIGHBOURS = np.ones((3, 3), np.int8)


@dataclass(frozen=True)
class Overlap:
    """The numbers of pixels in both of two sets, and in at least one of them."""

    intersection: int = 0
    union: int = 0

    def __add__(self, other: "Overlap") -> "Overlap":
        return Overlap(self.intersection + other.intersection, self.union + other.union)

    @property
    def iou(self) -> float:
        """Intersection over union; NaN where both sets are empty."""
        return self.intersection / self.union if self.union else float("nan")


def label_islands(snr: NDArray[np.float32], seed: float = 5.0, merge: float = 3.0) -> NDArray[np.int32]:
    """Return the island number of each pixel, from 1; 0 elsewhere.

    An island is a set of connected pixels above ``merge``, at least one of them above ``seed``.

    Parameters
    ----------
    snr
        (s, s) brightness above the background in units of the noise; NaN pixels belong to no island.
    seed, merge
        Thresholds. Pixels that touch by a side or a corner are connected.
    """
    labels, n = ndimage.label(snr > merge, structure=_EIGHT_NEIGHBOURS)
    kept = np.zeros(n + 1, np.int32)
    # A pixel above `seed` is above `merge` too, so label 0 is no seed. Islands without one map to 0, and
    # the others get numbers without gaps.
    seeds = np.unique(labels[snr > seed])
    kept[seeds] = np.arange(1, len(seeds) + 1)
    islands: NDArray[np.int32] = kept[labels]
    return islands


def overlap_masks(
    snr: NDArray[np.float32], mask: NDArray[np.uint8], seed: float = 5.0, merge: float = 3.0
) -> dict[str, Overlap]:
    """Compare the islands of an image with a mask.

    Parameters
    ----------
    snr
        As for `label_islands`.
    mask
        (s, s) class per pixel.
    seed, merge
        Thresholds of the islands.

    Returns
    -------
    dict
        ``all``: the overlap of all islands with all object pixels. Per class name: the overlap of the pixels
        of the class with the islands of the class. The class of an island is that of most of its object
        pixels, so an island without object pixels counts in ``all`` only.
    """
    islands = label_islands(snr, seed, merge)
    # Pixels of each class (columns) under each island (rows; row 0 is the sky).
    under = np.zeros((int(islands.max()) + 1, len(CLASS_NAMES)), np.int64)
    # Not `under[islands, mask] += 1`, which adds 1 only once for a pair that occurs often.
    np.add.at(under, (islands.ravel(), mask.ravel()), 1)
    # Column 0 is sky, which gives an island no class.
    found_class = np.where(under[:, 1:].any(axis=1), 1 + under[:, 1:].argmax(axis=1), 0)
    found_class[0] = 0
    shown = found_class[islands]
    result = {ALL: _overlap(islands > 0, mask > 0)}
    for value, name in enumerate(CLASS_NAMES[1:], start=1):
        result[name] = _overlap(shown == value, mask == value)
    return result


def overlap_many(
    snr: NDArray[np.float32], mask: NDArray[np.uint8], seed: float = 5.0, merge: float = 3.0
) -> dict[str, Overlap]:
    """Return the sum of `overlap_masks` over stacks of images (n, s, s)."""
    total = dict.fromkeys((ALL, *CLASS_NAMES[1:]), Overlap())
    for one_snr, one_mask in zip(snr, mask, strict=True):
        parts = overlap_masks(one_snr, one_mask, seed, merge)
        total = {name: total[name] + parts[name] for name in total}
    return total


def add_noise(
    snr: NDArray[np.float32],
    taper: NDArray[np.float32],
    beam: Beam,
    pixel: Pixel,
    seed: int,
    key: tuple[int | str, ...],
) -> NDArray[np.float32]:
    """Return an image of sources on an empty sky with beam noise of one sigma added.

    Parameters
    ----------
    snr
        (s, s) float32, brightness in units of the noise.
    taper
        (s, s) float32, amplitude of the noise that the image already holds. Sources cut out of a noisy map
        hold such noise, and so do the images of a network trained on them. The added noise fills up to one
        sigma. Where the weight is 0 the full noise is added.
    beam, pixel, seed, key
        As for `astro_dist.sky.noise.beam_noise`.
    """
    noise = beam_noise(Window.of_shape(snr.shape), beam, pixel, seed, key)
    # Variances of independent noise add: taper^2 + (1 - taper^2) = 1.
    return np.asarray(snr + np.sqrt(1 - taper**2) * noise, np.float32)


def _overlap(found: NDArray[np.bool_], true: NDArray[np.bool_]) -> Overlap:
    return Overlap(int(np.count_nonzero(found & true)), int(np.count_nonzero(found | true)))


def count_classes(found: NDArray[np.integer], mask: NDArray[np.integer]) -> NDArray[np.int64]:
    """Count the pixels of each class that two stacks of masks share, and those that either has.

    Parameters
    ----------
    found, mask
        (N, S, S) class per pixel.

    Returns
    -------
    int64
        (N, 3, 2): intersection and union of spurious, compact and extended in each image.
    """
    counts = np.zeros((len(mask), len(CLASS_NAMES) - 1, 2), np.int64)
    for value in range(1, len(CLASS_NAMES)):
        a, b = found == value, mask == value
        counts[:, value - 1] = np.stack([(a & b).sum((1, 2)), (a | b).sum((1, 2))], axis=-1)
    return counts


def image_scores(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean IoU (N,) over the classes of each image: eq. 11 to 14 of Sortino et al. 2024 (RADiff).

    A class counts if the mask of the image has it or the found mask has it. The background never counts,
    because it is right nearly everywhere. An image without any class is NaN. The mean over images (their
    eq. 10) is left to the caller.

    Parameters
    ----------
    counts
        (N, 3, 2) from `count_classes`.
    """
    there = counts[..., 1] > 0
    # The union of an absent class is 0; its quotient is left out below.
    iou = counts[..., 0] / np.maximum(counts[..., 1], 1)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(there, iou, 0).sum(1) / there.sum(1))
