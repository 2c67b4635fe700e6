"""The five recipes of the radio pipeline.

Autoencoder, diffusion model and model of masks belong to the generator; feature encoder and segmenter belong
to the evaluation. Their functions are imported when a network is trained.
"""

from functools import partial
from typing import Any

from astro_dist.engine.later import Later
from astro_dist.models.judges import JUDGES
from astro_dist.models.presets import PRESETS
from astro_dist.radio.config import (
    AutoencoderConfig,
    ByolConfig,
    DiffusionConfig,
    MasksTrainingConfig,
    SegmenterConfig,
)
from astro_dist.radio.weights import refuse_diffusion, refuse_weights
from astro_dist.train.recipe import Recipe
from astro_dist.train.stage import training_stage


def _cost(presets: Any, name: str, config: Any) -> tuple[float, float]:
    """Return the cost of training ``name`` at the preset of the settings, see `Recipe.cost`."""
    size, seconds = presets[config.preset].costs[name]
    return size, seconds


_AUTOENCODER = Recipe(
    "autoencoder",
    AutoencoderConfig,
    ("cutouts",),
    Later("astro_dist.radio.builders:build_autoencoder"),
    partial(_cost, PRESETS, "autoencoder"),
    Later("astro_dist.radio.builders:load_autoencoder"),
    refuse=partial(refuse_weights, "autoencoder"),
)
RECIPES = {
    recipe.name: recipe
    for recipe in (
        _AUTOENCODER,
        Recipe(
            "diffusion",
            DiffusionConfig,
            ("cutouts", "autoencoder"),
            Later("astro_dist.radio.builders:build_diffusion"),
            partial(_cost, PRESETS, "diffusion"),
            Later("astro_dist.radio.builders:load_diffusion"),
            "unet/config.json",
            refuse=partial(refuse_diffusion, _AUTOENCODER),
            reads=("cutouts", "autoencoder"),
        ),
        Recipe(
            "masks",
            MasksTrainingConfig,
            ("cutouts",),
            Later("astro_dist.radio.builders:build_masks"),
            partial(_cost, PRESETS, "masks"),
            Later("astro_dist.radio.builders:load_masks"),
            refuse=partial(refuse_weights, "masks"),
        ),
        Recipe(
            "byol",
            ByolConfig,
            ("cutouts",),
            Later("astro_dist.radio.builders:build_byol"),
            partial(_cost, JUDGES, "byol"),
        ),
        Recipe(
            "segmenter",
            SegmenterConfig,
            ("cutouts",),
            Later("astro_dist.radio.builders:build_segmenter"),
            partial(_cost, JUDGES, "segmenter"),
        ),
    )
}
# In the order of the recipes above.
AUTOENCODER, DIFFUSION, MASKS, BYOL, SEGMENTER = (training_stage(recipe) for recipe in RECIPES.values())
