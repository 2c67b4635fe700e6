"""Similarity of two images (PSNR, SSIM, MS-SSIM) and of two sets of images (power spectra, distributions)."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

from astro_dist.engine.arrays import AnyImage, Floats

SSIM_SIGMA_PIX, SSIM_RADIUS_PIX = 1.5, 5
K1, K2 = 0.01, 0.03
MS_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the scales of MS-SSIM, finest first (Wang et al. 2003, section 3.2)."""


def psnr(a: AnyImage, b: AnyImage, data_range: float) -> float:
    """Return the peak signal-to-noise ratio of two images, in dB; infinity for equal ones."""
    error = float(np.mean((np.asarray(a, np.float64) - np.asarray(b, np.float64)) ** 2))
    return float(10 * np.log10(data_range**2 / error)) if error else float("inf")


def count_scales(side_pix: int) -> int:
    """Return how many of the five scales of MS-SSIM an image of this side has room for, 0 if none.

    Each scale halves the sides, and the 11 x 11 window must fit into the coarsest: five need 176 pixels.
    """
    window = 2 * SSIM_RADIUS_PIX + 1
    return sum(side_pix >> scale >= window for scale in range(len(MS_WEIGHTS)))


def ms_ssim(a: AnyImage, b: AnyImage, data_range: float) -> float:
    """Return the multi-scale structural similarity of two images (Wang et al. 2003, eq. 7).

    Contrast and structure are compared at each of `count_scales` scales, luminance at the coarsest only. With
    fewer than five scales the weights of those there are, finest first, are scaled to a sum of one, so that
    figures of images of different sizes cannot be compared. Negative means count as zero.

    Parameters
    ----------
    a, b
        (..., H, W), at least 11 x 11, finite and not negative; planes are averaged.
    data_range
        The dynamic range L of the whole data set.

    Returns
    -------
    float
        From 0 to 1, which equal images have.
    """
    x, y = (np.asarray(image, np.float64).reshape(-1, *image.shape[-2:]) for image in (a, b))
    scales = count_scales(min(x.shape[-2:]))
    weights = np.array(MS_WEIGHTS[:scales]) / sum(MS_WEIGHTS[:scales])
    return float(np.mean([_combine_scales(p, q, data_range, weights) for p, q in zip(x, y, strict=True)]))


def _combine_scales(x: Floats, y: Floats, data_range: float, weights: Floats) -> float:
    result = 1.0
    for scale, weight in enumerate(weights):
        (light, light_of), (structure, structure_of) = _ssim_terms(x, y, data_range)
        index = structure / structure_of
        if scale == len(weights) - 1:
            index = index * (light / light_of)
        result *= max(0.0, float(_inside(index).mean())) ** weight
        x, y = _halve(x), _halve(y)
    return result


