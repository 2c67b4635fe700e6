"""What a Slurm site is: the resources each stage asks for, the limits, how a job begins there.

A cluster file is YAML: ``resources`` hold for every stage, and what ``stages`` says of one replaces
them for it. Nothing in it changes a byte of any product.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
from pydantic import Field, field_validator

from astro_dist.engine.config import Section, load_yaml, nearest, validate
from astro_dist.engine.errors import ConfigError

_CHAIN = "array dependency error no-requeue output parsable requeue signal test-only wait wrap"
_SETTINGS = (
    "account cpus-per-task constraint exclusive gpus-per-node gres job-name mem nodes ntasks ntasks-per-node "
    "partition qos reservation time"
)
OWN_OPTIONS = frozenset(f"{_CHAIN} {_SETTINGS}".split(" "))
"""Options of sbatch that a run sets: those that carry the chain of jobs, and those that are settings here."""


class Resources(Section):
    """What the jobs of one stage ask Slurm for."""

    partition: str | None = None
    """Where the jobs wait; by default the site's own default."""
    account: str | None = None
    """Who pays."""
    qos: str | None = None
    """Quality of service."""
    constraint: str | None = None
    """Features a node must have, as `sbatch --constraint` takes them."""
    reservation: str | None = None
    """A reservation to run in."""
    nodes: int = Field(default=1, ge=1)
    """Nodes of one job: with more than one, Ray or the ranks of a training spread over them."""
    workers: int = Field(default=1, ge=1)
    """How many jobs, as one array, share the tasks of a stage of one node; 1 is a single job."""
    at_once: int | None = Field(default=None, ge=1)
    """How many of the array may run at the same time; by default all."""
    cpus: int = Field(default=8, ge=1)
    """Cores per node."""
    gpus: int = Field(default=0, ge=0)
    """GPUs per node."""
    gpu_type: str | None = None
    """Their type, where the site tells types apart."""
    memory_gb: float | None = Field(default=None, ge=0.1)
    """Memory per node; by default what the site gives."""
    minutes: int = Field(default=240, ge=1)
    """Time limit of one job. One that needs longer stops cleanly and is put back into the queue."""
    exclusive: bool = False
    """Whether the job wants its nodes for itself."""
    sbatch: tuple[str, ...] = ()
    """Further options for sbatch, such as ``--mail-type=FAIL``."""

    @field_validator("sbatch")
    @classmethod
    def _leave_the_chain_alone(cls, options: tuple[str, ...]) -> tuple[str, ...]:
        for option in options:
            named = re.fullmatch(r"--([a-z][a-z0-9-]*)(=.*)?", option)
            if named is None:
                raise ValueError(f"{option!r}: give a long option as --mail-type=FAIL")
            # Slurm takes abbreviations.
            own = sorted(name for name in OWN_OPTIONS if name.startswith(named[1]))
            if own:
                raise ValueError(f"{option!r}: a run sets {own[0]} itself, from the settings of this file")
        return options

    def further_options(self) -> list[tuple[str, str, str]]:
        """Return name, equals sign and value of each further option."""
        return [option.removeprefix("--").partition("=") for option in self.sbatch]


class Limits(Section):
    """What the site allows, checked before anything is queued; what is left out is not checked."""

    minutes: int | None = Field(default=None, ge=1)
    """The longest time limit of a job."""
    nodes: int | None = Field(default=None, ge=1)
    """The most nodes of a job."""
    cpus: int | None = Field(default=None, ge=1)
    """Cores of a node."""
    gpus: int | None = Field(default=None, ge=0)
    """GPUs of a node."""
    memory_gb: float | None = Field(default=None, gt=0)
    """Memory of a node."""
    array: int | None = Field(default=None, ge=1)
    """The most elements of an array."""
    jobs: int | None = Field(default=None, ge=1)
    """The most jobs of a user in the queue, each element of an array counted."""
    files: int | None = Field(default=None, ge=1)
    """The most files the quota leaves room for."""
    disk_gb: float | None = Field(default=None, gt=0)
    """The most disk the quota leaves room for."""
    gpu_hours: float | None = Field(default=None, gt=0)
    """The most GPU-hours a run may cost, as far as tasks on GPUs have told what it costs."""


