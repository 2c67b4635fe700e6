"""From a published noise schedule to samples: the four ways there are, all diffusers' own.

API: ``Solver(scheduler, name, steps, eta, device)`` once; ``solver.solve(noise, predict, seeds)`` for every
batch, where ``predict(x, timestep)`` asks the network. ``dpm++`` (Lu et al. 2022) is the scheduler as it was
published; ``ddim`` (Song et al. 2020), ``ddpm`` (Ho et al. 2020) and ``heun`` (Karras et al. 2022: their
second-order steps on their noise levels, two calls each but the last) take its betas and what it predicts.

``ddpm``, and ``ddim`` with ``eta`` above 0, draw noise at every step, for each sample from a generator of its
own seed: a sample does not depend on its companions.
"""

import copy
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler, HeunDiscreteScheduler
from torch import Tensor

SolverName = Literal["dpm++", "ddim", "ddpm", "heun"]
# Table 1 of Karras et al. 2022: nothing of a sample is left above this noise level.
SIGMA_MAX, RHO = 80.0, 7.0


class Solver:
    """A noise schedule and a way through it.

    Parameters
    ----------
    scheduler
        The `DPMSolverMultistepScheduler` that a model was published with; it is not changed.
    name, steps, eta
        As in `GenerateConfig`.
    device
        Where the networks are.
    """

    def __init__(self, scheduler: Any, name: SolverName, steps: int, eta: float, device: str) -> None:
        # With 1 itself, rounding can leave diffusers the root of a number just below zero.
        self.extra = {"eta": min(eta, 0.9999)} if name == "ddim" else {}
        self.draws_noise = name == "ddpm" or bool(self.extra and eta > 0)
        with warnings.catch_warnings():
            # diffusers hands a tensor to NumPy 2 in a way that torch has not learnt yet.
            warnings.filterwarnings("ignore", category=DeprecationWarning, message="__array__")
            self.scheduler = _convert(scheduler, name)
            if name == "heun":
                times = _karras_timesteps(scheduler.alphas_cumprod.double().numpy(), steps)
                self.scheduler.set_timesteps(timesteps=times, device=device)
            else:
                self.scheduler.set_timesteps(steps, device=device)

    def solve(
        self, noise: Tensor, predict: Callable[[Tensor, Tensor], Tensor], seeds: Sequence[int] = ()
    ) -> Tensor:
        """Return the samples that standard normal noise leads to, in its shape (B, ...).

        ``seeds`` holds one number per sample; only a solver that draws noise wants them.
        """
        # A copy, since a solver remembers the steps before.
        scheduler, extra = copy.deepcopy(self.scheduler), dict(self.extra)
        if self.draws_noise:
            extra["generator"] = [torch.Generator().manual_seed(seed) for seed in seeds]
        x = noise * scheduler.init_noise_sigma
        for timestep in scheduler.timesteps:
            predicted = predict(scheduler.scale_model_input(x, timestep), timestep)
            x = scheduler.step(predicted, timestep, x, **extra).prev_sample
        return x


def _convert(scheduler: Any, name: SolverName) -> Any:
    if name == "dpm++":
        return copy.deepcopy(scheduler)
    config = scheduler.config
    shared = {key: config[key] for key in ("prediction_type", "timestep_spacing", "steps_offset")}
    shared |= {"num_train_timesteps": len(scheduler.betas), "trained_betas": scheduler.betas.numpy()}
    if name == "heun":
        return HeunDiscreteScheduler(**shared)
    return (DDIMScheduler if name == "ddim" else DDPMScheduler)(**shared, clip_sample=False)


def _karras_timesteps(alpha_bar_T: np.ndarray, steps: int) -> list[float]:
    """Return the times of the noise levels of eq. 5 of Karras et al. 2022, the highest first."""
    log_sigma_T = 0.5 * np.log((1 - alpha_bar_T) / alpha_bar_T)
    high, low = min(SIGMA_MAX, float(np.exp(log_sigma_T[-1]))), float(np.exp(log_sigma_T[0]))
    sigma = (high ** (1 / RHO) + np.linspace(0, 1, steps) * (low ** (1 / RHO) - high ** (1 / RHO))) ** RHO
    return [float(time) for time in np.interp(np.log(sigma), log_sigma_T, np.arange(len(log_sigma_T)))]