def _halve(image: Floats) -> Floats:
    """Return the means of 2 x 2 pixels; the last row and column of odd sides are left out."""
    height, width = (side // 2 for side in image.shape)
    return image[: 2 * height, : 2 * width].reshape(height, 2, width, 2).mean((1, 3))


def ssim(a: AnyImage, b: AnyImage, data_range: float) -> float:
    """Return the mean structural similarity of two images (Wang et al. 2004, eq. 13).

    Local means, variances and covariance are weighted by a Gaussian of 1.5 pixels, cut off to 11 x 11;
    K1 = 0.01 and K2 = 0.03. Pixels whose window reaches over the border are left out of the mean.

    Parameters
    ----------
    a, b
        (H, W), at least 11 x 11, finite and not negative. The products of local means have no meaning for
        negative values.
    data_range
        The dynamic range L of the whole data set. With a range per image the figures of faint and bright
        images could not be compared.

    Returns
    -------
    float
        1 for equal images, about 0 for unrelated ones.
    """
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    (light, light_of), (structure, structure_of) = _ssim_terms(x, y, data_range)
    return float(_inside(light * structure / (light_of * structure_of)).mean())


def _ssim_terms(
    x: Floats, y: Floats, data_range: float
) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """Return numerator and denominator of luminance, and of contrast and structure together."""
    mean_x, mean_y = _blur(x), _blur(y)
    var_x, var_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    # E(xy) - E(x) E(y), likewise above: the windows are normalised.
    covariance = _blur(x * y) - mean_x * mean_y
    # Eq. 13 of Wang et al. 2004 with C3 = C2 / 2 folds contrast and structure into one factor.
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    light = 2 * mean_x * mean_y + c1, mean_x**2 + mean_y**2 + c1
    return light, (2 * covariance + c2, var_x + var_y + c2)


def _inside(index: Floats) -> Floats:
    """Return the pixels whose window does not reach over the border."""
    return index[SSIM_RADIUS_PIX:-SSIM_RADIUS_PIX, SSIM_RADIUS_PIX:-SSIM_RADIUS_PIX]


def _blur(image: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(ndimage.gaussian_filter(image, SSIM_SIGMA_PIX, radius=SSIM_RADIUS_PIX))


RINGS = 24
"""Rings of radial frequency by default."""


def ring_frequencies(bins: int = RINGS) -> NDArray[np.float64]:
    """Return the middle of each ring of `power_spectra` (bins,), in cycles per pixel."""
    return (np.arange(bins) + 0.5) / (2 * bins)


def power_spectra(images_NSS: AnyImage, bins: int = RINGS) -> NDArray[np.float64]:
    """Return the mean power of each image in rings of radial frequency.

    The mean of each image is subtracted, and a Hann window along both axes keeps the borders from leaving a
    cross in the spectrum. The power is normalised such that white noise has its variance at all frequencies.

    Parameters
    ----------
    images_NSS
        (N, S, S), finite.
    bins
        Number of rings between 0 and 0.5 cycles per pixel. Frequency 0 is left out.

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
    """Return the ring (S, S) of each frequency of an image's Fourier transform; -1 for 0 and the corners."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side))
    # Beyond 0.5 cycles per pixel only diagonal waves exist, so a ring would not hold all directions.
    inside = (frequency > 0) & (frequency <= 0.5)
    # A frequency of exactly 0.5 belongs to the last ring.
    return np.where(inside, np.minimum(2 * bins * frequency, bins - 1).astype(int), -1)


def power_of(image: AnyImage) -> NDArray[np.float64]:
    """Return the two-dimensional power spectrum (S, S) of an image, normalised as in `power_spectra`."""
    side = image.shape[-1]
    # Half a pixel off the border, so that the window is symmetric and no pixel is lost.
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(side) + 0.5) / side)
    window, values = np.outer(hann, hann), np.asarray(image, np.float64)
    transform = np.fft.fft2(window * (values - values.mean()))
    # The sum of squares of the window is the power it leaves of white noise of variance 1.
    return np.asarray(np.abs(transform) ** 2 / np.sum(window**2))


OCTAVES = ((1 / 16, 1 / 8), (1 / 8, 1 / 4), (1 / 4, 1 / 2))
"""Octaves of `octave_powers` in cycles per pixel; an image that was doubled had nothing in the last one."""


def octave_powers(image: AnyImage) -> Floats:
    """Return the power (3,) of a square image (S, S) in each of `OCTAVES`, summed over frequencies."""
    side, power = image.shape[-1], power_of(image)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side))
    return np.array([power[(frequency >= low) & (frequency < high)].sum() for low, high in OCTAVES])


def spectrum_distance(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Return the rms over rings of ``log10(a / b)``, in dex, of two mean spectra, without empty rings."""
    ratios = np.log10(np.asarray(a, np.float64) / np.asarray(b, np.float64))
    return float(np.sqrt(np.nanmean(ratios**2)))


def distribution_distance(
    a: NDArray[np.floating],
    b: NDArray[np.floating],
    a_weights: NDArray[np.integer] | None = None,
    b_weights: NDArray[np.integer] | None = None,
) -> float:
    """Return the first Wasserstein distance of two samples, in their own unit; NaN if one is empty.

    The distance is the mean shift that turns the values of one sample into those of the other. For decimal
    logarithms its unit is dex. Weights are how often each value counts, once by default.
    """
    for values, weights in ((a, a_weights), (b, b_weights)):
        if not (np.size(values) if weights is None else np.sum(weights)):
            return float("nan")
    return float(stats.wasserstein_distance(a, b, a_weights, b_weights))
