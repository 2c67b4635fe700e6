"""The configuration of the pipeline `flare`."""

from typing import Literal

from astro_dist.engine.pipeline import PipelineConfig
from astro_dist.pictures.config import PicturesConfig


class FlareConfig(PipelineConfig):
    """All settings of a run of the pipeline `flare`."""

    pipeline: Literal["flare"] = "flare"
    """Pipeline of this configuration."""
    pictures: PicturesConfig = PicturesConfig()
    """The pictures with their classes; without a folder or a file toys are drawn."""
