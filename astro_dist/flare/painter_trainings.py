"""The trainings of both painters, whose functions are imported when a network is trained.

The four of a UniDiffuser are autoencoder, encoders, captions, and joint noise prediction; prompts are part of
what the last three follow from. The painter of classes is one network.
"""

import importlib.util
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.later import Later
from astro_dist.engine.work import Estimate, Run, Stage
from astro_dist.flare.painter_config import (
    CaptionerConfig,
    ClipConfig,
    DiffusionConfig,
    PainterTrainingConfig,
    UnidiffuserConfig,
    VaeConfig,
)
from astro_dist.flare.painter_folder import check_folder, find_folder, folder_files
from astro_dist.models.class_presets import CLASS_PAINTERS
from astro_dist.models.painter_presets import PAINTERS
from astro_dist.pictures.config import PicturesConfig
from astro_dist.train.recipe import Recipe
from astro_dist.train.stage import estimate_training, refuse_start, training_stage


def _cost(name: str, config: Any) -> tuple[float, float]:
    """Return the cost of training ``name`` at the preset of the settings, see `Recipe.cost`."""
    if isinstance(config, DiffusionConfig):
        return CLASS_PAINTERS[config.preset].cost
    size, seconds = PAINTERS[config.preset].costs[name]
    return size, seconds


def _estimate(recipe: Recipe, run: Run) -> Estimate:
    # Samples are whole pictures, not crops.
    cost = estimate_training(recipe, run)
    config = run.section(recipe.section)
    return replace(cost, cpu_s=cost.cpu_s * (run.section(PicturesConfig).size_pix / config.crop_pix) ** 2)


def require_transformers() -> None:
    """Refuse to paint where the library of the text encoders is not installed."""
    if importlib.util.find_spec("transformers") is None:
        raise ConfigError("painting needs the package transformers: pip install 'astro_dist[flare]'")


def _refuse(recipe: Recipe, run: Run) -> None:
    pictures, config = run.section(PicturesConfig), run.section(recipe.section)
    if not isinstance(config, DiffusionConfig):
        require_transformers()
    refuse_start(recipe, run)
    if isinstance(config, UnidiffuserConfig) and (folder := find_folder(config)) is not None:
        check_folder(folder, pictures.size_pix, pictures.planes)
        return
    assert isinstance(config, PainterTrainingConfig)
    presets = CLASS_PAINTERS if isinstance(config, DiffusionConfig) else PAINTERS
    if pictures.size_pix % (multiple := presets[config.preset].multiple):
        raise ConfigError(
            f"pictures.size_pix {pictures.size_pix} is no multiple of {multiple}, which the preset "
            f"{config.preset} of {recipe.name} needs; change one of them"
        )


def _folder_files(run: Run) -> list[Path]:
    folder = find_folder(run.section(UnidiffuserConfig))
    return [] if folder is None else folder_files(folder)


def _stage(name: str, section: type[PainterTrainingConfig], build: Later, *inputs: str) -> Stage:
    recipe = Recipe(
        name,
        section,
        ("pictures", *inputs),
        build,
        partial(_cost, name),
        reads=("pictures",),
        sections=() if section is DiffusionConfig else ("prompts",),
        files=_folder_files if section is UnidiffuserConfig else None,
    )
    stage = training_stage(recipe)
    return replace(stage, refuse=partial(_refuse, recipe), estimate=partial(_estimate, recipe))


VAE = _stage("vae", VaeConfig, Later("astro_dist.flare.painter_builders:build_vae"))
CLIP = _stage("clip", ClipConfig, Later("astro_dist.flare.painter_builders:build_clip"))
CAPTIONER = _stage(
    "captioner", CaptionerConfig, Later("astro_dist.flare.painter_builders:build_captioner"), "clip"
)
UNIDIFFUSER = _stage(
    "unidiffuser",
    UnidiffuserConfig,
    Later("astro_dist.flare.painter_builders:build_unidiffuser"),
    *("vae", "clip", "captioner"),
)
DIFFUSION = _stage("diffusion", DiffusionConfig, Later("astro_dist.flare.class_training:build_diffusion"))
