"""The moving average of the weights. A training publishes the average, not the last weights."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Protocol, cast

import torch
from torch import Tensor, nn


class Partitioned(Protocol):
    """A parameter under ZeRO-3: DeepSpeed adds these names to the parameter and empties its own tensor."""

    ds_tensor: Tensor
    """This rank's part of the weights, flat and padded."""
    ds_numel: int
    """Numbers in the whole parameter."""
    ds_shape: torch.Size
    """Shape of the whole parameter."""

    def partition(self) -> None:
        """Drop the whole weights that were gathered for a computation, and keep the part."""


def partitioned(parameter: nn.Parameter) -> Partitioned | None:
    """Return a parameter that ZeRO-3 has split over the ranks, None where this rank holds all of it."""
    return cast(Partitioned, parameter) if hasattr(parameter, "ds_tensor") else None


def part(parameter: nn.Parameter) -> Tensor:
    """Return the numbers of a parameter that this rank holds: all of them, except under ZeRO-3."""
    split = partitioned(parameter)
    return parameter.data if split is None else split.ds_tensor.data


class Average:
    """The exponential moving average of some parameters.

    Under ZeRO-3 each rank averages its own part: the average of a part is the part of the average, so that no
    rank needs the whole weights.

    Parameters
    ----------
    parameters : sequence of nn.Parameter
        The averaged parameters; the average begins as a copy of them.
    decay : float
        Decay per step. The first steps decay faster, as (1 + n) / (10 + n), because the weights at the
        beginning of a training are far from the final ones.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self.parameters, self.decay = list(parameters), decay
        self.values = [part(p).clone() for p in self.parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the weights after optimiser step ``step``, counted from 0."""
        # The rule of TensorFlow's ExponentialMovingAverage; decay 0 at step 0 drops the initial weights.
        decay = min((1 + step) / (10 + step), self.decay) if step else 0.0
        weights = [part(p) for p in self.parameters]
        # average -= (1 - decay) * (average - weights), one fused call over all parameters.
        torch._foreach_sub_(self.values, torch._foreach_sub(self.values, weights), alpha=1 - decay)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Hold the average in the place of the weights inside the context."""
        kept = [part(p).clone() for p in self.parameters]
        self._put(self.values)
        try:
            yield
        finally:
            self._put(kept)

    def _put(self, values: list[Tensor]) -> None:
        torch._foreach_copy_([part(p) for p in self.parameters], values)
        for parameter in self.parameters:
            # ZeRO-3 keeps gathered weights that the next pass needs again, and would compute with those old
            # weights: partitioning drops them, and the next pass gathers the new parts.
            if (split := partitioned(parameter)) is not None:
                split.partition()
