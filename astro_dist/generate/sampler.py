"""The drawing of images in network range from noise and conditions: the solver's loop and one decoding.

The bits of an image depend on the models, its noise, the conditions and the shape of its micro-batch, and the
numerics of the machine. The caller of `Sampler.draw` must therefore always pass the same batches.

Shape letters: B batch, S side in pixels, C h w latent.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from astro_dist.generate.config import GenerateConfig
from astro_dist.generate.sources import Conditions
from astro_dist.models.autoencoder import decode, load_autoencoder
from astro_dist.models.conditions import Encoded
from astro_dist.models.denoiser import load_denoiser, load_scheduler
from astro_dist.models.device import autocast
from astro_dist.models.presets import LATENT_FACTOR
from astro_dist.models.solvers import Solver


class Sampler:
    """The trained networks and their solver on one device.

    Parameters
    ----------
    autoencoder, diffusion
        Folders of the two models.
    settings
        Sampler, steps and guidance.
    device, precision
        As `astro_dist.models.device` names them.
    """

    def __init__(
        self, autoencoder: Path, diffusion: Path, settings: GenerateConfig, device: str, precision: str
    ) -> None:
        networks: Any = load_autoencoder(autoencoder), load_denoiser(diffusion)
        self._begin(networks, load_scheduler(diffusion), settings, device, precision)

    @classmethod
    def of(cls, autoencoder: Any, denoiser: Any, scheduler: Any, settings: GenerateConfig) -> Self:
        """Return the sampler of networks that are loaded already, on their own device, in float32."""
        sampler = cls.__new__(cls)
        device = str(next(denoiser.parameters()).device)
        sampler._begin((autoencoder, denoiser), scheduler, settings, device, "no")
        return sampler

    def _begin(
        self, networks: Any, scheduler: Any, settings: GenerateConfig, device: str, precision: str
    ) -> None:
        # Channels last is a tenth faster on a CPU, and the layout of tensor cores.
        self.autoencoder, self.denoiser = (
            network.to(device, memory_format=torch.channels_last) for network in networks
        )
        self.solver = Solver(scheduler, settings.sampler, settings.steps, settings.eta, device)
        self.terms = settings.guidance.terms
        self.device, self.precision = device, precision

    @property
    def stretch(self) -> str:
        """The stretch of the drawn images."""
        return str(self.denoiser.config.stretch)

    def noise_shape(self, size_pix: int) -> tuple[int, int, int]:
        """Return the shape (C, h, w) of the noise from which a stamp is drawn."""
        side = size_pix // LATENT_FACTOR
        return self.denoiser.latent_channels, side, side

    @torch.inference_mode()
    def draw(
        self, conditions: Conditions, noise_BChw: NDArray[np.float32], seeds: Sequence[int] = ()
    ) -> NDArray[np.float32]:
        """Return images (B, S, S) float32 in network range, with NaN where a network failed.

        ``seeds``, one per stamp, are for solvers that draw noise at every step.
        """
        planes = (conditions.mask_BSS, conditions.peak_BSS, conditions.background_B2SS, conditions.facts_BF)
        inputs = [torch.from_numpy(plane).to(self.device) for plane in planes]
        with autocast(self.device, self.precision):
            encoded = {shown: self._encode(inputs, *shown) for shown in self.terms}

            def predict(latent_BChw: Tensor, timestep: Tensor) -> Tensor:
                parts: list[Tensor] = [
                    self.denoiser.predict(latent_BChw, timestep, encoded[shown]) for shown in self.terms
                ]
                # Classifier-free guidance, see `GuidanceConfig.terms` for its equation.
                if len(parts) == 1:
                    return parts[0]
                # In the order of `terms`, as the last bits of a float sum depend on the order.
                weighted = zip(self.terms.values(), parts, strict=True)
                return torch.stack([weight * part for weight, part in weighted]).sum(0)

            latent_BChw = self.solver.solve(torch.from_numpy(noise_BChw).to(self.device), predict, seeds)
            # The decoder is faster in channels-last layout, which the solver does not keep.
            latent_BChw = latent_BChw.contiguous(memory_format=torch.channels_last)
            return decode(self.autoencoder, latent_BChw)[:, 0].cpu().numpy()

    def _encode(self, inputs: list[Tensor], mask: bool, background: bool) -> Encoded:
        """Return the encoded conditions; a condition whose flag is False is replaced by its null."""
        keep = [
            None if shown else torch.zeros(len(inputs[0]), dtype=torch.bool, device=self.device)
            for shown in (mask, background)
        ]
        *planes, facts_BF = inputs
        encoded: Encoded = self.denoiser.conditioner(*planes, *keep, facts_BF)
        return encoded
