"""Settings of the colouring of grey pictures."""

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, model_validator

from astro_dist.engine.errors import ConfigError
from astro_dist.models.colour_presets import ColourName
from astro_dist.pictures.config import PicturesConfig
from astro_dist.train.config import Positive, Steps, TrainingConfig

Training = TypeVar("Training", bound=TrainingConfig)
Rate = Annotated[float, Field(gt=0)]
Beta = Annotated[float, Field(ge=0, lt=1)]


class ColouriseConfig(TrainingConfig):
    """Training of the network that colours grey pictures."""

    preset: ColourName = "tiny"
    """Size of both players: tiny, or small with the widths of pix2pix."""
    steps: Steps = 2000
    """Optimiser steps; 0 takes the weights of start_from as they are."""
    batch_size: Positive = 8
    """Crops per step, over all ranks together."""
    lr: Rate = 1e-3
    """Peak learning rate of the generator; it rises over the first steps and falls as a cosine to a
    hundredth."""
    discriminator_lr: Rate = 4e-4
    """Peak learning rate of the discriminator, which follows the same course."""
    betas: tuple[Beta, Beta] = (0.5, 0.999)
    """Decay rates of the moments of both players' AdamW."""
    loss: Literal["l1", "l2"] = "l1"
    """Error of the generator beside the game: mean absolute (l1) or mean squared (l2)."""
    weight: Annotated[float, Field(gt=0)] = 100.0
    """Factor on the error, beside the binary cross-entropy of the game."""
    gan: bool = True
    """Whether a discriminator judges the colours; without it the error alone is minimised."""
    chroma: Annotated[float, Field(ge=0.1, le=2)] | None = None
    """Share of the true chroma, of means over 8 x 8 pixels, that the published network gives training crops:
    after the last step its colours are multiplied by one factor, at most 16. null leaves them as they were
    learnt, without a discriminator nearer to grey than the truth."""
    players: Literal["together", "in_turn"] = "together"
    """Whether both players move in each step, or the discriminator in even and the generator in odd ones."""
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    """Largest norm of a step's gradient, by default 1 without a discriminator; null sets no limit. One limit
    would couple the players."""
    threads: Positive = 1
    """CPU threads per rank; a setting, because the number of threads changes the last bits of sums."""

    @model_validator(mode="before")
    @classmethod
    def _settle_clip(cls, tree: Any) -> Any:
        # One batch of strong colours may otherwise throw the network to where colours do not fit, and stay.
        if isinstance(tree, dict) and tree.get("gan") is False:
            return {"clip_norm": 1.0, **tree}
        return tree

    @model_validator(mode="after")
    def _check_game(self) -> Self:
        if self.strategy != "ddp":
            raise ValueError(
                f"{self.strategy} splits weights that the other player's loss reads; set strategy to ddp"
            )
        if self.chroma is not None and self.steps == 0:
            raise ValueError(
                "steps 0 takes weights as they are, and chroma changes them; leave one of both out"
            )
        if self.players == "in_turn" and not self.gan:
            raise ValueError("players in_turn needs a discriminator; set gan to true")
        return self


def settle_colourise(pictures: PicturesConfig, colourise: ColouriseConfig, maps: bool) -> ColouriseConfig:
    """Return the settings with crops that pictures of this size have.

    Raises
    ------
    ConfigError
        There are no colours to learn, or the settings ask for larger crops.
    """
    if maps or pictures.planes != 3:
        if maps:
            raise ConfigError("colourise: survey maps have no colours; leave this section out")
        raise ConfigError(
            "colourise: pictures.planes is 1, and a coloured picture has three; set it to 3, with which grey "
            "pictures are read too"
        )
    return fit_crop(pictures, colourise, "colourise")


def fit_crop(pictures: PicturesConfig, training: Training, name: str) -> Training:
    """Return the settings of a training with crops that pictures of this size have."""
    if training.crop_pix <= pictures.size_pix:
        return training
    if "crop_pix" in training.model_fields_set:
        raise ConfigError(
            f"{name}.crop_pix: crops of {training.crop_pix} pixels do not fit into pictures of "
            f"{pictures.size_pix}; lower it, or raise pictures.size_pix"
        )
    return training.model_copy(update={"crop_pix": pictures.size_pix // 16 * 16})
