"""What a training is made of, said by the pipeline that wants it; this room knows no network and no samples.

A `Recipe` is declared once and makes a stage (`astro_dist.train.stage.training_stage`) or a grid of
trainings (`astro_dist.train.grid`). A `Cell` is one training of it: settings, randomness, rows and folders.
The loop does cells and nothing else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from astro_dist.engine.work import Run
from astro_dist.train.config import TrainingConfig

if TYPE_CHECKING:
    from torch import Tensor, nn

Figures = dict[str, "Tensor"]
"""Detached figures of a batch, for the curves."""

SCALE_SAMPLES = 256
"""How many samples `Objective.publish` is given to measure with."""


class Samples(Protocol):
    """Training samples by their number: sample n is the same whoever asks for it, whenever."""

    def batch(self, first: int, count: int) -> Any:
        """Return samples ``first`` to ``first + count - 1`` as the objective wants them; may be pickled."""
        ...


class Objective(Protocol):
    """A network and the loss it is to minimise.

    Players of a game, as in a GAN, are parts of one network with one loss and one backward pass: each
    player's term of the loss uses the other's weights detached (``torch.func.functional_call``), so that it
    moves its own.
    """

    network: Any
    """The ``nn.Module`` that is trained."""

    def loss(self, network: "nn.Module", batch: Any, device: str) -> "tuple[Tensor, Figures]":
        """Return the loss of a batch and detached figures for the curves.

        ``network`` is ``self.network``, perhaps wrapped by whatever spreads it over ranks.
        """
        ...

    def publish(self, folder: Path, batches: list[Any], device: str) -> dict[str, Any]:
        """Write the trained network, or the part of it that is wanted, below ``folder``; return facts."""
        ...


Built = tuple[Objective, Samples, Samples | None]
"""What a recipe builds: the objective, and the samples of training and of validation, if there are any."""


@dataclass(frozen=True)
class Recipe:
    """What one training is made of; all functions are module functions, since recipes are pickled.

    Attributes
    ----------
    name
        Of the training.
    section
        Class of its settings.
    inputs
        The earlier stages whose products it reads.
    build
        ``(cell, device) -> (objective, samples, validation)``, with weights drawn from torch's generator.
    cost
        ``(settings) -> (numbers in the published network, seconds of one core per 64 x 64 sample)``.
    load
        ``(objective, folder)``: puts published weights into the network; None where no training of this
        kind begins with weights. It raises what the libraries raise, or `ConfigError`.
    first_file
        The file by which a folder of such weights is known.
    groups
        ``(network, settings) -> parameter groups`` of AdamW with betas of their own and ``rate``, a factor
        on the learning rate; one group of all parameters by default.
    averaged
        How the names of the parameters begin whose moving average is kept and published; all by default.
    """

    name: str
    section: type[TrainingConfig]
    inputs: tuple[str, ...]
    build: "Callable[[Cell, str], Built]"
    cost: Callable[[Any], tuple[float, float]]
    load: Callable[[Any, Path], None] | None = None
    first_file: str = "config.json"
    groups: "Callable[[nn.Module, Any], list[dict[str, Any]]] | None" = None
    averaged: str = ""


@dataclass(frozen=True)
class Cell:
    """One training: a recipe with its settings, its randomness, its rows and its folders.

    Attributes
    ----------
    recipe, run
        What is trained, and the run as the stage sees it.
    config
        Its settings.
    task
        The task that does it; empty where it is the only one of its stage.
    key
        What its randomness belongs to, beside the seed: cells of one key begin with the same weights.
    rows
        What the recipe chooses its samples by, JSON-able.
    """

    recipe: Recipe
    run: Run
    config: TrainingConfig
    task: str = ""
    key: tuple[int | str, ...] = ()
    rows: Any = None

    @property
    def name(self) -> str:
        """What its curve, its progress and its checkpoints are called."""
        return f"{self.run.stage}-{self.task}" if self.task else self.run.stage

    @property
    def output(self) -> Path:
        """The folder it publishes into: the stage's output, or a folder of its own in it."""
        return self.run.output / self.task if self.task else self.run.output
