"""What a stage, a task, a run and an executor are.

A stage is a plan and a function that does one task; everything else has a default. Stages know
nothing about machines and executors nothing about astronomy. A task may run twice and publishes the
same bytes each time, so an executor may retry, lose and repeat workers as it likes.
"""

import contextlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import Field

from astro_dist.engine.config import AnySection, Section
from astro_dist.engine.errors import StageError
from astro_dist.engine.files import PART, replace_bytes
from astro_dist.engine.ledger import Ledger, Records, Result
from astro_dist.engine.seeds import stream

Results = Mapping[str, Result]


@dataclass(frozen=True)
class Task:
    """One unit of work: ``args`` are small, JSON-able and all that distinguishes it."""

    name: str
    args: dict[str, Any] = field(default_factory=dict)


class MachineConfig(Section):
    """Where a run executes. Nothing here changes a byte of any product."""

    executor: Literal["serial", "processes", "ray"] = "processes"
    """Who does the tasks: serial, processes or ray."""
    workers: int | None = Field(default=None, ge=1)
    """How many workers at once; by default one per GPU, else as many as the cores allow."""
    gpus: int | None = Field(default=None, ge=0)
    """How many GPUs to use; by default all that are visible."""
    fake_gpus: bool = False
    """Schedule as if ``gpus`` GPUs were there while the work runs on the CPU; to test scheduling."""
    gpus_per_worker: float = Field(default=1.0, gt=0, le=1)
    """The share of a GPU that a worker takes: 0.5 puts two workers on each."""
    task_limit_s: float | None = Field(default=None, gt=0)
    """Seconds of silence after which a worker is replaced; by default 20 usual tasks, at least 600 s."""
    ray_address: str | None = None
    """Address of a running Ray cluster to join; by default a private one is started and ended."""


@dataclass(frozen=True)
class Settings:
    """The part of a configuration that a stage sees: its name, seed and machine, and some sections.

    ``own`` names the section that threads, precision and ranks of the stage come from.
    """

    name: str
    seed: int
    machine: MachineConfig
    sections: Mapping[str, Section]
    own: str = ""

    @classmethod
    def of(cls, config: Any) -> "Settings":
        """Return all of a configuration."""
        sections = {key: value for key, value in config if isinstance(value, Section) and key != "machine"}
        return cls(config.name, config.seed, config.machine, sections)

    def narrow(self, names: Sequence[str], own: str) -> "Settings":
        """Return the same with the named sections only; those that the configuration lacks are left out."""
        kept = {name: self.sections[name] for name in names if name in self.sections}
        return replace(self, sections=kept, own=own)

    def section(self, kind: type[AnySection], name: str | None = None) -> AnySection:
        """Return the section of a class, or that of a name where several are of one class.

        Raises
        ------
        StageError
            The stage has not declared that it reads such a section.
        """
        for key, section in self.sections.items():
            if isinstance(section, kind) and name in (None, key):
                return section
        declared = ", ".join(self.sections) or "no section"
        raise StageError(
            f"{name or kind.__name__} was asked for and {declared} is all that is declared: name the section "
            "in the stage's `sections` or `reads`"
        )


