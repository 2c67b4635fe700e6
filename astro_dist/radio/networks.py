"""Weights of a user compared with the networks of the settings, tensor by tensor, before any training."""

from pathlib import Path

import torch
from safetensors import safe_open

from astro_dist.engine.work import Run
from astro_dist.models.autoencoder import build_autoencoder
from astro_dist.models.denoiser import build_denoiser, without_facts
from astro_dist.models.foreign import WEIGHTS, check_finite, check_part, check_scheduler, lacks_facts
from astro_dist.models.masks import build_mask_denoiser
from astro_dist.models.presets import PRESETS
from astro_dist.radio.config import (
    AutoencoderConfig,
    DiffusionConfig,
    GeneratorTrainingConfig,
    MasksTrainingConfig,
)


def check_weights(name: str, run: Run, folder: Path) -> None:
    """Refuse weights that the network of the settings cannot take."""
    config = run.section(GeneratorTrainingConfig, name)
    # Without memory for the numbers: only names and shapes are compared.
    with torch.device("meta"):
        if isinstance(config, DiffusionConfig):
            denoiser = build_denoiser(config.preset, config.target)
            if lacks_facts(folder, PRESETS[config.preset].facts):
                denoiser = without_facts(denoiser)
            parts = {"unet": denoiser.unet, "conditioner": denoiser.conditioner}
        elif isinstance(config, MasksTrainingConfig):
            parts = {"": build_mask_denoiser(config.preset)}
        else:
            parts = {"": build_autoencoder(config.preset)}
    for part, network in parts.items():
        check_part(folder / part, network, name)
        with safe_open(folder / part / WEIGHTS, framework="pt") as file:
            # One tensor after the other, so that only one is in memory.
            check_finite(folder / part, ((key, file.get_tensor(key)) for key in file.keys()), name)  # noqa: SIM118
    if not isinstance(config, AutoencoderConfig):
        check_scheduler(folder, name)
