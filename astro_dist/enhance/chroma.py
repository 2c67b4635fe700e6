"""Colours as strong as those of the training pictures.

A network that minimises an error answers doubt with grey. ``strengthen(network, grey, rgb, share)``
multiplies all its chroma by one factor, so that its colours of training crops have a wanted share of the true
chroma. The factor goes into the weights of the last layer, which is linear.

Shape letters: N crops, H W pixels, 1 and 3 planes of grey and colour.
"""

import numpy as np
import torch

from astro_dist.engine.arrays import Image
from astro_dist.engine.errors import ConfigError
from astro_dist.metrics.colours import block_chroma
from astro_dist.models.colouriser import ColourUNet, keep_grey
from astro_dist.models.device import flushed_denormals

MOST_FACTOR = 16.0
"""Largest factor, and one over the least one: a network without colours has none to make stronger."""
HALVINGS = 12
"""Steps of the bisection, in the logarithm, which end within two thousandths of the factor."""
MOST_PIX = 1 << 21
"""Pixels of the crops that the factor is chosen on."""
LEAST_CHROMA = 0.01
"""Mean true chroma, in units of Lab, below which crops are grey but for rounding."""
AT_ONCE = 8
"""Crops that are measured at once, and the fewest that count."""


def strengthen(network: ColourUNet, grey_N1HW: Image, rgb_N3HW: Image, share: float) -> dict[str, float]:
    """Multiply the chroma of a network's colours by one factor, in place.

    Parameters
    ----------
    network
        The network, in evaluation mode.
    grey_N1HW, rgb_N3HW
        Crops whose sides are multiples of 8 pixels, float32 from 0 to 1. About the first `MOST_PIX` pixels
        count, of at least `AT_ONCE` crops.
    share
        Wanted chroma of means over 8 x 8 pixels, over the true one.

    Returns
    -------
    dict
        ``chroma_factor``, rounded to three digits, and ``chroma`` that the crops have with it. It is less
        than ``share`` where that takes more than `MOST_FACTOR`.

    Raises
    ------
    ConfigError
        The crops are grey, or the colours are no numbers or far too strong.
    """
    count = max(AT_ONCE, MOST_PIX // (grey_N1HW.shape[-2] * grey_N1HW.shape[-1]))
    grey, true = torch.from_numpy(np.asarray(grey_N1HW[:count], np.float32)), rgb_N3HW[:count]
    parts = [slice(first, first + AT_ONCE) for first in range(0, len(grey), AT_ONCE)]
    wanted = sum(float(block_chroma(true[part]).sum()) for part in parts)
    if not wanted > LEAST_CHROMA * len(grey):
        raise ConfigError("colourise.chroma: the training crops are grey; leave it out")
    weight, bias = network.last.weight, network.last.bias
    assert bias is not None
    with torch.inference_mode(), flushed_denormals():
        chroma = torch.cat([network.find_chroma(one[None].to(weight.device)).cpu() for one in grey])
    if not bool(torch.isfinite(chroma).all()):
        raise ConfigError("colourise.chroma: the network's colours are no numbers; lower colourise.lr")

    def reached(factor: float) -> float:
        made = (keep_grey(grey[part] + factor * chroma[part], grey[part]) for part in parts)
        return sum(float(block_chroma(one.numpy()).sum()) for one in made) / wanted

    if reached(1 / MOST_FACTOR) > share:
        raise ConfigError(
            f"colourise.chroma: the network's colours have {reached(1.0):.3g} times the true chroma, so that "
            "its training went astray; lower colourise.lr, or set colourise.clip_norm to 1"
        )
    low, high = -np.log(MOST_FACTOR), np.log(MOST_FACTOR)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if reached(float(np.exp(middle))) < share else (low, middle)
    # Three digits: the last bits of a mean depend on the machine.
    factor = float(f"{np.exp(high):.3g}")
    with torch.no_grad():
        weight *= factor
        bias *= factor
    return {"chroma_factor": factor, "chroma": round(reached(factor), 3)}
