"""Four solvers that turn noise into samples on a published noise schedule, all of them diffusers' own.

API: ``Solver(scheduler, name, steps, eta, device)`` once; ``solver.solve(noise, predict, seeds)`` for every
batch, where ``predict(x, timestep)`` calls the network. ``dpm++`` (Lu et al. 2022) is the scheduler as it was
published. The others use its betas and its prediction type: ``ddim`` (Song et al. 2020), ``ddpm`` (Ho et al.
2020), and ``heun`` (Karras et al. 2022: second-order steps on their noise levels, each of which calls the
network twice except the last).

``ddpm``, and ``ddim`` with ``eta`` above 0, draw noise at every step. Each sample has a generator with a seed
of its own, so a sample does not depend on the other samples of its batch.
"""

import copy
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from astro_dist.models.diffusers_types import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    HeunDiscreteScheduler,
    Scheduler,
)

SolverName = Literal["dpm++", "ddim", "ddpm", "heun"]
# Table 1 of Karras et al. 2022. Above this noise level nothing of a sample is left.
SIGMA_MAX, RHO = 80.0, 7.0


class Solver:
    """A noise schedule, and the method and number of steps by which samples are drawn on it.

    Parameters
    ----------
    scheduler
        The scheduler that a model was published with. The solver works on a copy.
    name, steps, eta
        As in `GenerateConfig`.
    device
        Device of the networks, ``"cuda"`` or ``"cpu"``.
    """

    def __init__(
        self, scheduler: DPMSolverMultistepScheduler, name: SolverName, steps: int, eta: float, device: str
    ) -> None:
        # The noise of DDIM is eta times that of DDPM (Song et al. 2020, eq. 16). At eta = 1 rounding can make
        # diffusers take the root of a number just below zero.
        self.extra = {"eta": min(eta, 0.9999)} if name == "ddim" else {}
        self.draws_noise = name == "ddpm" or bool(self.extra and eta > 0)
        with warnings.catch_warnings():
            # diffusers passes a tensor to NumPy 2, whose `copy` argument torch does not support yet.
            warnings.filterwarnings("ignore", category=DeprecationWarning, message="__array__")
            self.scheduler = _convert(scheduler, name)
            if name == "heun":
                times = _karras_timesteps(scheduler.alphas_cumprod.double().numpy(), steps)
                self.scheduler.set_timesteps(timesteps=times, device=device)
            else:
                self.scheduler.set_timesteps(steps, device=device)

    def solve(
        self,
        noise: Tensor,
        predict: Callable[[Tensor, Tensor], Tensor],
        seeds: Sequence[int] = (),
        clean: Tensor | None = None,
        strength: float = 1.0,
    ) -> Tensor:
        """Return samples (B, ...) drawn from standard normal noise of the same shape.

        ``seeds`` holds one number per sample. Solvers that draw no noise ignore ``seeds``. With ``clean``
        samples these are changed: they get the noise of a time that is ``strength`` of the way to pure noise,
        and the steps from there on are taken (SDEdit, Meng et al. 2022).
        """
        # A scheduler keeps the results of earlier steps (second order), so each batch gets a copy.
        scheduler = copy.deepcopy(self.scheduler)
        extra: dict[str, Any] = dict(self.extra)
        if self.draws_noise:
            # Generators of the CPU: those of a GPU give other numbers for the same seed.
            extra["generator"] = [torch.Generator().manual_seed(seed) for seed in seeds]
        if clean is None:
            timesteps = scheduler.timesteps
            # The highest noise level: 1 for all solvers but heun, whose samples are not scaled to unit
            # variance.
            x: Tensor = noise * scheduler.init_noise_sigma
        else:
            timesteps = _begin_at(scheduler, strength)
            x = scheduler.add_noise(clean, noise, timesteps[:1].expand(len(clean)))
        for timestep in timesteps:
            predicted = predict(scheduler.scale_model_input(x, timestep), timestep)
            x = scheduler.step(predicted, timestep, x, **extra).prev_sample
        return x


def _begin_at(scheduler: Scheduler, strength: float) -> Tensor:
    """Return the last timesteps of a schedule, ``strength`` of all and at least one step."""
    # heun lists the timesteps of a step twice.
    order = int(getattr(scheduler, "order", 1))
    steps = -(-len(scheduler.timesteps) // order)
    begin = order * (steps - min(steps, max(1, round(strength * steps))))
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(begin)
    return scheduler.timesteps[begin:]


def _convert(scheduler: DPMSolverMultistepScheduler, name: SolverName) -> Scheduler:
    """Return the scheduler of a method with the betas and the prediction type of the published one."""
    if name == "dpm++":
        return copy.deepcopy(scheduler)
    config = scheduler.config
    shared = {key: config[key] for key in ("prediction_type", "timestep_spacing", "steps_offset")}
    # The betas themselves: they may have been rescaled to zero terminal SNR, for which diffusers' Heun
    # has no setting.
    shared |= {"num_train_timesteps": len(scheduler.betas), "trained_betas": scheduler.betas.numpy()}
    if name == "heun":
        return HeunDiscreteScheduler(**shared)
    # By default diffusers clips samples to -1..1, made for images; latents reach beyond.
    return (DDIMScheduler if name == "ddim" else DDPMScheduler)(**shared, clip_sample=False)


def _karras_timesteps(alpha_bar_T: np.ndarray, steps: int) -> list[float]:
    """Return the timesteps whose noise levels are those of eq. 5 of Karras et al. 2022, the highest first.

    Timesteps need not be whole numbers: they are interpolated in the logarithm of the noise level.
    """
    # In the variance-exploding form of x / sqrt(alpha_bar), sigma^2 = (1 - alpha_bar) / alpha_bar.
    log_sigma_T = 0.5 * np.log((1 - alpha_bar_T) / alpha_bar_T)
    # Where a schedule ends in pure noise, diffusers sets the last alpha_bar to 2^-24: sigma is 4096 there.
    high, low = min(SIGMA_MAX, float(np.exp(log_sigma_T[-1]))), float(np.exp(log_sigma_T[0]))
    sigma = (high ** (1 / RHO) + np.linspace(0, 1, steps) * (low ** (1 / RHO) - high ** (1 / RHO))) ** RHO
    return [float(time) for time in np.interp(np.log(sigma), log_sigma_T, np.arange(len(log_sigma_T)))]
