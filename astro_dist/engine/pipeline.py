"""The declaration of a pipeline: its stages in order, its configuration, and the choice of stages for a run.

A declaration runs nothing; `astro_dist.runner.Runner` executes the stages over a run directory.
Contradictions are refused when the pipeline is declared, not when it is run.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from astro_dist.engine.config import Section, apply_set, load_yaml, nearest, validate
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.work import MachineConfig, Run, Stage

Tree = dict[str, Any]
RESERVED = frozenset(
    {"run", "train", "plan", "status", "logs", "cancel", "job", "verify", "repair", "regenerate", "doctor"}
    | {"init", "fork", "clean", "export", "challenge", "completion", "schema"}
)
"""Names of commands, present and to come; no stage and no pipeline may have one of these names."""


class PipelineConfig(Section):
    """Fields that every configuration has beside the sections of its pipeline."""

    pipeline: str = "radio"
    """Name of the pipeline that this configuration is for."""
    # No slash, and no leading dot or dash: the name becomes a folder and a word of command lines.
    name: str = Field("run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=200)
    """Name of the run; also of its directory below runs/ unless --out names another."""
    seed: int = Field(1, ge=0, lt=2**63)
    """Seed of all random numbers of the run."""
    machine: MachineConfig = MachineConfig()
    """Executor, workers and GPUs of the run; they change no byte of any product."""


def _nothing_left_out(config: Any) -> Mapping[str, str]:
    return {}


def _settled(config: Any) -> Any:
    return config


def _no_lines(run: Run) -> list[str]:
    return []


def _as_it_is(tree: Tree, names: Collection[str]) -> Tree:
    return tree


@dataclass(frozen=True)
class Pipeline:
    """A declared list of stages with its configuration.

    Attributes
    ----------
    name, help
        Its name in a YAML file, and one line for the command line.
    config
        Class of its configuration: a `PipelineConfig` with a section for each setting of its stages.
    stages
        All stages; each one comes after its inputs.
    left_out
        ``(config) -> {stage: why}``: the stages that a configuration leaves out, each with the reason as a
        sentence for the user.
    settle
        ``(config) -> config``: fills in defaults that depend on other sections, and refuses settings that
        contradict each other.
    include
        ``(tree, stages) -> tree``: changes an unchecked configuration so that the named stages are part of
        the run although the configuration would leave them out.
    shown
        ``{name: path in the run directory}`` of the results that a finished run prints.
    summary
        ``(run) -> lines``: what a finished run has made, in a few sentences for people.
    starter
        ``(path of a user's file) -> (name of a run, YAML)``: a short configuration for it; None where the
        pipeline has none.

    Raises
    ------
    ValueError
        The declaration contradicts itself.
    """

    name: str
    help: str
    config: type[PipelineConfig]
    stages: tuple[Stage, ...]
    left_out: Callable[[Any], Mapping[str, str]] = _nothing_left_out
    settle: Callable[[Any], Any] = _settled
    include: Callable[[Tree, Collection[str]], Tree] = _as_it_is
    shown: Mapping[str, str] = field(default_factory=dict)
    summary: Callable[[Run], list[str]] = _no_lines
    starter: Callable[[Path], tuple[str, str]] | None = None

    def __post_init__(self) -> None:
        fields, earlier = set(self.config.model_fields), set[str]()
        products: dict[str, str] = {}
        # All faults are collected: an author mends them at once instead of one at each import.
        faults = [] if {"name", "seed", "machine"} <= fields else ["its configuration is no PipelineConfig"]
        for stage in self.stages:
            if unknown := sorted(set(stage.inputs) - earlier):
                faults.append(f"{stage.name} reads {', '.join(unknown)}, which is no earlier stage")
            if unknown := sorted({*stage.sections, *stage.reads} - fields):
                faults.append(f"{stage.name} names {', '.join(unknown)}, which is no section")
            if stage.own and stage.own not in stage.sections:
                faults.append(f"{stage.name} has {stage.own} for its own section and does not depend on it")
            # Two stages with one product would replace each other's, with every run.
            if (other := products.setdefault(stage.product, stage.name)) != stage.name:
                faults.append(f"{other} and {stage.name} both publish {stage.product}")
            if stage.name in earlier:
                faults.append(f"two stages are called {stage.name}")
            if stage.name in RESERVED:
                faults.append(f"{stage.name} is a command and cannot be a stage")
            earlier.add(stage.name)
        if self.name in RESERVED:
            faults.append(f"{self.name} is a command and cannot be a pipeline")
        if faults:
            raise ValueError(f"pipeline {self.name}: {'; '.join(faults)}")

    def stage(self, name: str) -> Stage:
        """Return a stage by its name; raise `ConfigError` with the nearest name where there is none."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        names = [stage.name for stage in self.stages]
        raise ConfigError(f"the pipeline {self.name} has no stage {name!r}: {nearest(name, names)}")

    def resolve(self, tree: Mapping[str, Any]) -> Any:
        """Check a configuration and fill in the defaults that depend on other sections."""
        return self.settle(validate(self.config, {"pipeline": self.name, **tree}))

    def choose(
        self, config: Any, to: str | None = None, only: str | None = None, redo: Sequence[str] = ()
    ) -> list[Stage]:
        """Return the stages of a run in order; with ``to`` that stage and the stages it needs, no others.

        Raises
        ------
        ConfigError
            ``to``, ``only`` or ``redo`` names no stage, or one that is not part of this run.
        """
        absent = self.left_out(config)
        for name in (to, only, *redo):
            if name is not None and self.stage(name).name in absent:
                raise ConfigError(f"{name} is not part of this run: {absent[name]}")
        stages = [stage for stage in self.stages if stage.name not in absent]
        if to is None:
            return stages
        wanted = {to}
        # Inputs always come earlier in the list, so one backward pass finds inputs of inputs too.
        for stage in reversed(stages):
            if stage.name in wanted:
                wanted |= set(stage.inputs)
        for name in redo:
            if name not in wanted:
                order = [stage.name for stage in stages]
                place = "comes after" if order.index(name) > order.index(to) else "is not needed for"
                raise ConfigError(f"--redo {name}: {name} {place} {to}, where --to ends the run; change one")
        return [stage for stage in stages if stage.name in wanted]


def read_tree(path: Path, assignments: Sequence[str] = ()) -> Tree:
    """Return a configuration file as a mapping, with the changes of ``--set``; the file names the run."""
    # In this order: a name inside the file replaces that of the file.
    tree = {"name": path.stem, **load_yaml(path)}
    for assignment in assignments:
        tree = apply_set(tree, assignment)
    return tree
