"""From noise and conditions to images in network range: the sampler's loop and one decoding.

The bits of an image depend on the models, its noise, the conditions of its micro-batch, the batch's
shape and the numerics of the machine; `Sampler.draw` must therefore always get the same batches.

Shape letters: B batch, S side in pixels, C h w latent.
"""

import copy
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from astro_dist.generate.sources import Conditions
from astro_dist.models.autoencoder import decode, load_autoencoder
from astro_dist.models.denoiser import load_denoiser, load_scheduler
from astro_dist.models.device import autocast
from astro_dist.models.presets import LATENT_FACTOR


class Sampler:
    """The trained networks on one device, ready to draw.

    Parameters
    ----------
    autoencoder, diffusion
        Folders of the two models.
    steps, guidance
        See `GenerateConfig`.
    device, precision
        As `astro_dist.models.device` names them.
    """

    def __init__(
        self, autoencoder: Path, diffusion: Path, steps: int, guidance: float, device: str, precision: str
    ) -> None:
        # Channels last: a tenth faster on a CPU, and what tensor cores want.
        networks: Any = load_autoencoder(autoencoder), load_denoiser(diffusion)
        self.autoencoder, self.denoiser = (
            network.to(device, memory_format=torch.channels_last) for network in networks
        )
        self.scheduler = _prepare_scheduler(diffusion, steps, device)
        self.guidance = guidance
        self.device, self.precision = device, precision

    @property
    def stretch(self) -> str:
        """The stretch of the images that are drawn."""
        return str(self.denoiser.config.stretch)

    def noise_shape(self, size_pix: int) -> tuple[int, int, int]:
        """Return (C, h, w) of the noise that a stamp begins as."""
        side = size_pix // LATENT_FACTOR
        return self.denoiser.latent_channels, side, side

    @torch.inference_mode()
    def draw(self, conditions: Conditions, noise_BChw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return images (B, S, S) float32 in network range; NaN where the network failed."""
        planes = (conditions.mask_BSS, conditions.peak_BSS, conditions.background_B2SS)
        inputs = [torch.from_numpy(plane).to(self.device) for plane in planes]
        with autocast(self.device, self.precision):
            given = self.denoiser.conditioner(*inputs)
            nothing = torch.zeros(len(noise_BChw), dtype=torch.bool, device=self.device)
            null = self.denoiser.conditioner(*inputs, nothing, nothing) if self.guidance != 1.0 else None
            latent_BChw = torch.from_numpy(noise_BChw).to(self.device)
            # A copy, since a solver remembers the steps before.
            scheduler = copy.deepcopy(self.scheduler)
            for timestep in scheduler.timesteps:
                predicted = self._predict(latent_BChw, timestep, given, null)
                latent_BChw = scheduler.step(predicted, timestep, latent_BChw).prev_sample
            latent_BChw = latent_BChw.contiguous(memory_format=torch.channels_last)
            return decode(self.autoencoder, latent_BChw)[:, 0].cpu().numpy()

    def _predict(
        self,
        latent_BChw: Tensor,
        timestep: Tensor,
        given: tuple[Tensor, Tensor],
        null: tuple[Tensor, Tensor] | None,
    ) -> Tensor:
        predicted = self.denoiser.predict(latent_BChw, timestep, *given)
        if null is None:
            return predicted
        # Eq. 6 of Ho & Salimans 2022, with guidance = 1 + w.
        unled = self.denoiser.predict(latent_BChw, timestep, *null)
        return unled + self.guidance * (predicted - unled)


def _prepare_scheduler(folder: Path, steps: int, device: str) -> Any:
    scheduler: Any = load_scheduler(folder)
    with warnings.catch_warnings():
        # diffusers hands a tensor to NumPy 2 in a way that torch has not learnt yet.
        warnings.filterwarnings("ignore", category=DeprecationWarning, message="__array__")
        scheduler.set_timesteps(steps, device=device)
    return scheduler
