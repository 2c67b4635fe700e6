"""Factors of low rank on the attention of a network: fine-tuning with few trained numbers (LoRA).

``add_factors(network, rank)`` freezes the network and adds trained factors to its attention layers;
``merge(network)`` puts their products into the weights, and the network has its own classes and names again.
"""

from typing import TypeVar, cast

import torch
from torch import Tensor, nn

NAMES = ("to_q", "to_k", "to_v", "to_out")
"""Linear layers of diffusers' attention; ``to_out`` is a list with one and a dropout."""
Network = TypeVar("Network", bound=nn.Module)


class LowRank(nn.Module):
    """A frozen linear layer plus the product of two trained factors."""

    def __init__(self, linear: nn.Linear, rank: int) -> None:
        super().__init__()
        self.linear = linear
        # Hu et al. 2022, section 4.1: one factor is zero, so that nothing changes at the start.
        self.down = nn.Parameter(torch.randn(rank, linear.in_features) / linear.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(linear.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        """Return what the layer and its factors make of ``x``."""
        output: Tensor = self.linear(x)
        return output + x @ self.down.T @ self.up.T

    @torch.no_grad()
    def merge(self) -> nn.Linear:
        """Return the linear layer with the factors in its weights."""
        self.linear.weight += self.up @ self.down
        return self.linear


def add_factors(network: nn.Module, rank: int) -> None:
    """Freeze a network and add factors to the linear layers of its attention."""
    network.requires_grad_(False)
    for owner, name, layer in _layers(network, nn.Linear):
        setattr(owner, name, LowRank(cast(nn.Linear, layer), rank))


def merge(network: Network) -> Network:
    """Return a network without factors, whose weights hold what they had learnt."""
    for owner, name, layer in _layers(network, LowRank):
        setattr(owner, name, cast(LowRank, layer).merge())
    return network.requires_grad_(True)


def _layers(network: nn.Module, kind: type[nn.Module]) -> list[tuple[nn.Module, str, nn.Module]]:
    """Return owner, name and layer of the attention's layers of a kind."""
    found = []
    for path, module in network.named_modules():
        if isinstance(module, kind) and set(path.split(".")[-2:]) & set(NAMES):
            place, _, name = path.rpartition(".")
            found.append((network.get_submodule(place), name, module))
    return found
