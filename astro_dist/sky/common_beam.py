"""The smallest beam that several beams can be convolved to.

Beams are second moments, symmetric matrices of shape (2, 2) on any axes that all of them share. A beam A can
be convolved to C where C - A has no negative eigenvalue, which is then the kernel.
"""

import numpy as np
from numpy.typing import NDArray

from astro_dist.sky.beams import Beam
from astro_dist.sky.tangent import ellipses, moments_of_ellipses

Values = NDArray[np.float64]
MISSED = 2e-3
"""Part of a beam's variance, along any axis, that a common beam may miss: 0.1 % of a width."""
DIRECTIONS, MOST_STEPS, CLOSE = 360, 20_000, 5e-4
"""Directions that outer beams are looked for in; most steps, and the relative area that ends them."""


def find_excess(common: Values, moments: Values) -> Values:
    """Return by how much beams (n, 2, 2) exceed the common one: the largest ratio of variances, less 1."""
    # With C = L L^T the ratios along all axes are the eigenvalues of L^-1 M L^-T.
    inverse = np.linalg.inv(np.linalg.cholesky(common))
    return np.asarray(np.linalg.eigvalsh(inverse @ moments @ inverse.T)[..., -1] - 1)


def find_kernel(own: Values, common: Values) -> Values:
    """Return the moments of the kernel that makes the common beam of a beam.

    Along axes on which the two differ by `MISSED` or less there is none, so that a beam that is the common
    one already stays as it is.
    """
    root = np.linalg.cholesky(own)
    inverse = np.linalg.inv(root)
    ratios, axes = np.linalg.eigh(inverse @ common @ inverse.T)
    axes = root @ axes
    return np.asarray((axes * np.where(ratios > 1 + MISSED, ratios - 1, 0.0)) @ axes.T)


def find_common(moments: Values) -> Values:
    """Return the beam of least area that all beams (n, 2, 2) can be convolved to.

    A beam that holds all others, to `MISSED`, is returned as it is. That of two beams is exact; that of more
    has an area at most 0.1 % above the least.
    """
    common = moments[np.argmax(np.linalg.det(moments))]
    excess = find_excess(common, moments)
    if excess.max() > MISSED:
        common = _common_of_two(common, moments[np.argmax(excess)])
    return common if find_excess(common, moments).max() <= MISSED else _enclose(moments)


def _common_of_two(a: Values, b: Values) -> Values:
    """Return the least beam above two: on axes on which one is round and the other straight, the larger."""
    root = np.linalg.cholesky(a)
    inverse = np.linalg.inv(root)
    ratios, axes = np.linalg.eigh(inverse @ b @ inverse.T)
    axes = root @ axes
    return (axes * np.maximum(ratios, 1)) @ axes.T


def _enclose(moments: Values) -> Values:
    """Return the ellipse of least area round concentric ellipses, by the method of Frank and Wolfe.

    The ellipse is 2 X, where X is a weighted mean of u u^T over points u on the ellipses and log det X is
    largest (Khachiyan 1996, Math. Oper. Res. 21, 307; here with the centre fixed).
    """
    angle = np.pi * np.arange(DIRECTIONS) / DIRECTIONS
    square = np.stack([np.cos(angle) ** 2, np.sin(2 * angle), np.sin(angle) ** 2])
    # Only the widest in some direction can touch it; there may be a beam for each of many cutouts.
    outer = moments[np.unique(np.argmax(moments[:, [0, 0, 1], [0, 1, 1]] @ square, axis=0))]
    # The moments of an ellipse are the sum of u u^T over the ends of its two axes.
    roots, mean = np.linalg.cholesky(outer), outer.mean(axis=0) / 2
    for _ in range(MOST_STEPS):
        # The point of all ellipses farthest out by the present measure.
        ratios, axes = np.linalg.eigh(roots.swapaxes(-1, -2) @ np.linalg.inv(mean) @ roots)
        i = int(np.argmax(ratios[:, -1]))
        farthest = float(ratios[i, -1])
        if farthest <= 2 * (1 + CLOSE):
            break
        point = roots[i] @ axes[i, :, -1]
        weight = (farthest / 2 - 1) / (farthest - 1)
        mean = (1 - weight) * mean + weight * np.outer(point, point)
    return 2 * mean * (1 + float(find_excess(2 * mean, moments).max()))


def moments_of_beam(beam: Beam) -> Values:
    """Return the second moments of a beam, arcsec^2, on the axes from which its angle runs, shape (2, 2)."""
    widths = (np.array([value]) for value in (beam.major_arcsec, beam.minor_arcsec, beam.pa_deg))
    return moments_of_ellipses(*widths)[0]


def beam_of_moments(moments: Values) -> Beam:
    """Return the beam of second moments; undoes `moments_of_beam`."""
    major, minor, angle = (float(value[0]) for value in ellipses(moments[None]))
    return Beam(major, minor, angle)
