"""Are generated images copies of what was trained on? Distances to the nearest training image.

How near is near is told by real images that were not trained on: they are as far from the training set
as the sky makes them.
"""

import numpy as np
from numpy.typing import NDArray

CHUNK = 256
NEAR_QUANTILE = 0.01


def nearest_distances(a_NF: NDArray[np.floating], b_MF: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the Euclidean distance of each row of ``a`` to the nearest row of ``b``, (N,).

    Found by products of matrices, then measured directly, so that a copy is at distance 0 exactly.
    """
    b = np.asarray(b_MF, np.float64)
    half_squares = np.sum(b**2, axis=1) / 2
    distances = np.empty(len(a_NF))
    for start in range(0, len(a_NF), CHUNK):
        some = np.asarray(a_NF[start : start + CHUNK], np.float64)
        nearest = np.argmin(half_squares - some @ b.T, axis=1)
        distances[start : start + CHUNK] = np.linalg.norm(some - b[nearest], axis=1)
    return distances


def distance_ratio(
    generated: NDArray[np.floating],
    held_out: NDArray[np.floating],
    weights: NDArray[np.integer] | None = None,
) -> float:
    """Return the median distance of generated images to the training set over that of held-out real ones.

    Parameters
    ----------
    generated, held_out
        (N,) of `nearest_distances`.
    weights
        How often each image counts, in both; once by default.

    Returns
    -------
    float
        About 1 where nothing is memorised, towards 0 where all are copies.
    """
    counts = np.ones(len(generated), np.int64) if weights is None else weights
    return float(np.median(np.repeat(generated, counts)) / np.median(np.repeat(held_out, counts)))


def share_too_near(generated: NDArray[np.floating], held_out: NDArray[np.floating]) -> float:
    """Return the share of generated images nearer to the training set than all but 1 % of held-out ones."""
    return float(np.mean(generated < np.quantile(held_out, NEAR_QUANTILE)))
