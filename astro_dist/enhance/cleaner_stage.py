"""The stage `train cleaner`; its functions are imported when they are used."""

from typing import Any

from astro_dist.engine.later import Later
from astro_dist.enhance.cleaner_config import CleanerConfig
from astro_dist.models.cleaner_presets import CLEANERS
from astro_dist.train.recipe import Recipe
from astro_dist.train.stage import training_stage


def _cost(config: Any) -> tuple[float, float]:
    return CLEANERS[config.preset].cost


RECIPE = Recipe(
    "cleaner",
    CleanerConfig,
    ("pictures", "byol"),
    Later("astro_dist.enhance.cleaner:build"),
    _cost,
    Later("astro_dist.enhance.cleaner:load"),
    refuse=Later("astro_dist.enhance.cleaner:refuse"),
    reads=("pictures", "byol"),
    files=Later("astro_dist.enhance.cleaner:find_files"),
)
CLEANER = training_stage(RECIPE)
