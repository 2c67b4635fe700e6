"""Objectives of the generator's two networks: the autoencoder and the latent diffusion model.

An objective owns the trained network, computes the loss and the plotted figures of a `Batch`, and publishes
the network as a folder in diffusers' layout.

Shape letters: B batch, S side of a crop in pixels, C h w latent.
"""

import json
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from astro_dist.engine.files import sha256_file
from astro_dist.models.autoencoder import build_autoencoder, encode, load_autoencoder
from astro_dist.models.denoiser import build_denoiser, build_scheduler, save_denoiser
from astro_dist.models.diffusers_types import AutoencoderKL
from astro_dist.models.foreign import WEIGHTS
from astro_dist.models.presets import LATENT_FACTOR, PRESETS
from astro_dist.models.radiff_code import CodeConditionEncoder
from astro_dist.radio.cards import write_autoencoder_card, write_diffusion_card
from astro_dist.radio.config import AutoencoderConfig, DiffusionConfig
from astro_dist.radio.samples import Batch
from astro_dist.radio.weights import LATENTS
from astro_dist.train.objectives import Reconstruction, diffuse, mean_inside, to_tensors
from astro_dist.train.recipe import Figures

KEPT_LATENTS = 100_000
"""Most latents of whole cutouts that are kept; each takes 16 KB for a cutout of 128 pixels."""


def latent_channels(preset: str) -> int:
    """Return the number of channels C of a preset's latent."""
    return int(PRESETS[preset].autoencoder["latent_channels"])


class AutoencoderObjective:
    """L1 loss in network range, heavier on objects, plus a KL divergence from N(0, 1)."""

    def __init__(self, config: AutoencoderConfig) -> None:
        self.config = config
        self.network = Reconstruction(build_autoencoder(config.preset))

    def loss(self, network: nn.Module, batch: Batch, device: str) -> tuple[Tensor, Figures]:
        tensors = to_tensors(batch, device)
        # The choice belongs to the sample and is not drawn here, so that ranks and resumed runs agree.
        bare_B = tensors["chance_B4"][:, 0] < self.config.source_fraction
        u_BSS = torch.where(bare_B[:, None, None], tensors["source_BSS"], tensors["full_BSS"])
        output_B1SS, kl = network(u_BSS[:, None], tensors["noise_BChw"])
        error_BSS = (output_B1SS[:, 0] - u_BSS).abs()
        object_BSS = tensors["mask_BSS"] > 0
        loss = (error_BSS * (1.0 + self.config.mask_weight * object_BSS)).mean() + self.config.kl_weight * kl
        return loss, {"mask_loss": mean_inside(error_BSS, object_BSS), "kl": kl.detach()}

    def publish(self, folder: Path, batches: list[Batch], device: str) -> dict[str, Any]:
        """Publish the autoencoder with the factor that brings its latents to unit standard deviation.

        The factor is 1 where the preset does not scale latents. The factor is measured on crops with their
        noise: without noise most of the sky is one constant, and the deviation says little about the latents
        of sources. Weights that were taken without training keep their factor, because a diffusion model may
        have been trained with it.
        """
        autoencoder = self.network.autoencoder.eval()
        if self.config.steps > 0:
            # `encode` multiplies by the factor: at 1 the deviation is that of the bare latents.
            autoencoder.register_to_config(scaling_factor=1.0)
            # Rombach et al. 2022 divide latents by their standard deviation; the code of RADiff does not.
            scale = self._measure_scale(batches, device) if PRESETS[self.config.preset].scale_latents else 1.0
            autoencoder.register_to_config(scaling_factor=scale)
        scale = autoencoder.config.scaling_factor
        autoencoder.save_pretrained(folder, safe_serialization=True)
        write_autoencoder_card(folder, self.config, scale)
        return {"latent_scale": scale}

    def _measure_scale(self, batches: list[Batch], device: str) -> float:
        autoencoder = self.network.autoencoder
        with torch.no_grad():
            images = (torch.from_numpy(batch.full_BSS[:, None]).to(device) for batch in batches)
            latents = torch.cat([encode(autoencoder, u_B1SS) for u_B1SS in images])
        # Six digits, so that the factor in the configuration does not depend on the last bits of a sum.
        return float(f"{1.0 / float(latents.double().std()):.6g}")


