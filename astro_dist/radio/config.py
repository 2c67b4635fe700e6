"""Settings of the trainings of the radio pipeline."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from astro_dist.models.judges import JudgeName
from astro_dist.models.presets import PRESETS, PresetName
from astro_dist.train.config import Fraction, Positive, Steps, TrainingConfig


class GeneratorTrainingConfig(TrainingConfig):
    """What the trainings of the generator's networks share."""

    preset: PresetName = "tiny"
    """The networks: tiny, small, improved, or those of RADiff's paper and of its code."""


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
    kl_weight: Annotated[float, Field(ge=0)] = 1e-3
    """Weight of the KL term, a mean over the latent's numbers, so that it does not change with crop_pix."""
    source_fraction: Fraction = 0.5
    """Fraction of the crops shown with their noise taken away, as the source target has it."""


class DiffusionConfig(GeneratorTrainingConfig):
    """Training of the latent diffusion model."""

    steps: Steps = 700
    """Optimiser steps; 0 takes the weights of start_from as they are."""
    mask_weight: Annotated[float, Field(ge=0)] = 4.0
    """Extra weight of object pixels in the loss."""
    target: Literal["source", "stamp"] = "source"
    """What it draws: objects on an empty sky (noise is added at assembly), or the whole stamp."""
    drop_mask: Fraction = 0.1
    """Fraction of the samples that are shown no mask."""
    drop_peak: Fraction = 0.1
    """Fraction of the samples that are not told how bright their objects are."""
    drop_background: Fraction = 0.1
    """Fraction of the samples that are shown no background."""
    drop_facts: Fraction = 0.1
    """Fraction of the samples that are not told beam, noise and survey; for presets that are told."""
    drop_together: bool = False
    """Whether all samples of a batch lose a condition together, as in RADiff's code."""
    own_background: Fraction = 0.5
    """Fraction of the backgrounds that are the crop's own sky; the others come from another cutout. For whole
    stamps, which are to continue the sky they are shown, the default is all."""
    cache_latents: bool = False
    """Encode a cutout once for each of its turns and cut crops out of that, at multiples of 4 pixels: pays
    where the autoencoder is large and the training long."""

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
    """Side of the square crops that are trained on: a cutout's, so that whole masks are learnt."""
    source_bias: Fraction = 0.0
    """Fraction of the crops that must contain a pixel of an object."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Peak learning rate; it rises over the first steps and falls as a cosine to a hundredth."""


class ByolConfig(TrainingConfig):
    """Training of the feature encoder that `evaluate` measures distances with."""

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
    """How far the second view of a crop is shifted at most, along each axis."""
    brightness_dex: Annotated[float, Field(ge=0)] = 0.1
    """Each view is brightened or dimmed by up to so many powers of ten."""
    noise_snr: Annotated[float, Field(ge=0)] = 0.3
    """Each view gets white noise of up to so many times the cutout's own."""

    @model_validator(mode="after")
    def _check_target(self) -> Self:
        if self.strategy == "zero3" or self.accumulate > 1:
            raise ValueError(
                "byol moves a second network once per whole batch and between steps, which zero3 and "
                "accumulate do not let it; use ddp, zero1 or zero2 and accumulate 1"
            )
        return self


class SegmenterConfig(TrainingConfig):
    """Training of the segmenter that `evaluate` judges stamps with; it sees real cutouts only."""

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
