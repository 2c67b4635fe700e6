"""Distances from generated images to the nearest training image, which show memorised images.

The scale of the distances is that of held-out real images: their distance to the training set is the
distance between independent images of the sky.
"""

import numpy as np
from numpy.typing import NDArray

CHUNK = 256
"""Rows compared at once, which bounds the memory."""
NEAR_QUANTILE = 0.01


def nearest_distances(a_NF: NDArray[np.floating], b_MF: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the Euclidean distance of each row of ``a`` to the nearest row of ``b``, (N,).

    Matrix products find the nearest row; its distance is then computed by subtraction, so that a copy is at a
    distance of exactly 0.
    """
    b = np.asarray(b_MF, np.float64)
    half_squares = np.sum(b**2, axis=1) / 2
    distances = np.empty(len(a_NF))
    for start in range(0, len(a_NF), CHUNK):
        some = np.asarray(a_NF[start : start + CHUNK], np.float64)
        # |a - b|^2 / 2 less |a|^2 / 2, which is the same for all b.
        nearest = np.argmin(half_squares - some @ b.T, axis=1)
        distances[start : start + CHUNK] = np.linalg.norm(some - b[nearest], axis=1)
    return distances


def distance_ratio(
    generated: NDArray[np.floating],
    held_out: NDArray[np.floating],
    weights: NDArray[np.integer] | None = None,
) -> float:
    """Return the ratio of two medians: distances of generated images over those of held-out real images.

    Parameters
    ----------
    generated, held_out
        (N,) distances to the training set, from `nearest_distances`.
    weights
        How often each image counts, in both sets; once by default.

    Returns
    -------
    float
        About 1 if nothing is memorised, near 0 if all generated images are copies.
    """
    counts = np.ones(len(generated), np.int64) if weights is None else weights
    return float(np.median(np.repeat(generated, counts)) / np.median(np.repeat(held_out, counts)))


def share_too_near(generated: NDArray[np.floating], held_out: NDArray[np.floating]) -> float:
    """Return the share of generated images nearer to the training set than 99 % of held-out images."""
    return float(np.mean(generated < np.quantile(held_out, NEAR_QUANTILE)))
