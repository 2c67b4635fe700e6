"""The contract between stages and executors: `Stage`, `Task`, `Run`, `Crew` and `Executor`.

A stage is a plan and a function that does one task; everything else has a default. No stage depends on a
machine, and no executor on astronomy. A task may run twice and publishes the same bytes each time, so
that an executor may retry tasks and replace workers at any moment.
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
    """One unit of work; ``args`` are small, JSON-able and all that distinguishes one task from another."""

    name: str
    args: dict[str, Any] = field(default_factory=dict)


class MachineConfig(Section):
    """Executor, workers and GPUs of a run; no setting here changes a byte of any product."""

    executor: Literal["serial", "processes", "ray"] = "processes"
    """Executor of the tasks: serial (in this process), processes or ray."""
    workers: int | None = Field(default=None, ge=1)
    """Number of workers at once; by default one per GPU, else as many as the cores allow."""
    gpus: int | None = Field(default=None, ge=0)
    """Number of GPUs to use; by default all that are visible."""
    fake_gpus: bool = False
    """Schedule as if there were ``gpus`` GPUs while the work runs on the CPU; to test scheduling."""
    gpus_per_worker: float = Field(default=1.0, gt=0, le=1)
    """Share of a GPU that a worker takes; 0.5 puts two workers on each GPU."""
    task_limit_s: float | None = Field(default=None, gt=0)
    """Seconds of silence after which a worker is replaced; by default 20 usual tasks, at least 600 s."""
    ray_address: str | None = None
    """Address of a running Ray cluster to join; by default a private one is started and ended."""


@dataclass(frozen=True)
class Settings:
    """The part of a configuration that a stage may read: name, seed, machine and some sections.

    ``own`` names the section that threads, precision and ranks of the stage come from.
    """

    name: str
    seed: int
    machine: MachineConfig
    sections: Mapping[str, Section]
    own: str = ""

    @classmethod
    def of(cls, config: Any) -> "Settings":
        """Return the settings with all sections of a configuration."""
        # `machine` is no section that a stage can declare, since no byte may depend on it.
        sections = {key: value for key, value in config if isinstance(value, Section) and key != "machine"}
        return cls(config.name, config.seed, config.machine, sections)

    def narrow(self, names: Sequence[str], own: str) -> "Settings":
        """Return the settings with the named sections only; names without a section are left out."""
        kept = {name: self.sections[name] for name in names if name in self.sections}
        return replace(self, sections=kept, own=own)

    def section(self, kind: type[AnySection], name: str | None = None) -> AnySection:
        """Return the section of a class; ``name`` chooses where several sections are of one class.

        Raises
        ------
        StageError
            The stage has not declared such a section.
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
    """A run directory, its settings and the stage at hand, as every stage function receives them."""

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
        """Name of the run."""
        return self.settings.name

    @property
    def seed(self) -> int:
        """Seed of all random numbers: that of the stage's own section where it has one, else the run's."""
        return self.settings.seed if (own := getattr(self.own, "seed", None)) is None else int(own)

    @property
    def machine(self) -> MachineConfig:
        """Executor, workers and GPUs of the run; no byte of a product may depend on them."""
        return self.settings.machine

    def section(self, kind: type[AnySection], name: str | None = None) -> AnySection:
        """Return a section that the stage has declared, by its class, see `Settings.section`."""
        return self.settings.section(kind, name)

    @property
    def own(self) -> Section | None:
        """Section with threads, precision and ranks of the stage; None where there is none."""
        return self.settings.sections.get(self.settings.own)

    def having(self, section: Section) -> "Run":
        """Return the same run with ``section`` in the place of the section of the same class."""
        names = [name for name, value in self.settings.sections.items() if type(value) is type(section)]
        if not names:
            raise StageError(f"{self.stage} has not declared that it reads a {type(section).__name__}")
        sections = {**self.settings.sections, **dict.fromkeys(names, section)}
        return replace(self, settings=replace(self.settings, sections=sections))

    @property
    def output(self) -> Path:
        """Hidden file or folder that the stage fills; the runner renames it when the stage is complete."""
        final = self.root / self.target
        # The fingerprint keeps the outputs of different settings apart, and lets a begun one be found again.
        return final.with_name(f".{final.name}.{self.fingerprint[:12]}{PART}")

    @property
    def ledger(self) -> Ledger:
        """Records of this run directory."""
        return Ledger(self.root)

    @property
    def records(self) -> Records:
        """Task records of the stage at hand."""
        return self.ledger.records(self.stage, self.fingerprint)

    def product(self, name: str) -> Path:
        """Return the path of a published product, such as ``cutouts.zarr``."""
        return self.root / name

    def facts(self, stage: str) -> dict[str, Any]:
        """Return the figures that an earlier stage published, empty before its publication."""
        published = self.ledger.published(stage)
        return dict(published.facts) if published else {}

    def stream(self, *key: int | str) -> Any:
        """Return the random generator of the run's seed and ``key``; each stage names its own."""
        return stream(self.seed, *key)

    def progress(self, task: str, done: float, total: float, **facts: Any) -> None:
        """Write the progress of a long task, at most twice a second; the file is also a sign of life."""
        _report_progress(self.progress_path(task), self.stage, task, done, total, facts)

    def progress_path(self, task: str) -> Path:
        """Return the file that holds the progress of a task."""
        return self.root / "logs" / "progress" / f"{self.stage}-{task}.json"


