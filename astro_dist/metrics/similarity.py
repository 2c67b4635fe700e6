"""How alike two images, or two sets of images, are: SSIM, power spectra, distributions."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

from astro_dist.engine.arrays import AnyImage

SSIM_SIGMA_PIX, SSIM_RADIUS_PIX = 1.5, 5
K1, K2 = 0.01, 0.03


def ssim(a: AnyImage, b: AnyImage, data_range: float) -> float:
    """Return the mean structural similarity of two images (Wang et al. 2004, eq. 13).

    Local means, variances and covariance are those of a Gaussian of 1.5 pixels cut off to 11 x 11, with
    K1 = 0.01 and K2 = 0.03; pixels whose window reaches over the border are left out of the mean.

    Parameters
    ----------
    a, b
        (H, W), at least 11 x 11, finite and not negative: products of local means say nothing of others.
    data_range
        The dynamic range L. It is of the whole data set: a range of its own for each image would make
        the figures of faint and bright ones incomparable.

    Returns
    -------
    float
        1 for equal images, about 0 for unrelated ones.
    """
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    mean_x, mean_y = _blur(x), _blur(y)
    var_x, var_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    top = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    bottom = (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    inner = slice(SSIM_RADIUS_PIX, -SSIM_RADIUS_PIX)
    return float((top / bottom)[inner, inner].mean())


def _blur(image: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(ndimage.gaussian_filter(image, SSIM_SIGMA_PIX, radius=SSIM_RADIUS_PIX))


RINGS = 24


def ring_frequencies(bins: int = RINGS) -> NDArray[np.float64]:
    """Return the middle of each ring of `power_spectra` (bins,), in cycles per pixel."""
    return (np.arange(bins) + 0.5) / (2 * bins)


def power_spectra(images_NSS: AnyImage, bins: int = RINGS) -> NDArray[np.float64]:
    """Return the mean power of each image in rings of radial frequency.

    Each image less its mean is multiplied by a Hann window along both axes, so that its borders leave no
    cross in the spectrum, and the power is normalised such that white noise has its variance at all
    frequencies.

    Parameters
    ----------
    images_NSS
        (N, S, S), finite.
    bins
        Rings between 0 (which is left out) and 0.5 cycles per pixel.

    Returns
    -------
    float64
        (N, bins), in the square of the images' unit; NaN in rings without a frequency.
    """
    ring = ring_of(images_NSS.shape[-1], bins)
    inside = ring >= 0
    sizes = np.bincount(ring[inside], minlength=bins)
    power = np.full((len(images_NSS), bins), np.nan)
    for row, image in zip(power, images_NSS, strict=True):
        sums = np.bincount(ring[inside], power_of(image)[inside], minlength=bins)
        np.divide(sums, sizes, out=row, where=sizes > 0)
    return power


def ring_of(side: int, bins: int = RINGS) -> NDArray[np.int64]:
    """Return the ring that each frequency of an image's Fourier transform is in; -1 for 0 and the corners."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side))
    inside = (frequency > 0) & (frequency <= 0.5)
    return np.where(inside, np.minimum(2 * bins * frequency, bins - 1).astype(int), -1)


def power_of(image: AnyImage) -> NDArray[np.float64]:
    """Return the two-dimensional power spectrum (S, S) of an image, see `power_spectra`."""
    side = image.shape[-1]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(side) + 0.5) / side)
    window, values = np.outer(hann, hann), np.asarray(image, np.float64)
    transform = np.fft.fft2(window * (values - values.mean()))
    return np.asarray(np.abs(transform) ** 2 / np.sum(window**2))


def spectrum_distance(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Return the rms over rings of ``log10(a / b)``, in dex, of two mean spectra; empty rings left out."""
    ratios = np.log10(np.asarray(a, np.float64) / np.asarray(b, np.float64))
    return float(np.sqrt(np.nanmean(ratios**2)))


def distribution_distance(
    a: NDArray[np.floating],
    b: NDArray[np.floating],
    a_weights: NDArray[np.integer] | None = None,
    b_weights: NDArray[np.integer] | None = None,
) -> float:
    """Return the first Wasserstein distance of two samples, in their own unit; NaN if one is empty.

    It is the mean distance by which the values of one must move to become those of the other: of
    logarithms a distance in dex. Weights say how often each value counts, once by default.
    """
    for values, weights in ((a, a_weights), (b, b_weights)):
        if not (np.size(values) if weights is None else np.sum(weights)):
            return float("nan")
    return float(stats.wasserstein_distance(a, b, a_weights, b_weights))
