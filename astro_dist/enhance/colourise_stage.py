"""The stage `train colourise`; its functions are imported when they are used."""

from typing import Any

from astro_dist.engine.later import Later
from astro_dist.enhance.colourise_config import ColouriseConfig
from astro_dist.models.colour_presets import COLOURISERS
from astro_dist.train.recipe import Recipe
from astro_dist.train.stage import training_stage


def _cost(config: Any) -> tuple[float, float]:
    return COLOURISERS[config.preset].cost


RECIPE = Recipe(
    "colourise",
    ColouriseConfig,
    ("pictures",),
    Later("astro_dist.enhance.colourise:build"),
    _cost,
    Later("astro_dist.enhance.colourise:load"),
    refuse=Later("astro_dist.enhance.colourise:refuse"),
    reads=("pictures",),
    groups=Later("astro_dist.enhance.colourise:groups"),
    averaged="generator.",
)
COLOURISE = training_stage(RECIPE)
