"""Settings of the training sets, of the judge and of the classifiers."""

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from astro_dist.engine.config import Section, nearest, validate
from astro_dist.engine.errors import ConfigError
from astro_dist.models.classifier_presets import NetworkName
from astro_dist.train.config import Positive, Steps, TrainingConfig

Share = Annotated[float, Field(ge=0, le=1)]
Part = Annotated[float, Field(gt=0, le=1)]
Level = Literal["fine", "macro"]
_NAME = re.compile(r"(?!.*__)[A-Za-z0-9][A-Za-z0-9_-]{0,60}")


class ArmConfig(Section):
    """A training set: which real and which synthetic pictures it holds (eq. 7 and 8 of FLARE)."""

    alpha: Share = 1.0
    """Share of the k versions of each real picture: the first round(alpha k), the picture itself first."""
    beta: Share = 0.0
    """Share of the synthetic pictures of each real one: the first round(beta k_synthetic)."""
    k: Positive | None = None
    """Versions of each real picture, by default combine.k; 1 for the pictures as they are."""
    real: Literal["pictures", "upscaled"] = "pictures"
    """Pixels of the real pictures: as they are, or upscaled."""
    synthetic: Literal["synthetic", "held_back"] = "synthetic"
    """What beta is a share of: painted pictures, or versions of real ones that fraction holds back."""
    fraction: Part = 1.0
    """Share of the real pictures of each class that are used, with the painted pictures of these."""
    per_class: Positive | None = None
    """Real pictures of each class, at most."""
    draw: Annotated[int, Field(ge=0)] = 0
    """Number of the random order in which fraction and per_class take the first pictures."""
    fill: bool = False
    """Whether synthetic pictures only fill up rare classes to the size of the largest."""
    as_published: bool = False
    """The leak of FLARE's code: copies of all pictures, also of the test split, are dealt to training."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.alpha == self.beta == 0:
            raise ValueError("alpha and beta are both 0, which is no picture at all; raise one of them")
        if self.synthetic == "held_back" and (self.fraction == 1 or self.beta == 0):
            raise ValueError("synthetic held_back needs a fraction below 1, and beta above 0")
        return self

    def shares(self, k: int, k_synthetic: int) -> tuple[tuple[str, float, int], ...]:
        """Return name, value and whole of both shares."""
        return ("alpha", self.alpha, self.k or k), ("beta", self.beta, k_synthetic)

    @property
    def painted(self) -> bool:
        """Whether the set holds painted pictures."""
        return self.beta > 0 and self.synthetic == "synthetic"


PAPER_ARMS = {
    "Raw_LR": ArmConfig(k=1),
    "Raw_Aug_LR": ArmConfig(),
    "Raw_Aug_HR": ArmConfig(real="upscaled"),
    "T2I_Aug_HR": ArmConfig(alpha=0, beta=1, real="upscaled"),
    "FLARE": ArmConfig(alpha=0.5, beta=1, real="upscaled"),
}
"""The training sets of FLARE's tables."""


class CombineConfig(Section):
    """The training sets that are compared."""

    # With 6 and 5 the sizes of the paper agree: 3 n + 5 n = 8 x 1,616 = 12,928.
    k: Positive = 6
    """Versions of each real picture: itself and k - 1 augmented copies."""
    k_synthetic: Positive = 5
    """Synthetic pictures for each real one, by default as many as synthesise.k."""
    arms: Mapping[str, ArmConfig] = {}
    """The sets by name; by default those of FLARE's tables for which this run has the pictures."""

    @model_validator(mode="after")
    def _check_arms(self) -> Self:
        for name, arm in self.arms.items():
            if not _NAME.fullmatch(name):
                raise ValueError(f"arms: {name!r} is no name; use letters, digits, - and single _")
            for kind, share, k in arm.shares(self.k, self.k_synthetic):
                if share > 0 and take(share, k) == 0:
                    raise ValueError(
                        f"arms.{name}: {kind} {share:g} of {k} rounds to no picture; raise it to "
                        f"{math.ceil(50 / k) / 100:g}, or set it to 0"
                    )
        return self

    def count(self, name: str, pictures: int) -> tuple[int, int]:
        """Return how many real and synthetic rows a set has for a number of real pictures, at most."""
        arm = self.arms[name]
        used = take(arm.fraction, pictures)
        of_real, of_synthetic = take(arm.alpha, arm.k or self.k), take(arm.beta, self.k_synthetic)
        parents = pictures - used if arm.synthetic == "held_back" else used
        return used * of_real, parents * of_synthetic


def take(share: float, count: int) -> int:
    """Return the rounded share of a count, halves upwards."""
    # Python rounds halves to even numbers: 2.5 to 2, and 3.5 to 4.
    return math.floor(share * count + 0.5)


def settle_arms(config: CombineConfig, upscaler: bool, painted: int) -> CombineConfig:
    """Fill in the default sets, and refuse sets of pictures that the run does not make.

    Parameters
    ----------
    upscaler
        Whether pictures are upscaled.
    painted
        Synthetic pictures that are painted for each real one; 0 for none.

    Raises
    ------
    ConfigError
        Naming the set.
    """
    if painted and "k_synthetic" not in config.model_fields_set:
        config = config.model_copy(update={"k_synthetic": painted})
    if painted and config.k_synthetic > painted:
        raise ConfigError(
            f"combine.k_synthetic: {config.k_synthetic} synthetic pictures of each real one are asked for, "
            f"and {painted} are painted; lower it, or raise synthesise.k"
        )
    if not config.arms:
        arms = {
            name: arm
            for name, arm in PAPER_ARMS.items()
            if (painted or not arm.painted) and (upscaler or name != "Raw_Aug_HR")
        }
        if not upscaler:
            # The paper's HR stands for upscaled, which these are not.
            arms = {n.replace("HR", "LR"): a.model_copy(update={"real": "pictures"}) for n, a in arms.items()}
        return config.model_copy(update={"arms": arms})
    for name, arm in config.arms.items():
        if arm.real == "upscaled" and not upscaler:
            raise ConfigError(
                f"combine.arms.{name}.real: nothing is upscaled in this run; add a section upscaler, or set "
                "it to pictures"
            )
        if arm.painted and not painted:
            raise ConfigError(
                f"combine.arms.{name}.beta: nothing is painted in this run; add a section synthesise, or "
                "set beta to 0"
            )
    return config


