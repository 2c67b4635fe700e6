"""The latent U-Net with its conditions: one call from a noisy latent to the network's prediction.

API: ``build_denoiser(preset)``; ``load_denoiser(folder)`` -> `Denoiser` on the CPU in evaluation mode;
``denoiser(noisy_BChw, timestep_B, mask_BHW, peak_BHW, background_B2HW, keep_mask_B=None,
keep_background_B=None)`` -> ``prediction_BChw`` float32 (conditions as in `conditions`; C = 4, h = H / 4);
``denoiser.config.target`` is ``"source"`` or ``"stamp"``, ``.stretch`` the stretch of network range.
``load_scheduler(folder)`` -> a `DPMSolverMultistepScheduler` that knows what is predicted.

To sample: ``z = normal(B, C, h, w)``; ``scheduler.set_timesteps(10)``; for each ``t``:
``z = scheduler.step(denoiser(z, t.expand(B), ...), t, z).prev_sample``; then `autoencoder.decode`.
The conditions of all steps are equal: ``planes, tokens = denoiser.conditioner(...)`` once, and
``denoiser.predict(z, t, planes, tokens)`` in the loop. Run both under `device.autocast`.

On the disk: ``unet/`` and ``scheduler/`` are plain diffusers, ``conditioner/`` is ours.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers import DPMSolverMultistepScheduler, UNet2DConditionModel
from torch import Tensor, nn

from astro_dist.models.conditions import ConditionEncoder
from astro_dist.models.presets import PRESETS


class Denoiser(nn.Module):
    """A U-Net and the encoder of its conditions."""

    def __init__(self, unet: UNet2DConditionModel, conditioner: ConditionEncoder) -> None:
        super().__init__()
        self.unet, self.conditioner = unet, conditioner

    @property
    def config(self) -> Any:
        """The settings of the condition encoder, among them ``target`` and ``stretch``."""
        return self.conditioner.config

    @property
    def latent_channels(self) -> int:
        """Channels C of the latent."""
        return int(self.unet.config["out_channels"])

    def predict(
        self, noisy_BChw: Tensor, timestep: Tensor, planes_BMhw: Tensor, tokens_BTD: Tensor
    ) -> Tensor:
        """Return the prediction from conditions that are encoded already."""
        joined = torch.cat([noisy_BChw.to(planes_BMhw.dtype), planes_BMhw], 1)
        joined = joined.contiguous(memory_format=torch.channels_last)
        return self.unet(joined, timestep, tokens_BTD).sample.float()

    def forward(
        self,
        noisy_BChw: Tensor,
        timestep_B: Tensor,
        mask_BHW: Tensor,
        peak_BHW: Tensor,
        background_B2HW: Tensor,
        keep_mask_B: Tensor | None = None,
        keep_background_B: Tensor | None = None,
    ) -> Tensor:
        """Return the prediction (noise or velocity, as the scheduler says) of the noisy latent."""
        planes, tokens = self.conditioner(mask_BHW, peak_BHW, background_B2HW, keep_mask_B, keep_background_B)
        return self.predict(noisy_BChw, timestep_B, planes, tokens)


def build_denoiser(preset: str, target: str = "source", stretch: str = "asinh") -> Denoiser:
    """Return an untrained denoiser of a preset."""
    sizes = PRESETS[preset]
    conditioner = ConditionEncoder(**sizes.conditioner, target=target, stretch=stretch)
    return Denoiser(UNet2DConditionModel(**sizes.unet), conditioner)


def build_scheduler(preset: str) -> DPMSolverMultistepScheduler:
    """Return the noise schedule of a preset as the solver that samples with it."""
    return DPMSolverMultistepScheduler(
        num_train_timesteps=1000,
        timestep_spacing="trailing",
        use_lu_lambdas=False,
        **PRESETS[preset].schedule,
    )


def save_denoiser(denoiser: Denoiser, scheduler: DPMSolverMultistepScheduler, folder: Path) -> None:
    """Write ``unet/``, ``conditioner/`` and ``scheduler/`` below ``folder``."""
    denoiser.unet.save_pretrained(folder / "unet", safe_serialization=True)
    denoiser.conditioner.save_pretrained(folder / "conditioner", safe_serialization=True)
    scheduler.save_pretrained(folder / "scheduler")


def load_denoiser(folder: Path) -> Denoiser:
    """Load a denoiser from its folder, without any network."""
    only_local = {"use_safetensors": True, "local_files_only": True}
    unet = UNet2DConditionModel.from_pretrained(folder / "unet", **only_local)
    conditioner = ConditionEncoder.from_pretrained(folder / "conditioner", **only_local)
    return Denoiser(unet, conditioner).eval()


def load_scheduler(folder: Path) -> DPMSolverMultistepScheduler:
    """Load the sampler that belongs to a denoiser."""
    return DPMSolverMultistepScheduler.from_pretrained(folder / "scheduler", local_files_only=True)