@dataclass(frozen=True)
class Run:
    """A run directory, its settings and the stage at hand, as every stage function sees them."""

    root: Path
    settings: Settings
    stage: str = ""
    fingerprint: str = ""
    target: str = ""
    inputs: tuple[str, ...] = ()

    @classmethod
    def of(cls, root: Path, config: Any) -> "Run":
        """Return a run directory with a whole configuration and no stage at hand."""
        return cls(root, Settings.of(config))

    @property
    def name(self) -> str:
        """The name of the run."""
        return self.settings.name

    @property
    def seed(self) -> int:
        """The number from which all randomness follows."""
        return self.settings.seed

    @property
    def machine(self) -> MachineConfig:
        """Where the run executes; nothing in it may change a byte."""
        return self.settings.machine

    def section(self, kind: type[AnySection], name: str | None = None) -> AnySection:
        """Return a section that the stage has declared, by its class, see `Settings.section`."""
        return self.settings.section(kind, name)

    @property
    def own(self) -> Section | None:
        """The section that threads, precision and ranks of the stage come from."""
        return self.settings.sections.get(self.settings.own)

    def having(self, section: Section) -> "Run":
        """Return the same run with another section in the place of that of its class."""
        names = [name for name, value in self.settings.sections.items() if type(value) is type(section)]
        if not names:
            raise StageError(f"{self.stage} has not declared that it reads a {type(section).__name__}")
        sections = {**self.settings.sections, **dict.fromkeys(names, section)}
        return replace(self, settings=replace(self.settings, sections=sections))

    @property
    def output(self) -> Path:
        """The hidden file or folder the stage fills; the engine renames it when it is complete."""
        final = self.root / self.target
        return final.with_name(f".{final.name}.{self.fingerprint[:12]}{PART}")

    @property
    def ledger(self) -> Ledger:
        """The records of this run directory."""
        return Ledger(self.root)

    @property
    def records(self) -> Records:
        """The task records of the stage at hand."""
        return self.ledger.records(self.stage, self.fingerprint)

    def product(self, name: str) -> Path:
        """Return the path of a published product, such as ``cutouts.zarr``."""
        return self.root / name

    def facts(self, stage: str) -> dict[str, Any]:
        """Return the figures that an earlier stage published, empty when it has not yet."""
        published = self.ledger.published(stage)
        return dict(published.facts) if published else {}

    def stream(self, *key: int | str) -> Any:
        """Return the random generator of the run's seed and ``key``; each stage names its own."""
        return stream(self.seed, *key)

    def progress(self, task: str, done: float, total: float, **facts: Any) -> None:
        """Write how far a long task is, at most twice a second; the file is also its sign of life."""
        _report_progress(self.progress_path(task), self.stage, task, done, total, facts)

    def progress_path(self, task: str) -> Path:
        """Return the file that holds the progress of a task."""
        return self.root / "logs" / "progress" / f"{self.stage}-{task}.json"


@dataclass(frozen=True)
class Estimate:
    """What a stage will cost at most; ``exact`` is False where its inputs do not exist yet."""

    tasks: int
    bytes: int = 0
    files: int = 0
    memory_bytes: int = 0
    cpu_s: float = 0.0
    exact: bool = True


def _nothing(run: Run) -> None:
    return None


def _itself(run: Run) -> Any:
    return run


def _no_facts(run: Run, results: Results) -> dict[str, Any]:
    return {}


def _no_sources(run: Run) -> list[Path]:
    return []


def _nothing_sealed(run: Run, results: Results) -> Results:
    return {}


def _no_faults(path: Path) -> list[str]:
    return []


