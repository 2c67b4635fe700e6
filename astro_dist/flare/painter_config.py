"""Settings of the painters: prompts, a UniDiffuser by its parts or its folder, and the painter of classes."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from astro_dist.engine.config import Section
from astro_dist.models.class_presets import ClassPainterName
from astro_dist.models.painter_presets import PainterName
from astro_dist.train.config import Fraction, Positive, Steps, TrainingConfig

CLASS = "CLS"
"""Word of a template that stands for the class."""


class PromptsConfig(Section):
    """The prompts by which pictures of a class are asked for."""

    templates: Annotated[tuple[str, ...], Field(min_length=1)] = ("A realistic image of CLS in space",)
    """Prompts with CLS in the place of the class. The networks learn all of them; each picture is painted
    with one that its stream chooses."""

    @field_validator("templates")
    @classmethod
    def _check_class(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        for template in templates:
            if CLASS not in template:
                raise ValueError(f"the template {template!r} does not name the class; write {CLASS} for it")
        return templates

    def fill(self, label: str) -> list[str]:
        """Return the prompts of a class."""
        return [template.replace(CLASS, label.replace("_", " ")) for template in self.templates]


class PainterTrainingConfig(TrainingConfig):
    """Settings that the trainings of the painter's parts share. Samples are whole pictures."""

    preset: PainterName = "tiny"
    """Size of the networks: tiny, small, or paper for that of the published UniDiffuser."""
    turns: bool = True
    """Whether pictures are shown in all eight turns and flips; false where up and down mean something."""
    threads: Positive = 1
    """CPU threads per rank; a setting, because the number of threads changes the last bits of sums. Small
    networks gain nothing from a second one where other work shares the cores."""


class VaeConfig(PainterTrainingConfig):
    """Training of the autoencoder in whose latents pictures are painted."""

    steps: Steps = 1500
    """Optimiser steps."""
    batch_size: Positive = 16
    """Pictures per step, over all ranks together."""
    kl_weight: Annotated[float, Field(ge=0)] = 1e-3
    """Weight of the KL term; the term is a mean over the latent's numbers."""


class ClipConfig(PainterTrainingConfig):
    """Training of text and image encoder, which bring a picture and its prompt together."""

    steps: Steps = 300
    """Optimiser steps."""
    batch_size: Positive = 64
    """Pictures per step, over all ranks together."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Peak learning rate; it rises over the first steps and falls as a cosine to a hundredth."""


class CaptionerConfig(PainterTrainingConfig):
    """Training of the decoder that writes a prompt again from its encoding."""

    steps: Steps = 300
    """Optimiser steps."""
    noise: Annotated[float, Field(ge=0)] = 0.3
    """Standard deviation of the noise on an encoding of unit deviation, as painted texts are not exact."""


class UnidiffuserConfig(PainterTrainingConfig):
    """Training of the network of joint noise prediction, or a painter that is there already."""

    folder: str | None = None
    """Folder of a painter in the layout of UniDiffuserPipeline, or flare for that of the package, which knows
    the toy classes. Then no other part is trained, and steps is 0 unless given: more steps fine-tune."""
    tune: Literal["whole", "low_rank"] = "whole"
    """What fine-tuning changes: the whole network, or factors of low rank that are added to its attention."""
    rank: Positive = 8
    """Rank of the factors of tune low_rank."""
    steps: Steps = 3000
    """Optimiser steps; 0 takes the painter of folder as it is."""
    batch_size: Positive = 64
    """Pictures per step, over all ranks together."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Peak learning rate; it rises over the first steps and falls as a cosine to a hundredth."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay per step of the moving average of the weights; the average is published."""
    clean_text: Fraction = 0.5
    """Fraction of the samples whose text has no noise, as when a picture is painted from a prompt."""
    clean_picture: Fraction = 0.15
    """Fraction of the samples whose picture has no noise, as when a caption is drawn."""
    lost: Fraction = 0.1
    """Fraction of the samples whose text is noise alone, as guidance needs it; of others the picture is."""
    text_weight: Annotated[float, Field(ge=0)] = 0.25
    """Weight of the text's noise in the loss, beside 1 for that of the picture."""

    @model_validator(mode="before")
    @classmethod
    def _settle_steps(cls, tree: Any) -> Any:
        if not isinstance(tree, dict) or tree.get("folder") is None:
            return tree
        return {"steps": 0, **tree}

    @model_validator(mode="after")
    def _check_start(self) -> Self:
        if self.folder is None and self.steps == 0:
            raise ValueError("no steps and no folder would publish noise; give one of them")
        if self.folder is None and self.tune == "low_rank":
            raise ValueError("tune low_rank changes a painter that is there already; give its folder")
        if max(self.clean_text, self.clean_picture) + self.lost > 1:
            raise ValueError(
                f"clean_text {self.clean_text} or clean_picture {self.clean_picture}, and lost {self.lost}, "
                "are more than all samples; lower them"
            )
        return self


class DiffusionConfig(PainterTrainingConfig):
    """Training of a painter that is given a class, not a text, in place of the UniDiffuser."""

    preset: ClassPainterName = "tiny"
    """Size of the network: tiny or small."""
    steps: Steps = 3000
    """Optimiser steps."""
    lr: Annotated[float, Field(gt=0)] = 1.5e-3
    """Peak learning rate; it rises over the first steps and falls as a cosine to a hundredth."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.998
    """Decay per step of the moving average of the weights; the average is published."""
    lost: Fraction = 0.1
    """Fraction of the samples whose class the network is not told, as guidance needs it."""
