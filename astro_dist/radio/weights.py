"""Initial weights compared with the settings before anything runs, as far as that goes without a network.

The weights of the package are compared by their settings only. Those of a user are then compared tensor by
tensor with the networks that they are for (`astro_dist.radio.networks.check_weights`), which loads torch.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import sha256_file
from astro_dist.engine.later import Later
from astro_dist.engine.work import Run
from astro_dist.models.foreign import HEADER_BYTES, WEIGHTS, check_settings, lacks_facts, read_settings
from astro_dist.models.presets import PRESETS, Preset
from astro_dist.radio.config import AutoencoderConfig, DiffusionConfig, GeneratorTrainingConfig
from astro_dist.store.config import CutoutsConfig
from astro_dist.train.recipe import Recipe
from astro_dist.train.start import SHIPPED, find_start

LATENTS = "latents.json"
"""File beside a diffusion model with the sha256 of the autoencoder whose latents the model was trained on."""


def refuse_weights(name: str, run: Run, folder: Path) -> None:
    """Refuse weights of another kind or size than the settings say; a `Recipe.refuse`."""
    config = run.section(GeneratorTrainingConfig, name)
    preset = PRESETS[config.preset]
    if name == "diffusion" and lacks_facts(folder, preset.facts):
        preset = preset.without_facts()
    for part, kind, ours in _parts(name, preset):
        check_settings(folder / part, kind, ours, name)
    if SHIPPED not in folder.parents:
        Later("astro_dist.radio.networks:check_weights")(name, run, folder)


def refuse_diffusion(autoencoder: Recipe, run: Run, folder: Path) -> None:
    """Refuse a diffusion model for other stamps, or for the latents of another autoencoder than the run's."""
    refuse_weights("diffusion", run, folder)
    stretch = run.section(CutoutsConfig).stretch
    check_target(folder, {"target": run.section(DiffusionConfig).target, "stretch": stretch})
    start_from = run.section(AutoencoderConfig).start_from
    path = None if start_from is None else find_start(autoencoder, start_from) / WEIGHTS
    # Published in float32: the digest of weights in half precision is not that of the run's autoencoder.
    if path is not None and path.is_file() and _is_float32(path):
        check_latents(folder, {"autoencoder_sha256": sha256_file(path)})


def check_latents(folder: Path, ours: Mapping[str, Any]) -> None:
    """Refuse a diffusion model whose note names another autoencoder."""
    note = folder / LATENTS
    if note.is_file() and read_settings(note, "diffusion") != ours:
        raise ConfigError(
            f"diffusion.start_from: {folder} was trained on the latents of another autoencoder than that of "
            "this run; take both models from one run directory"
        )


def check_target(folder: Path, wanted: Mapping[str, Any]) -> None:
    """Refuse a diffusion model of another target or stretch than the settings say."""
    theirs = read_settings(folder / "conditioner" / "config.json", "diffusion")
    for name, value in wanted.items():
        if name in theirs and theirs[name] != value:
            raise ConfigError(
                f"diffusion.start_from: {folder} has the {name} {str(theirs[name])[:40]}, the settings say "
                f"{value}; make them agree"
            )


def _is_float32(path: Path) -> bool:
    with path.open("rb") as file:
        # A safetensors file: 8 bytes with the length of the header, then the header in JSON.
        header = file.read(min(8 + int.from_bytes(file.read(8), "little"), HEADER_BYTES))
    return not any(kind in header for kind in (b'"F16"', b'"BF16"', b'"F64"'))


def _parts(name: str, preset: Preset) -> list[tuple[str, str, dict[str, Any]]]:
    """Return folder, class and settings of each network of a model."""
    if name == "autoencoder":
        return [("", preset.autoencoder_class, preset.autoencoder)]
    if name == "masks":
        return [("", "MaskDenoiser", {"unet": preset.masks})]
    conditioner = ("conditioner", preset.conditioner_class, preset.conditioner)
    return [("unet", "UNet2DConditionModel", preset.unet), conditioner]
