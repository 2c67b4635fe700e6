"""Batch norms and dropout over the whole batch, although each rank holds a share of the batch.

A training on several ranks then has the loss of one rank with the same batch, to the rounding of sums.
torch's own SyncBatchNorm normalises over all ranks on GPUs only, and dropout has no counterpart.
"""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class _Sum(torch.autograd.Function):
    """The sum over all ranks. The gradient is the sum of the gradients of all ranks."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        # A copy, because `all_reduce` works in place and autograd forbids changing an input.
        total = values.contiguous().clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Sum.forward(ctx, gradient)


_sum_over_ranks: Callable[[Tensor], Tensor] = _Sum.apply


@contextlib.contextmanager
def shared_layers(network: nn.Module, rank: int, ranks: int) -> Iterator[None]:
    """Make all batch norms and dropouts of ``network`` work on the batch of all ranks inside the context."""
    changed: list[nn.Module] = []
    # An attribute of the instance hides the method of the class; deleting it brings the method back.
    for layer in network.modules() if ranks > 1 else ():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            vars(layer)["forward"] = partial(_normalise, layer, ranks)
        elif isinstance(layer, nn.Dropout2d):
            vars(layer)["forward"] = partial(_drop, layer, rank, ranks)
        else:
            continue
        changed.append(layer)
    try:
        yield
    finally:
        for layer in changed:
            del layer.forward


def _normalise(norm: nn.BatchNorm1d | nn.BatchNorm2d, ranks: int, x: Tensor) -> Tensor:
    """Normalise with the mean and the variance over all ranks; the gradient flows through both."""
    if not norm.training:
        return type(norm).forward(norm, x)
    axes = [0, *range(2, x.ndim)]
    # float32 also under autocast: bf16 has 8 significant bits. Batch norms divide by n, hence no correction.
    variance, mean = torch.var_mean(x.float(), axes, correction=0)
    # Law of total variance: the variance over all ranks is the mean variance plus the variance of the means.
    mean, square, within = _sum_over_ranks(torch.stack([mean, mean**2, variance])) / ranks
    variance = within + square - mean**2
    count = ranks * x.numel() // x.shape[1]
    with torch.no_grad():
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert norm.momentum is not None
        norm.running_mean.lerp_(mean, norm.momentum)
        # torch keeps the unbiased variance, n / (n - 1) times that of the batch.
        norm.running_var.lerp_(variance * count / max(1, count - 1), norm.momentum)
    shape = [1, -1] + [1] * (x.ndim - 2)
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    shifted = x * scale.view(shape) + (norm.bias - mean * scale).view(shape)
    return shifted.to(x.dtype)


def _drop(layer: nn.Dropout2d, rank: int, ranks: int, x_BCHW: Tensor) -> Tensor:
    """Drop whole channels as one rank would with the whole batch.

    Each rank draws for the samples of all ranks from the same generator state, and uses its own rows.
    """
    if not layer.training:
        return x_BCHW
    count = len(x_BCHW)
    ones = x_BCHW.new_ones(ranks * count, x_BCHW.shape[1], 1, 1)
    kept = functional.dropout(ones, layer.p)
    return x_BCHW * kept[rank * count : (rank + 1) * count]