class ClassifierConfig(TrainingConfig):
    """Settings that the trainings of all classifiers share."""

    preset: NetworkName = "tiny"
    """The network: tiny, probe (frozen features), resnet50, googlenet, densenet121 or vit_b_16."""
    start_from: str | None = None
    """Initial weights: a file of torchvision's (.pth, .safetensors), or the folder of a classifier; a last
    layer for another number of classes begins anew."""
    steps: Steps = 300
    """Optimiser steps; the weights of the validation with the lowest loss are published."""
    batch_size: Positive = 32
    """Pictures per step, over all ranks together."""
    crop_pix: Annotated[int, Field(ge=32, multiple_of=16)] = 64
    """Side in pixels that all pictures are brought to, a multiple of 16."""
    lr: Annotated[float, Field(gt=0)] = 2e-3
    """Peak learning rate; it rises over the first steps and falls as a cosine to a hundredth."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay per step of a moving average of the weights; 0 for none."""
    threads: Positive = 1
    """CPU threads per rank; a setting, because the number of threads changes the last bits of sums. Small
    networks gain nothing from a second one where other work shares the cores."""


class JudgeConfig(ClassifierConfig):
    """Training of the judge of synthetic pictures, a classifier of the real training split."""

    copies: Positive = 6
    """Versions of each picture: itself and augmented copies."""


class OutsideConfig(Section):
    """Pictures from elsewhere on which the classifiers are tested too."""

    path: str
    """Folder with a folder per class, or with a table of names and classes, as pictures.path."""
    table: str | None = None
    """Table in the folder with names and classes, as pictures.table."""
    how: Literal["map", "probe"] = "map"
    """map: their classes stand for ours; probe: a linear layer on the frozen features of the classifier is
    fitted to the training part of these pictures, for their own classes."""
    map: Mapping[str, str] = {}
    """Our class for each of theirs; by default the class of the same name. Others are left out."""

    @field_validator("map", mode="before")
    @classmethod
    def _name_numbers(cls, given: Any) -> Any:
        # The classes of HDF5 and npz files are numbers, which are written without quotes.
        return {str(theirs): ours for theirs, ours in given.items()} if isinstance(given, Mapping) else given


class ClassifyConfig(ClassifierConfig):
    """The grid of classifiers: every set, network, level and seed."""

    networks: Annotated[tuple[NetworkName, ...], Field(min_length=1)] = ("tiny",)
    """The networks."""
    per_network: Mapping[NetworkName, Mapping[str, Any]] = {}
    """Settings of this section that a network has for itself, such as {vit_b_16: {lr: 0.0001}}."""
    levels: Annotated[tuple[Level, ...], Field(min_length=1)] = ("fine",)
    """fine for the classes themselves, macro for pictures.macro."""
    arms: tuple[str, ...] = ()
    """The training sets; by default all of combine.arms."""
    seeds: Positive = 3
    """Trainings of each cell; a gain is a mean over pairs of the same seed."""
    equal: Literal["steps", "epochs"] = "steps"
    """What is equal in all arms: the steps; or how often each row is seen, where steps are those of the
    smallest set."""
    keep: Literal["weights", "predictions"] = "weights"
    """Whether the cells keep their weights, or their predictions alone."""
    test: Mapping[str, OutsideConfig] = {}
    """Further test sets by name."""

    @model_validator(mode="after")
    def _check_networks(self) -> Self:
        for field in ("networks", "levels", "arms"):
            if len(set(getattr(self, field))) < len(getattr(self, field)):
                raise ValueError(f"{field}: one is named twice; name each once")
        for name in self.test:
            if not _NAME.fullmatch(name):
                raise ValueError(f"test: {name!r} is no name; use letters, digits, - and single _")
        for name, own in self.per_network.items():
            if wrong := sorted(own.keys() & {*GRID_FIELDS, "preset"}):
                raise ValueError(f"per_network.{name}.{wrong[0]}: no network has a {wrong[0]} of its own")
            try:
                validate(ClassifierConfig, {"preset": name, **own})
            except ConfigError as error:
                raise ValueError(f"per_network.{name}.{error}") from None
        return self


GRID_FIELDS = ("networks", "per_network", "levels", "arms", "seeds", "equal")
"""Fields that say which cells there are, and not how one is trained."""


def check_cells(config: ClassifyConfig, combine: CombineConfig, macro: bool) -> None:
    """Refuse sets that are not combined, and macro classes of pictures that have none.

    Raises
    ------
    ConfigError
        Naming the setting.
    """
    for name in config.arms:
        if name not in combine.arms:
            near = nearest(name, combine.arms)
            raise ConfigError(f"classify.arms: combine has no set {name!r}; {near}")
    if "macro" in config.levels and not macro:
        raise ConfigError(
            "classify.levels: macro needs the macro classes of the pictures; give pictures.macro, or leave "
            "macro out"
        )
