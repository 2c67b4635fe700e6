"""The stretch of brightness to the range of a network, and its inverse.

``asinh`` is linear in the noise, logarithmic above it, and can be inverted to 2e-6 from -5 to 10,000 sigma.
``tanh`` is the stretch of RADiff (Sortino et al. 2024): it saturates above about 10 sigma, so that
peaks beyond it cannot be recovered.
"""

import numpy as np
from numpy.typing import ArrayLike

from astro_dist.engine.arrays import Image
from astro_dist.engine.config import nearest
from astro_dist.engine.errors import ConfigError

STRETCHES = ("asinh", "tanh")
# The output of a network has no bound: 6 stands for 160,000 sigma and keeps sinh far from overflow.
ASINH_LIMIT = 6.0
# arctanh is infinite at 1; 0.9999 stands for 64 sigma.
TANH_LIMIT = 0.9999
# RADiff's ZScale takes its limits from each image; fixed ones can be inverted without the image.
TANH_LOW_SNR, TANH_HIGH_SNR = -3.3, 10.2


def stretch(image: ArrayLike, background: ArrayLike, rms: ArrayLike, kind: str = "asinh") -> Image:
    """Bring brightness into the range of a network.

    With ``snr = (image - background) / rms``: asinh gives ``asinh(snr / 2) / 2`` (1 sigma is 0.24,
    10,000 sigma 4.6), tanh gives ``tanh((snr + 3.3) / 13.5)``.

    Parameters
    ----------
    image
        Brightness in Jy/beam, any shape; NaN stays NaN.
    background, rms
        Local mean and noise (> 0) in Jy/beam, broadcast against ``image``.
    kind
        One of `STRETCHES`.

    Raises
    ------
    ConfigError
        When ``kind`` is unknown.
    """
    check_stretch(kind)
    snr = (np.asarray(image, np.float32) - np.asarray(background, np.float32)) / np.asarray(rms, np.float32)
    if kind == "asinh":
        return np.asarray(np.arcsinh(snr / 2) / 2, np.float32)
    return np.asarray(np.tanh((snr - TANH_LOW_SNR) / (TANH_HIGH_SNR - TANH_LOW_SNR)), np.float32)


def unstretch(u: ArrayLike, background: ArrayLike, rms: ArrayLike, kind: str = "asinh") -> Image:
    """Invert `stretch`; returns Jy/beam in float32.

    Values that no brightness maps to are clipped first: asinh to +-6 (160,000 sigma), tanh to +-0.9999.
    Parameters and errors are those of `stretch`.
    """
    check_stretch(kind)
    u = np.asarray(u, np.float32)
    if kind == "asinh":
        snr = 2 * np.sinh(2 * np.clip(u, -ASINH_LIMIT, ASINH_LIMIT))
    else:
        linear = np.arctanh(np.clip(u, -TANH_LIMIT, TANH_LIMIT))
        snr = TANH_LOW_SNR + (TANH_HIGH_SNR - TANH_LOW_SNR) * linear
    return np.asarray(np.asarray(background, np.float32) + np.asarray(rms, np.float32) * snr, np.float32)


def check_stretch(kind: str) -> None:
    """Raise `ConfigError` for an unknown stretch, naming the nearest known one."""
    if kind not in STRETCHES:
        raise ConfigError(f"unknown stretch {kind!r}: {nearest(kind, STRETCHES)}")
