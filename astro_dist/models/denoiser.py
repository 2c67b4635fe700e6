"""The latent U-Net with its condition encoder: one call from a noisy latent to the prediction.

API: ``build_denoiser(preset)``; ``load_denoiser(folder)`` -> `Denoiser` on the CPU in evaluation mode;
``denoiser(noisy_BChw, timestep_B, mask_BHW, peak_BHW, background_B2HW, keep_mask_B=None,
keep_background_B=None, facts_BF=None, keep_facts_B=None)`` -> ``prediction_BChw`` float32 (conditions as in
`conditions`; C = 4, h = H / 4);
``denoiser.config.target`` is ``"source"`` or ``"stamp"``, ``.stretch`` the stretch of network range.
``load_scheduler(folder)`` -> a `DPMSolverMultistepScheduler` with the prediction type of the training.

To sample: ``z = normal(B, C, h, w)``; ``scheduler.set_timesteps(10)``; for each ``t``:
``z = scheduler.step(denoiser(z, t.expand(B), ...), t, z).prev_sample``; then `autoencoder.decode`.
The conditions are the same at all steps: call ``encoded = denoiser.conditioner(...)`` once, and
``denoiser.predict(z, t, encoded)`` in the loop. Run both under `device.autocast`.

On the disk, plain diffusers loads ``unet/`` and ``scheduler/``; ``conditioner/`` needs this package.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from astro_dist.models.conditions import ConditionEncoder, Encoded
from astro_dist.models.diffusers_types import DPMSolverMultistepScheduler, ModelMixin, UNet2DConditionModel
from astro_dist.models.presets import PRESETS
from astro_dist.models.radiff_code import CodeConditionEncoder

CONDITIONERS: dict[str, type[ModelMixin]] = {
    "ConditionEncoder": ConditionEncoder,
    "CodeConditionEncoder": CodeConditionEncoder,
}


class Denoiser(nn.Module):
    """A latent U-Net together with the encoder of its conditions."""

    def __init__(self, unet: UNet2DConditionModel, conditioner: Any) -> None:
        super().__init__()
        self.unet, self.conditioner = unet, conditioner

    @property
    def config(self) -> Any:
        """The settings of the condition encoder, among them ``target`` and ``stretch``."""
        return self.conditioner.config

    @property
    def latent_channels(self) -> int:
        """Channels C of the latent."""
        # Not `in_channels`, which counts the channels of the mask too.
        return int(self.unet.config["out_channels"])

    def predict(self, noisy_BChw: Tensor, timestep: Tensor, encoded: Encoded) -> Tensor:
        """Return the prediction (B, C, h, w) float32 from conditions that are already encoded."""
        joined = torch.cat([noisy_BChw.to(encoded.planes_BMhw.dtype), encoded.planes_BMhw], 1)
        # Concatenation loses the channels-last layout, in which the convolutions are faster.
        joined = joined.contiguous(memory_format=torch.channels_last)
        # diffusers adds these to the skip connections, as the residuals of a ControlNet.
        *skips, middle = encoded.skips or (None,)
        output: Tensor = self.unet(
            joined,
            timestep,
            encoded.tokens_BTD,
            # With `class_embed_type="projection"` diffusers takes real numbers in place of class labels.
            class_labels=encoded.facts_BF,
            down_block_additional_residuals=tuple(skips) or None,
            mid_block_additional_residual=middle,
        ).sample
        return output.float()

    def forward(
        self,
        noisy_BChw: Tensor,
        timestep_B: Tensor,
        mask_BHW: Tensor,
        peak_BHW: Tensor,
        background_B2HW: Tensor,
        keep_mask_B: Tensor | None = None,
        keep_background_B: Tensor | None = None,
        facts_BF: Tensor | None = None,
        keep_facts_B: Tensor | None = None,
    ) -> Tensor:
        """Return the prediction (B, C, h, w) float32: noise or velocity, by the config of the scheduler."""
        planes = (mask_BHW, peak_BHW, background_B2HW)
        encoded = self.conditioner(*planes, keep_mask_B, keep_background_B, facts_BF, keep_facts_B)
        return self.predict(noisy_BChw, timestep_B, encoded)


def build_denoiser(preset: str, target: str = "source", stretch: str = "asinh") -> Denoiser:
    """Return an untrained denoiser of a preset."""
    sizes = PRESETS[preset]
    arguments = sizes.conditioner | ({"sky_in_place": True} if sizes.places_sky(target) else {})
    conditioner = CONDITIONERS[sizes.conditioner_class](**arguments, target=target, stretch=stretch)
    return Denoiser(UNet2DConditionModel(**sizes.unet), conditioner)


def without_facts(denoiser: Denoiser) -> Denoiser:
    """Return an untrained denoiser of the same size without the inputs for beam, noise and survey."""
    unet, conditioner = dict(denoiser.unet.config), dict(denoiser.conditioner.config)
    unet |= {"class_embed_type": None, "projection_class_embeddings_input_dim": None}
    return Denoiser(
        UNet2DConditionModel.from_config(unet),  # type: ignore[attr-defined]
        type(denoiser.conditioner).from_config(conditioner | {"facts": 0}),
    )


def silence_facts(denoiser: Denoiser) -> None:
    """Set the weights of the facts so that they change nothing; training may begin to use them."""
    embedding: Any = denoiser.unet.class_embedding
    with torch.no_grad():
        embedding.linear_2.weight.zero_()
        embedding.linear_2.bias.zero_()
        if denoiser.conditioner.facts_null is not None:
            denoiser.conditioner.facts_null.zero_()


def build_scheduler(preset: str) -> DPMSolverMultistepScheduler:
    """Return the noise schedule of a preset, as a DPM-Solver++ scheduler."""
    return DPMSolverMultistepScheduler(
        # Trailing steps begin at the last timestep, where a latent is nearest to the pure noise that the
        # sampler starts from. A preset may say otherwise.
        **{"timestep_spacing": "trailing", **PRESETS[preset].schedule},
        num_train_timesteps=1000,  # T of Ho et al. 2020 and of RADiff's code
        use_lu_lambdas=False,
    )


def save_denoiser(denoiser: Denoiser, scheduler: DPMSolverMultistepScheduler, folder: Path) -> None:
    """Write ``unet/``, ``conditioner/`` and ``scheduler/`` below ``folder``."""
    denoiser.unet.save_pretrained(folder / "unet", safe_serialization=True)
    denoiser.conditioner.save_pretrained(folder / "conditioner", safe_serialization=True)
    scheduler.save_pretrained(folder / "scheduler")


def load_denoiser(folder: Path) -> Denoiser:
    """Load a denoiser from its folder, without any download."""
    # Safetensors only: the older `.bin` files are pickles, which run code when they are loaded.
    only_local = {"use_safetensors": True, "local_files_only": True}
    unet = UNet2DConditionModel.from_pretrained(folder / "unet", **only_local)
    name = json.loads((folder / "conditioner" / "config.json").read_text())["_class_name"]
    conditioner = CONDITIONERS[name].from_pretrained(folder / "conditioner", **only_local)
    return Denoiser(unet, conditioner).eval()


def load_scheduler(folder: Path) -> DPMSolverMultistepScheduler:
    """Load the scheduler of a denoiser from the denoiser's folder, without any download."""
    return DPMSolverMultistepScheduler.from_pretrained(folder / "scheduler", local_files_only=True)
