"""The configuration of the pipeline `flare`."""

from typing import Literal

from astro_dist.engine.pipeline import PipelineConfig
from astro_dist.flare.classify_config import ClassifyConfig, CombineConfig, JudgeConfig
from astro_dist.flare.upscale_config import AugmentConfig, UpscaleConfig, UpscalerConfig
from astro_dist.pictures.config import PicturesConfig


class FlareConfig(PipelineConfig):
    """All settings of a run of the pipeline `flare`."""

    pipeline: Literal["flare"] = "flare"
    """Pipeline of this configuration."""
    pictures: PicturesConfig = PicturesConfig()
    """The pictures with their classes; without a folder or a file toys are drawn."""
    augment: AugmentConfig = AugmentConfig()
    """Changes of pictures into further ones of their class."""
    upscaler: UpscalerConfig | None = None
    """Training of the network that enlarges pictures; without this section pictures keep their size."""
    upscale: UpscaleConfig = UpscaleConfig()
    """Upscaling of all pictures, where there is an upscaler."""
    judge: JudgeConfig | None = None
    """Training of a judge of synthetic pictures; without this section there is none."""
    combine: CombineConfig = CombineConfig()
    """The training sets that are compared."""
    classify: ClassifyConfig = ClassifyConfig()
    """The classifiers that are trained on them."""
