"""Distances between two sets of images in a space of features: Frechet, and kernel (KID).

The Frechet distance of two finite sets of the same kind is above zero, and the higher the fewer images they
hold. Kernel distances have no such bias. Below some 2,000 images, quote the kernel distance, and quote a
Frechet distance only beside that of equally many real images.

Shape letters: N M images, F features.
"""

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.floating]
Weights = NDArray[np.integer] | None


def frechet_distance(
    a_NF: Features, b_MF: Features, a_weights: Weights = None, b_weights: Weights = None
) -> float:
    """Return the squared Frechet distance between the Gaussians fitted to two sets of features.

    ``|mean_a - mean_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))`` (Dowson & Landau 1982; the FID of Heusel
    et al. 2017). With ``C = A^T A`` the last trace is the sum of the singular values of ``A B^T``, which
    needs no matrix root and is right for fewer images than features too.

    Parameters
    ----------
    a_NF, b_MF
        Features, one row per image, at least two each.
    a_weights, b_weights
        How often each image counts, once by default; an image of weight 2 is the same as two copies.
    """
    a_mean, a_root = _fit(a_NF, a_weights)
    b_mean, b_root = _fit(b_MF, b_weights)
    # tr (C_a C_b)^(1/2) is the nuclear norm of A B^T.
    cross = np.linalg.svd(a_root @ b_root.T, compute_uv=False).sum()
    spread = np.sum(a_root**2) + np.sum(b_root**2) - 2 * cross
    return float(np.sum((a_mean - b_mean) ** 2) + spread)


def _fit(features: Features, weights: Weights) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean (F,) and a matrix A whose ``A^T A`` is the covariance (n - 1 in the denominator).

    A has as few rows as possible: the smaller of the numbers of images and features.
    """
    # float64: the distance is a small difference of large traces.
    values = np.asarray(features, np.float64)
    counts = np.ones(len(values)) if weights is None else np.asarray(weights, np.float64)
    mean = counts @ values / counts.sum()
    root = np.sqrt(counts / (counts.sum() - 1))[:, None] * (values - mean)
    # R of QR has the same R^T R, and the later products are the cheaper the fewer rows there are.
    return mean, np.asarray(np.linalg.qr(root, mode="r")) if len(root) > root.shape[1] else root


def polynomial_kernel(a_NF: Features, b_MF: Features) -> NDArray[np.float64]:
    """Return the kernel ``(a . b / F + 1)^3`` of every pair, (N, M) (Binkowski et al. 2018, section 4)."""
    products = np.asarray(a_NF, np.float64) @ np.asarray(b_MF, np.float64).T
    kernel: NDArray[np.float64] = (products / a_NF.shape[1] + 1) ** 3
    return kernel


def kernel_distance(
    aa_NN: NDArray[np.float64],
    bb_MM: NDArray[np.float64],
    ab_NM: NDArray[np.float64],
    a_weights: Weights = None,
    b_weights: Weights = None,
) -> float:
    """Return the unbiased squared maximum mean discrepancy of two sets from their kernels.

    The estimate is eq. 3 of Gretton et al. 2012, in which no image is compared with itself. The mean of the
    estimate over sets of the same kind is zero, so single values may be negative.

    Parameters
    ----------
    aa_NN, bb_MM, ab_NM
        Kernels within and between the sets.
    a_weights, b_weights
        How often each image counts, once by default. Copies of one image are not compared with each other.
    """
    n, m = ab_NM.shape
    a = np.ones(n) if a_weights is None else np.asarray(a_weights, np.float64)
    b = np.ones(m) if b_weights is None else np.asarray(b_weights, np.float64)
    return float(_within(aa_NN, a) + _within(bb_MM, b) - 2 * (a @ ab_NM @ b) / (a.sum() * b.sum()))


def _within(kernel: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Return the weighted mean of a kernel over the pairs of different images of one set."""
    # The diagonal compares an image with itself and its copies, weight squared: left out of both sums.
    squares = weights**2
    pairs = weights.sum() ** 2 - squares.sum()
    return float((weights @ kernel @ weights - squares @ np.diag(kernel)) / pairs)


def kid(a_NF: Features, b_MF: Features) -> float:
    """Return the kernel inception distance (Binkowski et al. 2018) of two sets of features in one block."""
    aa_NN, bb_MM = polynomial_kernel(a_NF, a_NF), polynomial_kernel(b_MF, b_MF)
    return kernel_distance(aa_NN, bb_MM, polynomial_kernel(a_NF, b_MF))
