"""Colours as strong as those of the training pictures.

A network that minimises an error answers doubt with grey. ``strengthen(network, grey, rgb, share)``
multiplies all its chroma by one factor, so that its colours of training crops have a wanted share of the true
chroma. The factor goes into the weights of the last layer, which is linear.

Shape letters: N crops, H W pixels, 1 and 3 planes of grey and colour.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from astro_dist.engine.arrays import Image
from astro_dist.metrics.colours import BLOCK_PIX, block_chroma
from astro_dist.models.colouriser import ColourUNet, keep_grey
from astro_dist.models.device import flushed_denormals

MOST_FACTOR = 16.0
"""Largest factor: a network without colours has none to make stronger."""
HALVINGS = 14
"""Steps of the bisection, which end within a thousandth."""


def strengthen(network: ColourUNet, grey_N1HW: Image, rgb_N3HW: Image, share: float) -> dict[str, float]:
    """Multiply the chroma of a network's colours by one factor, in place.

    Parameters
    ----------
    network
        The network, in evaluation mode.
    grey_N1HW, rgb_N3HW
        Crops of at least 8 x 8 pixels, float32 from 0 to 1.
    share
        Wanted chroma of means over 8 x 8 pixels, over the true one.

    Returns
    -------
    dict
        ``chroma_factor``, rounded to three digits, and ``chroma`` that the crops have with it. It is below
        ``share`` where even `MOST_FACTOR` does not reach that.
    """
    height, width = (side // BLOCK_PIX * BLOCK_PIX for side in grey_N1HW.shape[-2:])
    last: Any = network.last
    with torch.inference_mode(), flushed_denormals():
        device = last.weight.device
        parts = [torch.from_numpy(one[None]).to(device) for one in grey_N1HW]
        chroma = torch.cat([network.find_chroma(one).cpu() for one in parts])[..., :height, :width]
    grey = torch.from_numpy(grey_N1HW[..., :height, :width])
    true = block_chroma(rgb_N3HW[..., :height, :width]).sum()

    def reached(factor: float) -> float:
        return float(block_chroma(_coloured(grey, factor * chroma)).sum() / true)

    low, high = 0.0, MOST_FACTOR
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if reached(middle) < share else (low, middle)
    # Three digits: the last bits of a mean depend on the machine.
    factor = float(f"{high:.3g}")
    with torch.no_grad():
        last.weight *= factor
        last.bias *= factor
    return {"chroma_factor": factor, "chroma": round(reached(factor), 3)}


def _coloured(grey_N1HW: Tensor, chroma_N3HW: Tensor) -> Image:
    return np.asarray(keep_grey(grey_N1HW + chroma_N3HW, grey_N1HW).numpy())
