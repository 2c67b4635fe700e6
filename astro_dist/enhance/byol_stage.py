"""The stage `train byol`; its functions are imported when they are used."""

from typing import Any

from astro_dist.engine.later import Later
from astro_dist.enhance.byol_config import PictureByolConfig
from astro_dist.models.cleaner_presets import CLEANERS
from astro_dist.train.recipe import Recipe
from astro_dist.train.stage import training_stage


def _cost(config: Any) -> tuple[float, float]:
    # Two views through the online network, and two through the target.
    size, seconds = CLEANERS[config.preset].cost
    return size, 2 * seconds


RECIPE = Recipe(
    "byol",
    PictureByolConfig,
    ("pictures",),
    Later("astro_dist.enhance.byol:build"),
    _cost,
    Later("astro_dist.enhance.byol:load"),
    refuse=Later("astro_dist.enhance.byol:refuse"),
    reads=("pictures",),
)
BYOL = training_stage(RECIPE)