class Site(Section):
    """A Slurm site, as one cluster file describes it."""

    resources: Resources = Resources()
    """What every stage asks for."""
    stages: dict[str, Resources] = Field(default_factory=dict)
    """What single stages ask for instead: only what differs."""
    limits: Limits = Limits()
    """What the site allows."""
    calibration: str | None = None
    """A short run made on this site, whose tasks tell `plan` how long others take; may name variables."""
    setup: tuple[str, ...] = ()
    """Lines of shell before the job proper: modules, environments; ``set -e`` ends it at a fault in them."""
    container: str | None = None
    """What to put before the command, such as ``singularity exec --nv i.sif``; it must pass signals on."""
    python: str | None = None
    """The interpreter on the compute nodes; by default the one that submits."""
    scratch: str = "${TMPDIR:-/tmp}"
    """Folder on a node for caches, which are kept out of the home directory; may name variables."""
    shared: tuple[str, ...] = ()
    """Folders that all nodes see; when given, a run directory elsewhere is refused."""
    stop_before_s: int = Field(default=180, ge=10)
    """How long before the time limit a job begins to stop; a fifth of the limit at most."""
    requeues: int = Field(default=50, ge=0)
    """How often a job may put itself back into the queue."""

    def of(self, stage: str) -> Resources:
        """Return what the jobs of a stage ask for."""
        return self.stages.get(stage, self.resources)


def load_site(path: Path, stages: set[str]) -> Site:
    """Read a cluster file; ``stages`` are the names that it may speak of."""
    if not path.exists():
        raise ConfigError(f"there is no cluster file {path}; configs/clusters/generic.yaml is one to copy")
    tree: dict[str, Any] = load_yaml(path)
    base, own = tree.get("resources") or {}, tree.get("stages") or {}
    if isinstance(base, dict) and isinstance(own, dict):
        for name in own:
            if name not in stages:
                raise ConfigError(f"{path}: stages: no stage is called {name!r}: {nearest(name, stages)}")
        tree = {**tree, "stages": {name: _merge(base, given) for name, given in own.items()}}
    try:
        return validate(Site, tree)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _merge(base: dict[str, Any], given: Any) -> Any:
    """Return what holds for one stage; what is no mapping is left for the check to refuse."""
    return {**base, **(given or {})} if isinstance(given or {}, dict) else given


def check_limits(site: Site, stages: Sequence[str]) -> None:
    """Refuse resources beyond what the site allows, naming both numbers."""
    limits, jobs = site.limits, 0
    for stage in stages:
        asked = site.of(stage)
        jobs += 1 + (asked.workers if asked.workers > 1 else 0)
        pairs = [(name, getattr(asked, name)) for name in ("minutes", "nodes", "cpus", "gpus", "memory_gb")]
        for name, wanted in [*pairs, ("array", asked.workers)]:
            allowed = getattr(limits, name)
            if wanted is not None and allowed is not None and wanted > allowed:
                setting = "workers" if name == "array" else name
                raise ConfigError(f"{stage}: {setting}: {wanted} is more than the site allows ({allowed})")
        if asked.workers > 1 and asked.nodes > 1:
            raise ConfigError(
                f"{stage}: workers: {asked.workers} jobs that share a stage have one node each, and nodes is "
                f"{asked.nodes}; set one of the two to 1"
            )
    if limits.jobs is not None and jobs > limits.jobs:
        raise ConfigError(
            f"the run is {jobs} jobs and the site allows {limits.jobs} in the queue; lower workers"
        )


def check_shared(root: Path, site: Site) -> None:
    """Refuse a run directory that the nodes cannot see, as far as that can be told from here."""
    folders = [Path(os.path.expandvars(folder)) for folder in site.shared]
    for folder in folders:
        if not folder.is_absolute() or "$" in str(folder):
            raise ConfigError(
                f"shared: {folder!s} is not a folder from the root on; is a variable in it not set here?"
            )
    folders = [folder.resolve() for folder in folders]
    if folders and not any(root.resolve().is_relative_to(folder) for folder in folders):
        raise ConfigError(
            f"{root} is not below {' or '.join(site.shared)}, which all nodes see; choose another --out"
        )
    there = next(path for path in (root, *root.parents) if path.exists())
    mounts = [
        partition
        for partition in psutil.disk_partitions(all=True)
        if there.is_relative_to(partition.mountpoint)
    ]
    kind = max(mounts, key=lambda mount: len(mount.mountpoint)).fstype if mounts else ""
    if kind in ("tmpfs", "ramfs"):
        raise ConfigError(
            f"{root} is in the memory of this machine ({kind}), where no node sees it; "
            "choose a shared folder with --out"
        )
    if not os.access(there, os.W_OK):
        raise ConfigError(f"cannot write to the run directory {root}; choose another with --out")
