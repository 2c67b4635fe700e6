"""Settings of upscaling and of augmentation."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from astro_dist.engine.config import Section
from astro_dist.engine.errors import ConfigError
from astro_dist.models.device import Precision
from astro_dist.models.upscalers import UPSCALERS, WINDOW_PIX, EnlargerName, Scale, UpscalerName
from astro_dist.pictures.config import PicturesConfig
from astro_dist.train.config import Positive, Steps, TrainingConfig

# The same as in `astro_dist.pictures.degradations`, whose module imports Pillow.
DegradationName = Literal["bicubic", "real"]
AugmentName = Literal["flip", "jitter", "flip_jitter", "crop", "turn", "perspective"]


class AugmentConfig(Section):
    """How pictures are changed into further ones of their class."""

    kinds: Annotated[tuple[AugmentName, ...], Field(min_length=1)] = (
        "jitter",
        "flip",
        "flip_jitter",
        "crop",
        "perspective",
    )
    """Changes in the order of the copies; after the last comes the first again, with other numbers."""


class UpscalerConfig(TrainingConfig):
    """Training of the network that enlarges pictures, SwinIR."""

    preset: UpscalerName = "tiny"
    """Size of the network: tiny, light, or M and L, whose sizes are those of the published models."""
    scale: Scale = 2
    """Factor by which pictures are enlarged, 2 or 4."""
    degradation: DegradationName = "bicubic"
    """How training pictures are made small: by bicubic reduction, or really: blur, noise and JPEG too."""
    steps: Steps = 2000
    """Optimiser steps; 0 takes the weights of start_from as they are."""
    batch_size: Positive = 8
    """Crops per step, over all ranks together."""
    lr: Annotated[float, Field(gt=0)] = 2e-3
    """Peak learning rate, by default lower for larger presets; it rises over the first steps and falls as a
    cosine to a hundredth."""
    threads: Positive = 1
    """CPU threads per rank; a setting, because the number of threads changes the last bits of sums. Small
    networks gain little from a second one."""

    @model_validator(mode="before")
    @classmethod
    def _settle_rate(cls, tree: Any) -> Any:
        preset = tree.get("preset") if isinstance(tree, dict) else None
        # A list or a mapping, which is no preset, cannot be looked up.
        if not isinstance(preset, str) or preset not in UPSCALERS:
            return tree
        return {"lr": UPSCALERS[preset].lr, **tree}

    @model_validator(mode="after")
    def _check_crop(self) -> Self:
        if self.crop_pix % (WINDOW_PIX * self.scale):
            raise ValueError(
                f"crop_pix {self.crop_pix} is no multiple of {WINDOW_PIX * self.scale}, the window of the "
                f"network at scale {self.scale}; give such a multiple"
            )
        return self


class UpscaleConfig(Section):
    """Upscaling of all pictures, and the figures that judge it."""

    later: ClassVar[frozenset[str]] = frozenset({"samples", "calls"})
    # What it decides is in the settings of the training.
    unmarked = frozenset({"with_"})

    with_: EnlargerName | None = Field(None, alias="with")
    """The network: swinir, which train upscaler trains, or superres, which draws samples, by default with the
    weights of the package; null takes whichever upscaler.start_from holds."""
    micro_batch: Positive = 4
    """Pictures that the network enlarges at once; the last bits depend on it."""
    tile_pix: Annotated[int, Field(ge=WINDOW_PIX)] = 512
    """Longest side that is enlarged in one piece; larger pictures in tiles of this side, without seams."""
    samples: Annotated[int, Field(ge=1, le=1024)] = 8
    """Samples whose mean is a picture, where the upscaler is a network of super-resolution."""
    calls: Annotated[int, Field(ge=1, le=10000)] = 15
    """Calls of such a network per sample."""
    shard: Annotated[int, Field(ge=1, le=1 << 20)] = 32
    """Pictures per shard file and task."""
    precision: Precision = "no"
    """no (float32), bf16, or auto: bf16 where the hardware computes in it."""
    threads: Positive = 1
    """CPU threads per worker; a setting, because the number of threads changes the last bits of sums."""


def settle_with(upscale: UpscaleConfig, upscaler: UpscalerConfig | None) -> UpscalerConfig | None:
    """Return the settings of a training whose network is the one that ``upscale.with`` names.

    Whether weights of the user are those of such a network is seen where they are read.

    Raises
    ------
    ConfigError
        The training would make another network; the message names both settings.
    """
    if upscale.with_ is None:
        return upscaler
    upscaler = upscaler or UpscalerConfig()
    if upscale.with_ == "swinir":
        return upscaler
    if upscaler.steps and "steps" in upscaler.model_fields_set:
        raise ConfigError(
            "upscale.with: train upscaler trains swinir, and superres comes as it is, from the package or "
            "from upscaler.start_from; set upscaler.steps to 0"
        )
    return upscaler.model_copy(update={"steps": 0, "start_from": upscaler.start_from or "enhance"})


def settle_crop(pictures: PicturesConfig, upscaler: UpscalerConfig) -> UpscalerConfig:
    """Return the settings with crops that pictures of this size have.

    Raises
    ------
    ConfigError
        The settings ask for larger ones; the message names both settings.
    """
    if upscaler.crop_pix <= pictures.size_pix:
        return upscaler
    unit = WINDOW_PIX * upscaler.scale
    if "crop_pix" in upscaler.model_fields_set or pictures.size_pix < unit:
        raise ConfigError(
            f"upscaler.crop_pix: crops of {upscaler.crop_pix} pixels do not fit into pictures of "
            f"{pictures.size_pix}; set it to a multiple of {unit}, or raise pictures.size_pix"
        )
    return upscaler.model_copy(update={"crop_pix": pictures.size_pix // unit * unit})
