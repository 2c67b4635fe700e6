"""Noise levels of SR3, and three ways from noise to a sample with any number of calls of the network.

A level is gamma, the share of the signal's power; the schedule of the training is that of the public code:
betas linear from 1e-6 to 1e-2 in 2,000 steps. Networks take any level, so that no method needs a training of
its own.

``dpm++``
    DPM-Solver++(2M) (Lu et al. 2022) on levels even in log SNR.
``ddim``
    Song et al. 2020, eq. 12 without noise, on the same levels.
``ancestral``
    Eq. 11 of Ho et al. 2020 on the linear betas in fewer steps, as in the public code. With 500 steps they
    begin at gamma 0.08, which is no pure noise; ``start="matching"`` begins with noise added to the base.

API: ``Sampler(method, calls, start).sample(network, base_BPHW, draw)``, where ``draw(call)`` returns
standard normal noise of the shape of the base.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from astro_dist.engine.stopping import check_stop
from astro_dist.models.super_net import SuperNet

SamplerName = Literal["dpm++", "ddim", "ancestral"]
StartName = Literal["pure", "matching"]
STEPS = 2000
BETAS = (1e-6, 1e-2)
LAST_LOG_SNR = 6.0
"""Log SNR of the last noisy level: noise of 0.0025 is left, which the last call removes."""
Draw = Callable[[int], Tensor]


def gammas(steps: int = STEPS) -> NDArray[np.float64]:
    """Return the levels of the linear schedule in ``steps`` steps, falling; shape (steps,)."""
    return np.asarray(np.cumprod(1 - np.linspace(*BETAS, steps)), np.float64)


def log_snr(gamma: float) -> float:
    """Return lambda of Lu et al. 2022: log(alpha / sigma), half the logarithm of the ratio of powers."""
    return 0.5 * math.log(gamma / (1 - gamma))


def even_levels(calls: int) -> list[float]:
    """Return ``calls`` levels, even in log SNR, from the last one of the training to `LAST_LOG_SNR`."""
    spaced = np.linspace(log_snr(float(gammas()[-1])), LAST_LOG_SNR, calls)
    return [float(gamma) for gamma in 1 / (1 + np.exp(-2 * spaced))]


@dataclass(frozen=True)
class Sampler:
    """A method, its number of calls, and for ``ancestral`` what it begins with."""

    method: SamplerName = "dpm++"
    calls: int = 15
    start: StartName = "pure"

    def levels(self) -> list[float]:
        """Return the level of each call, rising from noise."""
        if self.method == "ancestral":
            return [float(gamma) for gamma in gammas(self.calls)[::-1]]
        return even_levels(self.calls)

    def sample(self, network: SuperNet, base_BPHW: Tensor, draw: Draw) -> Tensor:
        """Return clean samples as enlarged images in network range, not clipped."""
        levels = self.levels()
        x = self._begin(network, base_BPHW, draw, levels[0])
        step = {"dpm++": _step_dpm, "ddim": _step_ddim, "ancestral": _step_ancestral}[self.method]
        clean: Tensor | None = None
        for call, gamma in enumerate(levels):
            # Of thousands of calls each may take seconds.
            check_stop()
            gamma_B = torch.full((len(x),), gamma, dtype=torch.float32, device=x.device)
            found = network.clean_of(x, network(x, gamma_B, base_BPHW), gamma)
            if call == len(levels) - 1:
                x = found
                break
            before = levels[call - 1] if call else None
            noise = draw(call + 1) if self.method == "ancestral" else None
            x = step(x, found, clean, (before, gamma, levels[call + 1]), noise)
            clean = found
        return network.from_target(x, base_BPHW)

    def _begin(self, network: SuperNet, base_BPHW: Tensor, draw: Draw, gamma: float) -> Tensor:
        noise = draw(0)
        if self.start == "pure":
            return noise
        # The difference to the base is expected to be 0.
        expected = network.to_target(base_BPHW, base_BPHW)
        return gamma**0.5 * expected + (1 - gamma) ** 0.5 * noise


Levels = tuple[float | None, float, float]
"""Levels of the call before, of this one and of the next one."""


def _step_dpm(
    x: Tensor, clean: Tensor, before: Tensor | None, levels: Levels, noise: Tensor | None
) -> Tensor:
    last, gamma, target = levels
    width = log_snr(target) - log_snr(gamma)
    if before is not None and last is not None:
        # D of algorithm 2 of Lu et al. 2022 (DPM-Solver++), r the ratio of the two widths.
        ratio = (log_snr(gamma) - log_snr(last)) / width
        clean = clean + (clean - before) / (2 * ratio)
    return ((1 - target) / (1 - gamma)) ** 0.5 * x - target**0.5 * math.expm1(-width) * clean


def _step_ddim(
    x: Tensor, clean: Tensor, before: Tensor | None, levels: Levels, noise: Tensor | None
) -> Tensor:
    _, gamma, target = levels
    left = (x - gamma**0.5 * clean) / (1 - gamma) ** 0.5
    return target**0.5 * clean + (1 - target) ** 0.5 * left


def _step_ancestral(
    x: Tensor, clean: Tensor, before: Tensor | None, levels: Levels, noise: Tensor | None
) -> Tensor:
    _, gamma, target = levels
    assert noise is not None
    alpha = gamma / target
    # Eq. 7 of Ho et al. 2020: mean and variance of q(x_{t-1} | x_t, x_0).
    mean = (target**0.5 * (1 - alpha) * clean + alpha**0.5 * (1 - target) * x) / (1 - gamma)
    return mean + math.sqrt((1 - alpha) * (1 - target) / (1 - gamma)) * noise
