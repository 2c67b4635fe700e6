"""Which object of the library stands for a source of a given flux and size, and how much it is resized."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Floats, Integers

MOST_RESIZED = 1.5
"""Largest factor by which an object is made larger or smaller: beyond it its beam and noise would show."""
LEAST_ARCSEC = 1e-30


@dataclass(frozen=True)
class Wanted:
    """Sources that need an object: flux in Jy and size in arcsec (NaN: any), shape (n,)."""

    flux_jy: Floats
    size_arcsec: Floats


@dataclass(frozen=True)
class Donors:
    """Objects that may stand for sources.

    Attributes
    ----------
    size_arcsec
        Intrinsic size of each as it was drawn, shape (m,), positive.
    most_jy
        Flux up to which the model of each may be placed: beyond it the noise of its model would show.
    """

    size_arcsec: Floats
    most_jy: Floats


@dataclass(frozen=True)
class Choice:
    """The objects of some sources, in their order.

    Attributes
    ----------
    donor
        Index into the donors, shape (n,); -1 where none is left, or none of a size that may be resized.
    factor
        The factor by which it is resized, within `MOST_RESIZED`.
    brightened
        Whether a source is brighter than any donor of its size bears.
    """

    donor: Integers
    factor: Floats
    brightened: NDArray[np.bool_]


def choose_donors(
    wanted: Wanted, donors: Donors, reuse: int, rng: np.random.Generator, *, clip: bool
) -> Choice:
    """Choose an object for every source, the brightest first, which need the objects of the least noise.

    Of the objects that may be resized to a source and bear its flux, that is taken which was used least, by
    chance among equals. Where none bears the flux, that is taken which bears most for its number of uses.

    Parameters
    ----------
    reuse
        Most sources that an object stands for.
    clip
        What happens to sources without an object of their size: with it they get the nearest one, resized as
        far as allowed, without it none.
    """
    n = len(wanted.flux_jy)
    donor, factor, brightened = np.full(n, -1), np.ones(n), np.zeros(n, bool)
    uses = np.zeros(len(donors.size_arcsec), np.int64)
    chance = rng.permutation(len(uses))
    own = np.log(donors.size_arcsec)
    for i in np.argsort(-wanted.flux_jy, kind="stable").tolist():
        # A size of 0 is as far from every object as a size can be.
        away = np.nan_to_num(np.log(np.maximum(wanted.size_arcsec[i], LEAST_ARCSEC)) - own)
        left = uses < reuse
        fits = left & (np.abs(away) <= math.log(MOST_RESIZED))
        if not fits.any():
            if not (clip and left.any()):
                continue
            nearest = np.where(left, np.abs(away), np.inf)
            fits = nearest == nearest.min()
        bears = fits & (donors.most_jy >= wanted.flux_jy[i])
        brightened[i] = not bears.any()
        # Sorted by the last key first: uses, or what each bears, then chance.
        order = -donors.most_jy / (1 + uses) if brightened[i] else uses
        pool = np.flatnonzero(fits if brightened[i] else bears)
        donor[i] = best = pool[np.lexsort((chance[pool], order[pool]))[0]]
        factor[i] = np.clip(np.exp(away[best]), 1 / MOST_RESIZED, MOST_RESIZED)
        uses[best] += 1
    return Choice(donor, factor, brightened)
