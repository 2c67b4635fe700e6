"""Settings of the trainings of the radio pipeline."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from astro_dist.models.judges import JudgeName
from astro_dist.models.presets import PRESETS, PresetName
from astro_dist.train.config import Fraction, Positive, Steps, TrainingConfig


class GeneratorTrainingConfig(TrainingConfig):
    """Settings that the trainings of the generator's networks share."""

    preset: PresetName = "tiny"
    """The networks: tiny, small, told (small, and the denoiser is told beam, noise and survey), improved, or
    those of RADiff's paper and of its code."""


class AutoencoderConfig(GeneratorTrainingConfig):
    """Training of the KL autoencoder."""

    steps: Steps = 1000
    """Optimiser steps; 0 takes the weights of start_from as they are."""
    batch_size: Positive = 8
    """Crops per step, over all ranks together; many small steps train this network best."""
    lr: Annotated[float, Field(gt=0)] = 3e-3
    """Peak learning rate; it rises over the first steps and falls as a cosine to a hundredth."""
    mask_weight: Annotated[float, Field(ge=0)] = 5.0
    """Extra weight of object pixels in the loss."""
    # RADiff's code weighs the sum by 1e-6, which for its latent of 3 x 32 x 32 is 3e-3 times the mean.
    kl_weight: Annotated[float, Field(ge=0)] = 1e-3
    """Weight of the KL term; the term is a mean over the latent's numbers and does not depend on crop_pix."""
    source_fraction: Fraction = 0.5
    """Fraction of the crops that are shown without their noise, as in the target `source`."""


class DiffusionConfig(GeneratorTrainingConfig):
    """Training of the latent diffusion model."""

    steps: Steps = 700
    """Optimiser steps; 0 takes the weights of start_from as they are."""
    mask_weight: Annotated[float, Field(ge=0)] = 4.0
    """Extra weight of object pixels in the loss."""
    target: Literal["source", "stamp"] = "source"
    """Content of the stamps: objects on an empty sky (noise is added at assembly), or the whole stamp."""
    drop_mask: Fraction = 0.1
    """Fraction of the samples whose condition lacks the mask."""
    drop_peak: Fraction = 0.1
    """Fraction of the samples whose condition lacks the brightness of the objects."""
    drop_background: Fraction = 0.1
    """Fraction of the samples whose condition lacks the background."""
    drop_facts: Fraction = 0.1
    """Fraction of the samples whose condition lacks beam, noise and survey, where the preset has these."""
    drop_together: bool = False
    """Whether a condition is dropped for all samples of a batch together, as in RADiff's code."""
    own_background: Fraction = 0.5
    """Fraction of the backgrounds that are the crop's own sky; the others come from another cutout. For whole
    stamps, which continue the sky of their background, the default is all."""
    cache_latents: bool = False
    """Whether each turn of a cutout is encoded once, and crops are cut out of the latent at multiples of 4
    pixels. This is faster where the autoencoder is large and the training long."""

    # Before validation: only here does a missing own_background differ from one that was given.
    @model_validator(mode="before")
    @classmethod
    def _settle_background(cls, tree: Any) -> Any:
        if not isinstance(tree, dict):
            return tree
        preset = PRESETS.get(str(tree.get("preset", "tiny")))
        whole = preset is not None and preset.places_sky(str(tree.get("target")))
        return {"own_background": 1.0, **tree} if whole else tree


class MasksTrainingConfig(GeneratorTrainingConfig):
    """Training of the model that draws masks."""

    steps: Steps = 4000
    """Optimiser steps; 0 takes the weights of start_from as they are."""
    batch_size: Positive = 16
    """Crops per step, over all ranks together."""
    crop_pix: Annotated[int, Field(ge=16, multiple_of=16)] = 128
    """Side of the square training crops in pixels: that of a cutout, so that whole masks are learnt."""
    source_bias: Fraction = 0.0
    """Fraction of the crops that must contain a pixel of an object."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Peak learning rate; it rises over the first steps and falls as a cosine to a hundredth."""


class ByolConfig(TrainingConfig):
    """Training of the feature encoder in whose features `evaluate` measures distances."""

    preset: JudgeName = "small"
    """Size of the network: small and paper have 512 features, tiny is for tests."""
    steps: Steps = 300
    """Optimiser steps; 0 takes the weights of start_from as they are."""
    batch_size: Positive = 64
    """Crops per step, over all ranks together."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Peak learning rate; it rises over the first steps and falls as a cosine to a hundredth."""
    target_decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Decay per step with which the target follows the online network."""
    shift_pix: Annotated[int, Field(ge=0)] = 8
    """Largest shift of the second view of a crop along each axis, in pixels."""
    brightness_dex: Annotated[float, Field(ge=0)] = 0.1
    """Largest change of brightness of a view, in powers of ten."""
    noise_snr: Annotated[float, Field(ge=0)] = 0.3
    """Largest white noise added to a view, in units of the cutout's own noise."""

    @model_validator(mode="after")
    def _check_target(self) -> Self:
        if self.strategy == "zero3" or self.accumulate > 1:
            raise ValueError(
                "byol updates a second network once per whole batch, between steps; neither zero3 nor "
                "accumulate above 1 allow that; use ddp, zero1 or zero2 and accumulate 1"
            )
        return self


class SegmenterConfig(TrainingConfig):
    """Training of the segmenter with which `evaluate` measures stamps; trained on real cutouts only."""

    preset: JudgeName = "small"
    """Size of the network: small is FC-DenseNet56, paper FC-DenseNet103, tiny is for tests."""
    steps: Steps = 600
    """Optimiser steps; 0 takes the weights of start_from as they are."""
    batch_size: Positive = 16
    """Crops per step, over all ranks together."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Peak learning rate; it rises over the first steps and falls as a cosine to a hundredth."""
    mask_weight: Annotated[float, Field(ge=0)] = 1.0
    """Extra weight of object pixels in the loss."""
