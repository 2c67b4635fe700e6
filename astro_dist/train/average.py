"""The moving average of the weights, which is what a training publishes."""

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn


def part(parameter: nn.Parameter) -> Tensor:
    """Return what this rank holds of a parameter: all of it, but under ZeRO-3."""
    return parameter.ds_tensor.data if hasattr(parameter, "ds_tensor") else parameter.data


class Average:
    """The moving average of some parameters, under ZeRO-3 of this rank's part of them.

    An average of parts is the part of the average, so no rank ever holds more than its own.

    Parameters
    ----------
    parameters : sequence of nn.Parameter
        What is averaged; the average begins as a copy of them.
    decay : float
        Its decay per step; the first steps decay faster, as (1 + n) / (10 + n), for the beginning
        of a training is worth forgetting.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self.parameters, self.decay = list(parameters), decay
        self.values = [part(p).clone() for p in self.parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after optimiser step ``step``, counted from 0."""
        decay = min((1 + step) / (10 + step), self.decay) if step else 0.0
        weights = [part(p) for p in self.parameters]
        torch._foreach_sub_(self.values, torch._foreach_sub(self.values, weights), alpha=1 - decay)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the average in the place of the weights inside."""
        kept = [part(p).clone() for p in self.parameters]
        self._put(self.values)
        try:
            yield
        finally:
            self._put(kept)

    def _put(self, values: Sequence[Tensor]) -> None:
        torch._foreach_copy_([part(p) for p in self.parameters], values)
        for parameter in self.parameters:
            # ZeRO-3 keeps weights that it soon needs again whole, and would go on with those.
            if hasattr(parameter, "ds_tensor"):
                parameter.partition()
