"""The stage `train superres`; its functions are imported when they are used."""

from typing import Any

from astro_dist.engine.later import Later
from astro_dist.enhance.superres_config import SuperresConfig
from astro_dist.models.super_presets import SUPER
from astro_dist.train.recipe import Recipe
from astro_dist.train.stage import training_stage


def _cost(config: Any) -> tuple[float, float]:
    preset = SUPER[config.preset]
    size, seconds = preset.cost
    # Weights and work grow with the square of the channels.
    factor = ((config.width or preset.width) / preset.width) ** 2
    return size * factor, seconds * factor


RECIPE = Recipe(
    "superres",
    SuperresConfig,
    ("pictures", "cutouts"),
    Later("astro_dist.enhance.superres:build"),
    _cost,
    Later("astro_dist.enhance.superres:load"),
    refuse=Later("astro_dist.enhance.superres:refuse"),
    reads=("pictures", "maps", "cutouts"),
    one_file=True,
    takes=("upscaler",),
)
SUPERRES = training_stage(RECIPE)
