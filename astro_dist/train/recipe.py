"""Recipes: the network, samples and settings of a training, as the pipelines declare them.

A `Recipe` is declared once and makes a stage (`astro_dist.train.stage.training_stage`) or a grid of trainings
(`astro_dist.train.grid`). A `Cell` is one training of a recipe, with settings, random streams, rows and
folders. The loop trains cells; no module of this room names a network or a kind of samples.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from astro_dist.engine.work import Run
from astro_dist.train.config import TrainingConfig

if TYPE_CHECKING:
    # For types only: naming a stage must not load torch.
    from torch import Tensor, nn

Figures = dict[str, "Tensor"]
"""Detached figures of a batch, for the curves."""

TASK = "train"
"""The task of a stage that is one training."""
SCALE_SAMPLES = 256
"""Number of samples that `Objective.publish` receives for measurements."""


class Samples(Protocol):
    """Training samples by their number; sample n is the same in every process and at every time.

    Validation samples may have a length: each of them is then used once, not the first 128.
    """

    def batch(self, first: int, count: int) -> Any:
        """Return samples ``first`` to ``first + count - 1`` in the form of the objective; picklable."""
        ...


class Objective(Protocol):
    """A network and the loss that its training minimises.

    Players of a game, as in a GAN, are parts of one network with one loss and one backward pass. The loss
    term of each player uses detached weights of the other player (``torch.func.functional_call``), so that
    each term moves its own player only.
    """

    network: Any
    """The ``nn.Module`` that is trained."""

    def loss(self, network: "nn.Module", batch: Any, device: str) -> "tuple[Tensor, Figures]":
        """Return the loss of a batch and detached figures for the curves.

        ``network`` is ``self.network``, on several ranks inside the wrapper of DDP or DeepSpeed.
        """
        ...

    def publish(self, folder: Path, batches: list[Any], device: str) -> dict[str, Any]:
        """Write the trained network, or its published part, below ``folder``; return facts for the record."""
        ...


Built = tuple[Objective, Samples, Samples | None]
"""Objective, training samples, and validation samples if there are any."""


@dataclass(frozen=True)
class Recipe:
    """The parts of one training. All functions are module functions, because recipes are pickled.

    Attributes
    ----------
    name
        Name of the training.
    section
        Class of the settings.
    inputs
        Earlier stages whose products the training reads.
    build
        ``(cell, device) -> (objective, samples, validation)``, with weights drawn from torch's generator.
    cost
        ``(settings) -> (numbers in the published network, seconds of one core per 64 x 64 sample)``.
    load
        ``(objective, folder)``: puts published weights into the network; None where trainings of this kind
        cannot begin with weights. Errors of the libraries pass through; `ConfigError` for weights that do not
        fit.
    first_file
        File that identifies a folder of such weights.
    refuse
        ``(run, folder)``: raises `ConfigError` for published weights that the settings cannot take; called
        before anything runs, so that most faults cost no torch.
    reads
        Further sections that ``refuse`` looks at.
    groups
        ``(network, settings) -> parameter groups`` of AdamW with betas of their own, ``rate``, a factor on
        the learning rate, and ``turn`` (k, n), by which a group moves in steps k, k + n, k + 2 n and so on
        only (not under ZeRO); one group of all parameters by default.
    one_file
        Whether ``start_from`` may also name one file of weights, which ``refuse`` and ``load`` then receive.
    averaged
        Prefix of the names of the parameters whose moving average is kept and published; all by default.
    sections
        Further sections that the samples, and so the weights, depend on.
    files
        ``(run) -> paths`` of further files that the settings name, as the weights of a frozen part.
    takes
        Names of trainings whose published weights it takes as well.
    keep_best
        Whether the weights of the validation with the lowest loss are published, not those of the last step.
    """

    name: str
    section: type[TrainingConfig]
    inputs: tuple[str, ...]
    build: "Callable[[Cell, str], Built]"
    cost: Callable[[Any], tuple[float, float]]
    load: Callable[[Any, Path], None] | None = None
    first_file: str = "config.json"
    refuse: Callable[[Run, Path], None] | None = None
    reads: tuple[str, ...] = ()
    groups: "Callable[[nn.Module, Any], list[dict[str, Any]]] | None" = None
    averaged: str = ""
    one_file: bool = False
    sections: tuple[str, ...] = ()
    files: Callable[[Run], list[Path]] | None = None
    keep_best: bool = False
    takes: tuple[str, ...] = ()

    @property
    def schema(self) -> int:
        """Version of what its stage publishes: 2 since weights that others can begin with state origins."""
        return 1 if self.load is None else 2


@dataclass(frozen=True)
class Cell:
    """One training: a recipe with settings, random streams, rows and folders.

    Attributes
    ----------
    recipe, run
        The recipe, and the run as the stage sees it.
    config
        Settings.
    task
        Name of the task; empty where the stage has one task only.
    key
        Key of the random streams, beside the seed: cells with the same key begin with the same weights.
    rows
        Argument by which the recipe chooses its samples; JSON-able.
    reads
        Files of the inputs that the training reads, by stage; all files of a stage for an empty list, and
        all files of all inputs where there is no mapping.
    """

    recipe: Recipe
    run: Run
    config: TrainingConfig
    task: str = ""
    key: tuple[int | str, ...] = ()
    rows: Any = None
    reads: Mapping[str, Sequence[str]] | None = None

    @property
    def name(self) -> str:
        """Name of the curve, the progress file and the checkpoints."""
        return f"{self.run.stage}-{self.task}" if self.task else self.run.stage

    @property
    def output(self) -> Path:
        """Folder of the published files: the output of the stage, or for a cell of a grid a folder in it."""
        return self.run.output / self.task if self.task else self.run.output
