"""Splits of pictures: seeded, equal shares of every class, and no group of near-duplicates in two splits."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Integers
from astro_dist.store.splits import GUARD, TEST, TRAIN, VALIDATION, deal


def split_pictures(
    labels: Integers, groups: Integers, given: Integers, fractions: Sequence[float], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Return the split of every picture, an index into ``SPLIT_NAMES``.

    Parameters
    ----------
    labels, groups
        Class and group of each picture, shape (N,); a group counts to the class of its first picture.
    given
        Split that the user has put each picture into, shape (N,); -1 where there is none. Splits of which
        the user has none are dealt out of train and of the pictures without a split. Guards stay guards.
    fractions
        Shares of train, validation and test.
    rng
        Source of the order in which groups are dealt.

    Returns
    -------
    ndarray
        Shape (N,). Where the user has put a group into several splits, its pictures outside the highest
        (train < validation < test) are guards, which no training and no figure uses.
    """
    split = np.where(given < 0, TRAIN, given).astype(np.uint8)
    shares = np.array(fractions) * [True, VALIDATION not in given, TEST not in given]
    members = np.flatnonzero((given < 0) | (given == TRAIN))
    # Groups by the class of their first picture; `unique` returns first places.
    _, first, own = np.unique(groups[members], return_index=True, return_inverse=True)
    sizes, kinds = np.bincount(own), labels[members[first]]
    dealt = np.full(len(sizes), TRAIN, np.uint8)
    for kind in np.unique(kinds):
        here = np.flatnonzero(kinds == kind)
        dealt[here] = deal(sizes[here], shares / shares.sum(), rng)
    split[members] = dealt[own]
    _guard(split, groups)
    return split


def _guard(split: NDArray[np.uint8], groups: Integers) -> None:
    """Make guards of the pictures whose group reaches into a higher split."""
    highest = np.zeros(int(groups.max(initial=-1)) + 1, np.uint8)
    # Pictures that are kept apart displace none.
    dealt = split != GUARD
    np.maximum.at(highest, groups[dealt], split[dealt])
    split[split < highest[groups]] = GUARD
