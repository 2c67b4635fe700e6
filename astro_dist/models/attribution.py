"""Integrated gradients (Sundararajan et al. 2017): which pixels a classifier's output comes from.

Shape letters: B batch, P planes, S side in pixels, K classes.
"""

import torch
from torch import Tensor, nn


def integrated_gradients(
    network: nn.Module, x_BPSS: Tensor, baseline_BPSS: Tensor, class_B: Tensor, steps: int
) -> Tensor:
    """Return the share of each pixel in the output of a class, (B, P, S, S).

    The gradient is integrated along the straight line from the baseline to the picture (eq. 1 there), by the
    midpoint rule. The shares add up to the difference of the outputs at both ends, which is called
    completeness; for a finite number of steps they do so nearly, see `missing_share`.

    Parameters
    ----------
    network
        From pictures to logits (B, K), in evaluation mode.
    x_BPSS, baseline_BPSS
        Pictures, and pictures without content, such as black ones.
    class_B
        The class of each picture.
    steps
        Points on the line.
    """
    difference_BPSS = x_BPSS - baseline_BPSS
    total_BPSS = torch.zeros_like(x_BPSS)
    for step in range(steps):
        point_BPSS = baseline_BPSS + (step + 0.5) / steps * difference_BPSS
        point_BPSS = point_BPSS.detach().requires_grad_(True)
        output = network(point_BPSS).gather(1, class_B[:, None]).sum()
        total_BPSS += torch.autograd.grad(output, point_BPSS)[0]
    return difference_BPSS * total_BPSS / steps


@torch.no_grad()
def missing_share(
    network: nn.Module, x_BPSS: Tensor, baseline_BPSS: Tensor, class_B: Tensor, shares_BPSS: Tensor
) -> Tensor:
    """Return how far the shares of each picture are from adding up (B,), relative to the largest change."""
    ends = (network(x).gather(1, class_B[:, None])[:, 0] for x in (x_BPSS, baseline_BPSS))
    change_B = next(ends) - next(ends)
    gap_B = (shares_BPSS.sum(dim=(1, 2, 3)) - change_B).abs()
    return gap_B / change_B.abs().max().clamp_min(1e-12)
