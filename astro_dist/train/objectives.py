"""Parts of losses that several pipelines share: noising for diffusion models, errors on objects.

Shape letters: B batch, C h w latent or planes.
"""

from dataclasses import fields
from typing import Any

import torch
from torch import Tensor


def to_tensors(batch: Any, device: str) -> dict[str, Tensor]:
    """Return the arrays of a batch, a dataclass of NumPy arrays and Nones, as tensors on a device."""
    arrays = ((f.name, getattr(batch, f.name)) for f in fields(batch))
    return {name: torch.from_numpy(array).to(device) for name, array in arrays if array is not None}


def diffuse(
    scheduler: Any, alpha_bar_T: Tensor, clean_BChw: Tensor, noise_BChw: Tensor, time_B: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return noisy samples, their steps, and what a network is to predict of them.

    The noisy sample is sqrt(alpha_bar) x + sqrt(1 - alpha_bar) noise: eq. 4 of Ho et al. 2020 (DDPM).
    """
    timestep_B = (time_B * len(alpha_bar_T)).long()
    alpha_bar_B111 = alpha_bar_T[timestep_B][:, None, None, None]
    signal, sigma = alpha_bar_B111.sqrt(), (1 - alpha_bar_B111).sqrt()
    wanted = {
        "epsilon": noise_BChw,
        # Eq. D of Salimans & Ho 2022 (progressive distillation), section 4.
        "v_prediction": signal * noise_BChw - sigma * clean_BChw,
        "sample": clean_BChw,
    }
    noisy_BChw = signal * clean_BChw + sigma * noise_BChw
    return noisy_BChw, timestep_B, wanted[scheduler.config.prediction_type]


def mean_inside(error: Tensor, inside: Tensor) -> Tensor:
    """Return the mean error on objects; 0 when the batch shows none."""
    return ((error * inside).sum() / inside.sum().clamp(min=1)).detach()
