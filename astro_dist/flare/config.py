"""The configuration of the pipeline `flare`."""

from typing import Literal

from astro_dist.engine.pipeline import PipelineConfig
from astro_dist.flare.classify_config import ClassifyConfig, CombineConfig, JudgeConfig
from astro_dist.flare.compare_config import CompareConfig
from astro_dist.flare.painter_config import (
    CaptionerConfig,
    ClipConfig,
    DiffusionConfig,
    PromptsConfig,
    UnidiffuserConfig,
    VaeConfig,
)
from astro_dist.flare.synthesise_config import SynthesiseConfig
from astro_dist.flare.upscale_config import AugmentConfig, UpscaleConfig, UpscalerConfig
from astro_dist.pictures.config import PicturesConfig
from astro_dist.report.config import PictureReportConfig


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
    prompts: PromptsConfig = PromptsConfig()
    """The prompts by which pictures of a class are asked for."""
    vae: VaeConfig = VaeConfig()
    """Training of the autoencoder in whose latents pictures are painted."""
    clip: ClipConfig = ClipConfig()
    """Training of the encoders of texts and pictures."""
    captioner: CaptionerConfig = CaptionerConfig()
    """Training of the decoder that writes captions."""
    unidiffuser: UnidiffuserConfig = UnidiffuserConfig()
    """Training of the network that paints, or the folder of a painter."""
    diffusion: DiffusionConfig | None = None
    """Training of a painter of classes; without this section pictures are painted from prompts."""
    synthesise: SynthesiseConfig | None = None
    """Painting of synthetic pictures; without this section there are none."""
    compare: CompareConfig = CompareConfig()
    """Gains of the training sets over each other, and the data of the figures."""
    report: PictureReportConfig = PictureReportConfig()
    """The report page."""