class DiffusionObjective:
    """Mean squared error of the predicted noise or velocity of a latent, heavier under objects."""

    def __init__(self, config: DiffusionConfig, autoencoder: Path, stretch: str, device: str) -> None:
        self.config = config
        self.network = build_denoiser(config.preset, config.target, stretch)
        # Beside the network and not part of it: checkpoints and averages hold none of its weights.
        self.autoencoder = load_autoencoder(autoencoder).requires_grad_(False).to(device)
        self.latents_of = {"autoencoder_sha256": sha256_file(autoencoder / WEIGHTS)}
        if isinstance(self.network.conditioner, CodeConditionEncoder):
            # Presets with this conditioner have an `AutoencoderKL`.
            self.network.conditioner.adopt(cast(AutoencoderKL, self.autoencoder))
        self.latents: dict[tuple[int, int], Tensor] = {}
        self.scheduler = build_scheduler(config.preset)
        self.alpha_bar_T = self.scheduler.alphas_cumprod.to(device)

    def loss(self, network: nn.Module, batch: Batch, device: str) -> tuple[Tensor, Figures]:
        tensors = to_tensors(batch, device)
        latent_BChw = self._encode(tensors)
        noisy_BChw, timestep_B, wanted = diffuse(
            self.scheduler, self.alpha_bar_T, latent_BChw, tensors["noise_BChw"], tensors["time_B"]
        )
        keep_mask, keep_peak, keep_background, keep_facts = self._keep(tensors["chance_B4"])
        output = network(
            noisy_BChw,
            timestep_B,
            tensors["mask_BSS"],
            # A peak of 0 on an object means "brightness not given" (`astro_dist.models.planes.paint_peaks`).
            tensors["peak_BSS"] * keep_peak[:, None, None],
            tensors["background_B2SS"],
            keep_mask,
            keep_background,
            tensors["facts_BF"],
            keep_facts,
        )
        # The squared error of Ho et al. 2020 (eq. 14, L_simple), here with a weight under objects.
        error_Bhw = ((output - wanted) ** 2).mean(1)
        # A pixel of the latent is under an object where any of its image pixels is.
        object_Bhw = functional.max_pool2d((tensors["mask_BSS"] > 0).float(), LATENT_FACTOR)
        loss = (error_Bhw * (1.0 + self.config.mask_weight * object_Bhw)).mean()
        return loss, {"mask_loss": mean_inside(error_Bhw, object_Bhw)}

    @torch.no_grad()
    def _encode(self, tensors: dict[str, Tensor]) -> Tensor:
        """Return the latents of a batch's crops.

        With ``cache_latents`` the crops are cut out of latents of whole turned cutouts. These are encoded
        once and kept, up to `KEPT_LATENTS`.
        """
        if "whole_BSS" not in tensors:
            u_BSS = tensors["source_BSS" if self.config.target == "source" else "full_BSS"]
            return encode(self.autoencoder, u_BSS[:, None])
        side, crops = self.config.crop_pix // LATENT_FACTOR, []
        origins = tensors["origin_B4"].tolist()
        for u_SS, (cutout, turn, y, x) in zip(tensors["whole_BSS"], origins, strict=True):
            key = (cutout, turn)
            if key not in self.latents:
                # Encoded one at a time: the last bits of a latent may depend on the batch around it, and a
                # resumed training fills its cache in other batches.
                self.latents[key] = encode(self.autoencoder, u_SS[None, None])[0]
            crops.append(self.latents[key][:, y : y + side, x : x + side])
        latent_BChw = torch.stack(crops)
        # Keys keep the order in which they were added. Dropped after the crops are cut, because one batch may
        # need more latents than are kept.
        for oldest in [*self.latents][: max(0, len(self.latents) - KEPT_LATENTS)]:
            del self.latents[oldest]
        return latent_BChw

    def _keep(self, chance_B4: Tensor) -> tuple[Tensor, ...]:
        """Return, for mask, peak, background and facts, which samples keep the condition (B,)."""
        # Dropped conditions make classifier-free guidance possible: Ho & Salimans 2022, algorithm 1.
        config = self.config
        dropped = (config.drop_mask, config.drop_peak, config.drop_background, config.drop_facts)
        if config.drop_together:
            # The first sample's numbers decide for all, each condition still on its own.
            chance_B4 = chance_B4[:1].expand_as(chance_B4)
        return (chance_B4 >= torch.tensor(dropped, device=chance_B4.device)).unbind(1)

    def publish(self, folder: Path, batches: list[Batch], device: str) -> dict[str, Any]:
        save_denoiser(self.network, self.scheduler, folder)
        (folder / LATENTS).write_text(json.dumps(self.latents_of) + "\n")
        write_diffusion_card(folder, self.config)
        return {"target": self.config.target}
