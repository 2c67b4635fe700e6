"""The sky between the objects: rms, tails and stripes of its noise, and stray islands.

Figures are kept as sums per image, not as moments, so that the figures of many images can be resampled.

Shape letters: N images, S side in pixels.
"""

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import AnyImage
from astro_dist.metrics.segmentation import label_islands
from astro_dist.metrics.similarity import RINGS, power_of, ring_of

Sky = NDArray[np.bool_]

LEVELS = (3, 4, 5)  # sigma
SUMS = ("pixels", "x", "x2", "x3", "x4", *(f"{side}_{k}" for side in ("below", "above") for k in LEVELS))
SECTORS = 12  # of 15 degrees each, over half a turn
STRIPE_RINGS = slice(2, 12)
"""Rings of `similarity.power_spectra` from 0.04 to 0.25 cycles per pixel; above there is only white noise."""


def sum_noise(snr_NSS: AnyImage, sky_NSS: Sky) -> NDArray[np.float64]:
    """Return the sums `SUMS` over the sky pixels of each image.

    Parameters
    ----------
    snr_NSS
        Brightness above the background in units of the noise.
    sky_NSS
        True where no object is. Other pixels are ignored.

    Returns
    -------
    float64
        (N, len(SUMS)): number of pixels, sums of the first four powers, and numbers of pixels beyond 3, 4 and
        5 sigma on either side.
    """
    rows = []
    for image, sky in zip(snr_NSS, sky_NSS, strict=True):
        x = np.asarray(image[sky], np.float64)
        powers = [x.size, *(np.sum(x**k) for k in (1, 2, 3, 4))]
        rows.append([*powers, *(np.sum(x < -k) for k in LEVELS), *(np.sum(x > k) for k in LEVELS)])
    return np.array(rows, np.float64).reshape(-1, len(SUMS))


def describe_noise(sums: NDArray[np.floating]) -> dict[str, float]:
    """Return the moments and the tails of sky with given sums.

    Parameters
    ----------
    sums
        (len(SUMS),) from `sum_noise`, of one image or added over many.

    Returns
    -------
    dict
        ``rms``; ``kurtosis`` (3 for a Gaussian); ``below_3`` to ``above_5``, the shares of the pixels beyond
        3 to 5 sigma. All are NaN if there are no pixels.
    """
    pixels, *powers = (float(v) for v in sums[:5])
    names = ("rms", "kurtosis", *SUMS[5:])
    if not pixels:
        return dict.fromkeys(names, float("nan"))
    # Raw moments to central ones: E(x - a)^2 = b - a^2, and the fourth by its binomial expansion.
    a, b, c, d = (power / pixels for power in powers)
    # Rounding can bring the variance of equal pixels just below 0.
    variance = max(b - a**2, 0.0)
    fourth = d - 4 * a * c + 6 * a**2 * b - 3 * a**4
    shares = (float(v) / pixels for v in sums[5:])
    return dict(zip(names, (variance**0.5, fourth / max(variance**2, 1e-300), *shares), strict=True))


def measure_stripes(snr_NSS: AnyImage, sky_NSS: Sky) -> NDArray[np.float64]:
    """Return how unevenly the power of each image is spread over directions.

    Each ring of frequency from 0.04 to 0.25 cycles per pixel is divided by its mean, which takes out the
    colour of the noise. The power is then averaged in 12 sectors of direction. The figure is the highest
    sector over the mean of all sectors.

    Parameters
    ----------
    snr_NSS, sky_NSS
        As for `sum_noise`. Pixels that are not sky are set to zero, which adds a direction only if the
        objects have one. Compare figures of images with the same sky pixels.

    Returns
    -------
    float64
        (N,); about 1.25 for noise without a direction in images of 128 pixels, at most 12.
    """
    side = snr_NSS.shape[-1]
    ring = ring_of(side, RINGS)
    used = (ring >= STRIPE_RINGS.start) & (ring < STRIPE_RINGS.stop)
    frequency = np.fft.fftfreq(side)
    # A real image has equal power at opposite frequencies, so directions go over half a turn.
    angle = np.arctan2(frequency[:, None], frequency) % np.pi
    # The minimum guards against rounding: an angle of pi would be in a thirteenth sector.
    sector = np.minimum(angle / np.pi * SECTORS, SECTORS - 1).astype(int)[used]
    sizes = np.bincount(ring[used], minlength=RINGS)
    highest = []
    for image, sky in zip(snr_NSS, sky_NSS, strict=True):
        power = power_of(np.where(sky, image, 0.0))[used]
        mean = np.bincount(ring[used], power, minlength=RINGS) / np.maximum(sizes, 1)
        # An image of one value has no power in any ring; the limit avoids 0 / 0.
        whitened = power / np.maximum(mean, 1e-300)[ring[used]]
        sectors = np.bincount(sector, whitened, minlength=SECTORS) / np.bincount(sector, minlength=SECTORS)
        highest.append(sectors.max() / sectors.mean())
    return np.array(highest)


def count_stray(snr_NSS: AnyImage, mask_NSS: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the number (N,) of islands (5 sigma seeds, 3 sigma edges) that touch no pixel of an object."""
    counts = []
    for image, mask in zip(snr_NSS, mask_NSS, strict=True):
        islands = label_islands(np.asarray(image, np.float32))
        on_objects = np.setdiff1d(islands[mask > 0], 0)
        # Islands are numbered without gaps, so the highest number is how many there are.
        counts.append(int(islands.max()) - len(on_objects))
    return np.array(counts, np.int64)
