"""Settings of the training, without labels, of the encoder that the cleaner begins with."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from astro_dist.engine.errors import ConfigError
from astro_dist.enhance.cleaner_config import CleanerConfig
from astro_dist.enhance.colourise_config import fit_crop
from astro_dist.models.cleaner_presets import CleanerName
from astro_dist.pictures.config import PicturesConfig
from astro_dist.train.config import Positive, Steps, TrainingConfig


class PictureByolConfig(TrainingConfig):
    """Training of the encoder of the cleaner on pictures without labels, by BYOL."""

    preset: CleanerName = "tiny"
    """Size of the encoder: that of the cleaner."""
    steps: Steps = 300
    """Optimiser steps; 0 takes the weights of start_from as they are."""
    batch_size: Positive = 32
    """Crops per step, over all ranks together."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Peak learning rate; it rises over the first steps and falls as a cosine to a hundredth."""
    target_decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Decay per step with which the target follows the online network."""
    shift_pix: Annotated[int, Field(ge=0, le=64)] = 8
    """Largest shift between both views of a crop along each axis; views are smaller than crops by this."""
    brightness: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Largest change of brightness, and of that of each colour, of a view, as a fraction."""
    noise: Annotated[float, Field(ge=0, le=1)] = 0.03
    """Largest white noise added to a view, where white is 1."""
    threads: Positive = 1
    """CPU threads per rank; a setting, because the number of threads changes the last bits of sums."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.strategy == "zero3" or self.accumulate > 1:
            raise ValueError(
                "byol updates a second network once per whole batch, between steps; neither zero3 nor "
                "accumulate above 1 allow that; use ddp, zero1 or zero2 and accumulate 1"
            )
        return self


def settle_byol(
    pictures: PicturesConfig, byol: PictureByolConfig, cleaner: CleanerConfig | None
) -> PictureByolConfig:
    """Return the settings with the size of the cleaner and crops that pictures of this size have.

    Raises
    ------
    ConfigError
        No cleaner begins with this encoder, or views would have fewer than 16 pixels a side.
    """
    if cleaner is None or cleaner.start_from is not None:
        reason = "there is no section cleaner" if cleaner is None else "cleaner.start_from takes its place"
        raise ConfigError(f"byol: trains the encoder that a cleaner begins with, and {reason}; leave it out")
    if "preset" in byol.model_fields_set and byol.preset != cleaner.preset:
        raise ConfigError(
            f"byol.preset: {byol.preset} is no encoder for cleaner.preset {cleaner.preset}; make them equal"
        )
    byol = fit_crop(pictures, byol.model_copy(update={"preset": cleaner.preset}), "byol")
    if (side := byol.crop_pix - byol.shift_pix) < 16:
        raise ConfigError(
            f"byol.shift_pix: {byol.shift_pix} leaves views of {side} pixels, fewer than 16; lower it"
        )
    return byol
