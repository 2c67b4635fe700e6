"""The brightness of placed objects by RADiff's exponential law.

The pixels that an object adds to the map, in Jy/beam, are its library shape times its amplitude. The law is
that of section 5.3 of RADiff (Sortino et al. 2024): amplitude sigma * k, with the local rms sigma and k drawn
from an exponential distribution of mean 3, at most 10.

In mode ``radiff`` the shape has unit peak, so that k is the peak signal-to-noise. In mode
``radiff_stretched`` (the paper to the letter) the shape is the stamp's pixels in the paper's stretch:
tanh((snr + 3.3) / 13.5), zero where the snr is below -3.3, on the pixels of the object's own mask, without a
taper. The shape includes the pedestal of tanh(3.3 / 13.5) = 0.24 that an empty sky has in that stretch; the
peak signal-to-noise is k times the shape's maximum, so below k. The other modes give fluxes instead
(`astro_dist.field.given`).
"""

import numpy as np
from numpy.typing import NDArray

from astro_dist.field.config import FluxConfig
from astro_dist.sky.stretch import stretch


def draw_k(n: int, flux: FluxConfig, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw ``n`` values of k, in ``(minimum, cap]``.

    To draw again until k lies in an interval is to draw from the distribution truncated to that interval. An
    exponential has no memory: the excess over the minimum has the same distribution as k itself. So one
    uniform number per k is enough: k is the minimum plus the inverse of the (truncated) cumulative
    distribution, and the number of draws does not depend on their values.
    """
    # expm1 and log1p keep the digits that 1 - exp(-x) loses when the interval is short against the scale.
    high = -np.expm1(-(flux.cap - flux.minimum) / flux.scale) if flux.above == "redraw" else 1.0
    # In (0, 1], so that k is above the minimum. A share of 1 without truncation is infinite, hence the clip.
    share = 1 - rng.random(n)
    with np.errstate(divide="ignore"):
        k = flux.minimum - flux.scale * np.log1p(-share * high)
    return np.asarray(np.minimum(k, flux.cap))


def stretch_shape(
    image_jy_beam: NDArray[np.float32], inside: NDArray[np.bool_], rms_jy_beam: float
) -> NDArray[np.float32]:
    """Return the pixels of an object in the paper's stretch, in [0, 1], 0 outside its mask."""
    # The background is 0, because stamps hold the brightness above it.
    stretched = np.clip(stretch(image_jy_beam, 0.0, rms_jy_beam, "tanh"), 0, 1)
    return np.where(inside, stretched, 0).astype(np.float32)
