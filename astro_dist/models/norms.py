"""The statistics of batch norms, which belong to certain weights."""

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn


@torch.no_grad()
def settle_norms(network: nn.Module, batches: Sequence[NDArray[Any]], device: str) -> None:
    """Measure the statistics of batch norms anew: those of training belong to weights before averaging.

    Parameters
    ----------
    network
        The network with its averaged weights; it is left in evaluation mode.
    batches
        Inputs of the network, arrays (B, P, H, W).
    device
        Device of the network.
    """
    network.eval()
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # None makes torch take the plain mean over all batches
        # Only the norms: dropout stays switched off, because the judge works without it.
        norm.train()
    for batch in batches:
        network(torch.from_numpy(batch).to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()
