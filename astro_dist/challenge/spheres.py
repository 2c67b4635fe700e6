"""Pairs of positions on the sphere: which lie within a distance of each other, and how far apart."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from astro_dist.engine.arrays import Floats, Integers

ARCSEC = np.pi / 180 / 3600
# Pairs are first looked for a little further out, since the tree rounds otherwise than `separation_arcsec`.
MARGIN = 1e-9


def separation_arcsec(ra: Floats, dec: Floats, other_ra: Floats, other_dec: Floats) -> Floats:
    """Return angles between positions in degrees, by Vincenty's formula, which is exact at any distance."""
    ra, dec, other_ra, other_dec = (np.deg2rad(angle) for angle in (ra, dec, other_ra, other_dec))
    sine, cosine = np.sin(ra - other_ra), np.cos(ra - other_ra)
    one, other = np.sin(dec), np.sin(other_dec)
    low, high = np.cos(dec), np.cos(other_dec)
    across = np.hypot(low * sine, high * one - other * low * cosine)
    return np.asarray(np.arctan2(across, other * one + high * low * cosine) / ARCSEC)


def directions(ra: Floats, dec: Floats) -> Floats:
    """Return unit vectors, shape (n, 3), of positions in degrees."""
    ra, dec = np.deg2rad(ra), np.deg2rad(dec)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)


def pairs_on_sphere(
    sky: tuple[Floats, Floats], others: tuple[Floats, Floats], radius_arcsec: Floats
) -> tuple[Integers, Integers]:
    """Return the pairs (row, row of the others) at most a radius, one for each row, apart.

    Pairs are in the order of the rows, then of the others. Positions are ``(ra, dec)`` in degrees.
    """
    # The chord of an angle: the tree measures straight through the sphere.
    chord = 2 * np.sin(np.minimum(radius_arcsec * ARCSEC, np.pi) / 2)
    row, other = pairs_within(directions(*sky), directions(*others), chord)
    apart = separation_arcsec(sky[0][row], sky[1][row], others[0][other], others[1][other])
    near = apart <= radius_arcsec[row]
    return row[near], other[near]


def pairs_within(points: Floats, others: Floats, radius: Floats) -> tuple[Integers, Integers]:
    """Return pairs of points (n, d) and others (m, d) that may lie within a radius for each point."""
    if not len(points) or not len(others):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    found: NDArray[np.object_] = cKDTree(others).query_ball_point(
        points, radius * (1 + MARGIN) + 1e-15, return_sorted=True
    )
    counts = np.array([len(some) for some in found], np.int64)
    return np.repeat(np.arange(len(points)), counts), np.array([i for some in found for i in some], np.int64)
