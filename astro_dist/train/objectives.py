"""Parts of losses that several pipelines share: autoencoding, noising, mean errors on objects.

Shape letters: B batch, P planes, S side in pixels, C h w latent or planes, M numbers of a latent.
"""

from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn


def to_tensors(batch: Any, device: str) -> dict[str, Tensor]:
    """Return the arrays of a batch, a dataclass of NumPy arrays and Nones, as tensors on a device."""
    arrays = ((f.name, getattr(batch, f.name)) for f in fields(batch))
    return {name: torch.from_numpy(array).to(device) for name, array in arrays if array is not None}


def diffuse(
    scheduler: Any, alpha_bar_T: Tensor, clean_BChw: Tensor, noise_BChw: Tensor, time_B: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return noisy samples, their diffusion steps, and the prediction that is wanted of a network.

    ``time_B`` in [0, 1) is spread over the steps of the schedule. The wanted prediction is the noise, the
    velocity or the clean sample, as ``prediction_type`` of the scheduler says.
    """
    timestep_B = (time_B * len(alpha_bar_T)).long()
    alpha_bar_B111 = alpha_bar_T[timestep_B][:, None, None, None]
    signal, sigma = alpha_bar_B111.sqrt(), (1 - alpha_bar_B111).sqrt()
    wanted = {
        "epsilon": noise_BChw,
        # v = alpha noise - sigma x: section 4 of Salimans & Ho 2022 (progressive distillation).
        "v_prediction": signal * noise_BChw - sigma * clean_BChw,
        "sample": clean_BChw,
    }
    # q(x_t | x_0), eq. 4 of Ho et al. 2020 (DDPM): sqrt(alpha_bar) x + sqrt(1 - alpha_bar) noise.
    noisy_BChw = signal * clean_BChw + sigma * noise_BChw
    return noisy_BChw, timestep_B, wanted[scheduler.config.prediction_type]


def mean_inside(error: Tensor, inside: Tensor) -> Tensor:
    """Return the mean error on objects, detached; 0 when the batch shows no object."""
    return ((error * inside).sum() / inside.sum().clamp(min=1)).detach()


class Reconstruction(nn.Module):
    """An autoencoder as one call, from image and noise to reconstruction and KL divergence.

    DDP and DeepSpeed wrap one call of a module, so that encoding and decoding must be one call.
    """

    def __init__(self, autoencoder: Any) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, u_BPSS: Tensor, noise_BM: Tensor) -> tuple[Tensor, Tensor]:
        """Return the reconstruction (B, P, S, S) and the KL divergence per number of the latent."""
        posterior = self.autoencoder.encode(u_BPSS).latent_dist
        # z = mean + std * noise: the reparameterisation of Kingma & Welling 2014, with the noise of the
        # sample.
        noise = noise_BM.view_as(posterior.mean)
        output = self.autoencoder.decode(posterior.mean + posterior.std * noise).sample
        # KL(N(mean, var) || N(0, 1)): appendix B of Kingma & Welling 2014, here per number and not summed.
        kl = 0.5 * (posterior.mean**2 + posterior.var - 1.0 - posterior.logvar)
        return output.float(), kl.mean()