@dataclass(frozen=True)
class Estimate:
    """Greatest cost of a stage, not ``exact`` before its inputs exist; the plan shows ``notes`` below it."""

    tasks: int
    bytes: int = 0
    files: int = 0
    memory_bytes: int = 0
    cpu_s: float = 0.0
    exact: bool = True
    notes: tuple[str, ...] = ()


def make_folder(run: Run) -> None:
    """Make the output of a stage a folder; a `Stage.prepare`."""
    run.output.mkdir(parents=True, exist_ok=True)


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


def _no_refusal(run: Run) -> None:
    return None


@dataclass(frozen=True)
class Stage:
    """A plan, the function that does one of its tasks, and the functions before and after the tasks.

    All functions are module functions or `functools.partial`s of such, because stages are pickled. A function
    of a module that imports more than settings is named by `astro_dist.engine.later.Later`.

    Attributes
    ----------
    name, product
        The stage's name and the one file or folder it publishes in the run directory.
    plan
        ``(run, results) -> tasks``; pure. Called again with the results when the named tasks are done, until
        every named task has a result; a stage may thus plan in rounds.
    run
        ``(state, task) -> result``; writes whole files, or disjoint byte ranges, below
        ``run.output``. May run twice. The result is small and JSON-able and states what was written,
        in the form that `astro_dist.engine.outputs` compares: ``sha256`` by file, ``ranges`` by file.
    prepare
        ``(run)``: creates the empty store in ``run.output`` that the tasks fill; idempotent.
    open
        ``(run) -> state``: opens weights and files, once in each worker; ``run`` receives the state.
    seal
        ``(run, results) -> results``: writes into files of the tasks what follows from the results alone
        (headers with sums), and states these bytes in the form of a task's result. Called before all files
        are read and compared; idempotent.
    finish
        ``(run, results) -> facts``: writes columns, catalogues and figures below ``run.output``; idempotent.
        Called after the files of the tasks were compared with their results. Sentences in the fact ``notes``
        are shown to the user; those in ``quarantined`` say what was left out, and end the command with 4.
    scratch
        Names below ``run.output`` that tasks write for ``finish`` and that are not part of the product.
    check
        ``(path) -> faults`` inside a published product, for products with checksums of their own.
    sources
        ``(run) -> paths`` of the user's files whose content enters the fingerprint.
    refuse
        ``(run)``: raises `ConfigError` for files of the user and settings that cannot lead to the product.
        Called by `plan` and `run` before any stage runs; what is refused after hours could be refused here.
    estimate
        ``(run) -> Estimate``, before anything runs.
    sections
        Names of the configuration sections that the bytes depend on.
    reads
        Names of further sections that the stage reads (for an estimate, an early refusal); no byte depends on
        them, unless through the inputs.
    own
        Name of the section with the threads, precision and ranks of the stage.
    inputs
        Names of the earlier stages whose products the stage reads.
    schema
        Version number, raised by hand when the code starts to make other bytes from the same settings.
    numerics
        ``(run) -> description`` of the machine, for stages whose bytes depend on the machine (torch); else
        None.
    gpu
        Whether a worker uses a GPU where there is one.
    gang
        Whether each task starts the ranks that the own section asks for, over all nodes of a job.
    stable
        Whether the product is equal byte for byte when it is made again.
    command
        Words of the command line that run this stage alone; by default the name of the stage.
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
    refuse: Callable[[Run], None] = _no_refusal
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
        """Words of the command line, after ``astro-dist``, that run this stage alone."""
        return " ".join(self.command or (self.name,))

    def threads(self, run: Run) -> int:
        """Return the threads per worker; they are a setting because they change float sums."""
        # A stage without a section of its own has one thread.
        return int(getattr(run.settings.sections.get(self.own), "threads", 1))

    def ranks(self, run: Run) -> int:
        """Return the number of processes that share a task; 1 unless the stage is a gang."""
        return int(getattr(run.settings.sections[self.own], "ranks", 1)) if self.gang else 1


@dataclass(frozen=True)
class Failure:
    """A task that was given up, and the reason."""

    task: str
    reason: str


class Crew(Protocol):
    """The open workers of one stage."""

    def execute(self, tasks: Sequence[Task], on_done: Callable[[Task, Result], None]) -> list[Failure]:
        """Do ``tasks`` in any order; return those that had to be given up.

        Each result is in the ledger before ``on_done`` is called with it.
        """
        ...


class Executor(Protocol):
    """A way to run workers: in this process, in processes of this machine or over Ray."""

    def crew(self, stage: Stage, run: Run) -> AbstractContextManager[Crew]:
        """Open workers for all rounds of a stage, and end them afterwards."""
        ...


# Of the module and not of `Run`, which is frozen and is pickled to every worker.
_last_report: dict[str, float] = {}
"""Time of the last report of each task of this process."""
_first_report: dict[str, tuple[float, float]] = {}
"""Progress and time of the first report of each task of this process, from which the rate is computed."""


def _report_progress(
    path: Path, stage: str, task: str, done: float, total: float, facts: dict[str, Any]
) -> None:
    now = time.monotonic()
    # The last report of a task is always written, so that the note does not stay short of the end.
    if done < total and now - _last_report.get(task, -1.0) < 0.5:
        return
    _last_report[task] = now
    # Less progress than at first: the task has begun again, and so does the measurement of its rate.
    if done < _first_report.get(task, (math.inf, now))[0]:
        _first_report[task] = done, now
    first, since = _first_report[task]
    rate = (done - first) / (now - since) if now > since else 0.0
    note = {"stage": stage, "task": task, "done": done, "total": total, "time": time.time(), "per_s": rate}
    note |= facts
    # A note that cannot be written is left out: a full disk must not fail the task here.
    with contextlib.suppress(OSError):
        replace_bytes(path, json.dumps(note).encode())


def for_stage(run: Run, stage: Stage, fingerprint: str) -> Run:
    """Return the run of one stage, with the sections that the stage declares."""
    settings = run.settings.narrow((*stage.sections, *stage.reads), stage.own)
    return replace(
        run,
        settings=settings,
        stage=stage.name,
        fingerprint=fingerprint,
        target=stage.product,
        inputs=stage.inputs,
    )