@dataclass(frozen=True)
class Stage:
    """A plan and what to do for one task of it.

    All functions are module functions or `functools.partial`s of such: stages are pickled.

    Attributes
    ----------
    name, product
        The stage's name and the one file or folder it publishes in the run directory.
    plan
        ``(run, results) -> tasks``; pure. It is asked again when its tasks are done, with their
        results, until it names no task without a result: a stage may thus plan in rounds.
    run
        ``(state, task) -> result``; writes whole files, or disjoint byte ranges, below
        ``run.output``. May run twice. The result is small and JSON-able and states what was written,
        in the form that `astro_dist.engine.outputs` compares: ``sha256`` by file, ``ranges`` by file.
    prepare
        Creates the empty store in ``run.output`` that the tasks fill; idempotent.
    open
        Once per worker: weights, file handles. Its value is the ``state`` of ``run``.
    seal
        ``(run, results) -> results``: writes what follows from the results alone into files of the tasks
        (headers with sums) and states that as a task does, before all files are read once and compared;
        idempotent.
    finish
        ``(run, results) -> facts``: columns, catalogues, pictures below ``run.output``; idempotent. What
        the tasks wrote was compared with their results just before.
    scratch
        Names below ``run.output`` that tasks write for ``finish`` and that are not part of the product.
    check
        ``(path) -> faults`` inside a published product, for products with checksums of their own.
    sources
        The user's files whose content enters the fingerprint.
    estimate
        ``(run) -> Estimate``, before anything runs.
    sections
        The names of the configuration sections that the result depends on.
    reads
        Further sections that it looks at (for an estimate, an early refusal): no byte follows from them,
        unless through its inputs.
    own
        Which of the sections its threads, precision and ranks come from.
    inputs
        The earlier stages whose products it reads.
    schema
        Raised by hand when the code starts to make other bytes from the same settings.
    numerics
        Describes the machine where it enters the bytes (stages that use torch), else None.
    gpu
        Whether a worker wants a GPU where there is one.
    gang
        Whether each task starts the ranks that its own section asks for, over all nodes of a job.
    stable
        Whether the product is equal byte for byte when it is made again.
    command
        The words of the command line that run this stage alone; its name where none are given.
    """

    name: str
    product: str
    plan: Callable[[Run, Results], Sequence[Task]]
    run: Callable[[Any, Task], Result]
    prepare: Callable[[Run], None] = _nothing
    open: Callable[[Run], Any] = _itself
    seal: Callable[[Run, Results], Results] = _nothing_sealed
    finish: Callable[[Run, Results], dict[str, Any]] = _no_facts
    scratch: tuple[str, ...] = ()
    check: Callable[[Path], list[str]] = _no_faults
    sources: Callable[[Run], list[Path]] = _no_sources
    estimate: Callable[[Run], Estimate] | None = None
    sections: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    own: str = ""
    inputs: tuple[str, ...] = ()
    schema: int = 1
    numerics: Callable[[Run], Result] | None = None
    gpu: bool = False
    gang: bool = False
    stable: bool = True
    command: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """What runs this stage alone, after ``astro-dist``."""
        return " ".join(self.command or (self.name,))

    def threads(self, run: Run) -> int:
        """Return the threads per worker; they are a setting because they change float sums."""
        return int(getattr(run.settings.sections.get(self.own), "threads", 1))

    def ranks(self, run: Run) -> int:
        """Return how many processes share a task: one, unless the stage is a gang's."""
        return int(getattr(run.settings.sections[self.own], "ranks", 1)) if self.gang else 1


@dataclass(frozen=True)
class Failure:
    """A task that is given up, and why."""

    task: str
    reason: str


class Crew(Protocol):
    """The open workers of one stage."""

    def execute(self, tasks: Sequence[Task], on_done: Callable[[Task, Result], None]) -> list[Failure]:
        """Do ``tasks`` in any order; return those that had to be given up.

        Each result is in the ledger before ``on_done`` hears of it.
        """
        ...


class Executor(Protocol):
    """Where workers come from."""

    def crew(self, stage: Stage, run: Run) -> AbstractContextManager[Crew]:
        """Open workers that stay open over all rounds of a stage, and end them afterwards."""
        ...


_last_report: dict[str, float] = {}
_first_report: dict[str, tuple[float, float]] = {}


def _report_progress(
    path: Path, stage: str, task: str, done: float, total: float, facts: dict[str, Any]
) -> None:
    now = time.monotonic()
    if done < total and now - _last_report.get(task, -1.0) < 0.5:
        return
    _last_report[task] = now
    if done < _first_report.get(task, (math.inf, now))[0]:
        _first_report[task] = done, now
    first, since = _first_report[task]
    rate = (done - first) / (now - since) if now > since else 0.0
    note = {"stage": stage, "task": task, "done": done, "total": total, "time": time.time(), "per_s": rate}
    note |= facts
    # Progress is a courtesy: a full disk must not end the work it speaks of.
    with contextlib.suppress(OSError):
        replace_bytes(path, json.dumps(note).encode())


def for_stage(run: Run, stage: Stage, fingerprint: str) -> Run:
    """Return the run as one stage sees it."""
    settings = run.settings.narrow((*stage.sections, *stage.reads), stage.own)
    return replace(
        run,
        settings=settings,
        stage=stage.name,
        fingerprint=fingerprint,
        target=stage.product,
        inputs=stage.inputs,
    )
