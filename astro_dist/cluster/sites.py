"""Slurm sites: the resources that each stage asks for, the limits, and the set-up of jobs.

A cluster file is YAML: ``resources`` hold for every stage, and the settings of a stage under ``stages``
replace them for that stage. No setting of a cluster file changes a byte of any product.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from astro_dist.engine.config import Section, load_yaml, nearest, validate
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.work import Run, Stage, for_stage

_CHAIN = "array dependency error no-requeue output parsable requeue signal test-only wait wrap"
_SETTINGS = (
    "account cpus-per-task constraint exclusive gpus-per-node gres job-name mem nodes ntasks ntasks-per-node "
    "partition qos reservation time"
)
# Given again by a user, they would break the chain, the requeue or the logs of a run.
OWN_OPTIONS = frozenset(f"{_CHAIN} {_SETTINGS}".split(" "))
"""Options of sbatch that a run sets: those of the chain of jobs, and those that are settings here."""


Word = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]+$")]
"""Text on one line: a line break would end the option of an sbatch file that it stands in."""

COPY_MINUTES = 30
"""Longest time limit of a job that only copies weights."""
CLUSTERS = Path(__file__).parents[1] / "configs" / "clusters"
"""Cluster files of the package."""


class Resources(Section):
    """The resources that the jobs of one stage ask for."""

    partition: Word | None = None
    """Partition of the jobs; by default that of the site."""
    account: Word | None = None
    """Account that is charged."""
    qos: Word | None = None
    """Quality of service."""
    constraint: Word | None = None
    """Features a node must have, as `sbatch --constraint` takes them."""
    reservation: Word | None = None
    """Reservation in which the jobs run."""
    nodes: int = Field(default=1, ge=1)
    """Nodes of one job; with several nodes, Ray or the ranks of a training are spread over them."""
    workers: int = Field(default=1, ge=1)
    """Elements of an array of one-node jobs that share the tasks of the stage; 1 for a single job."""
    at_once: int | None = Field(default=None, ge=1)
    """Elements of the array that may run at the same time; by default all."""
    cpus: int = Field(default=8, ge=1)
    """Cores per node."""
    gpus: int = Field(default=0, ge=0)
    """GPUs per node."""
    gpu_type: Word | None = None
    """Type of the GPUs, on sites with several types."""
    memory_gb: float | None = Field(default=None, ge=0.1)
    """Memory per node; by default that of the site."""
    minutes: int = Field(default=240, ge=1)
    """Time limit of one job. A job that needs longer stops cleanly and is put back into the queue."""
    exclusive: bool = False
    """Whether the nodes of a job run no other job."""
    sbatch: tuple[str, ...] = ()
    """Further options for sbatch, such as ``--mail-type=FAIL``."""

    @field_validator("sbatch")
    @classmethod
    def _leave_the_chain_alone(cls, options: tuple[str, ...]) -> tuple[str, ...]:
        for option in options:
            # Short options such as -p are refused, because the list below holds long names only.
            named = re.fullmatch(r"--([a-z][a-z0-9-]*)(=.*)?", option)
            if named is None:
                raise ValueError(f"{option!r}: give a long option as --mail-type=FAIL")
            # sbatch accepts unambiguous abbreviations of long options.
            own = sorted(name for name in OWN_OPTIONS if name.startswith(named[1]))
            if own:
                raise ValueError(f"{option!r}: a run sets {own[0]} itself, from the settings of this file")
        return options

    def further_options(self) -> list[tuple[str, str, str]]:
        """Return name, equals sign and value of each further option."""
        return [option.removeprefix("--").partition("=") for option in self.sbatch]


class Limits(Section):
    """The limits of a site, checked before anything is queued; limits that are left out are not checked."""

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
    """The most files within the quota."""
    disk_gb: float | None = Field(default=None, gt=0)
    """The most disk space within the quota."""
    gpu_hours: float | None = Field(default=None, gt=0)
    """The most GPU-hours of a run; compared with times measured on GPUs only."""


class Site(Section):
    """A Slurm site, as one cluster file describes it."""

    resources: Resources = Resources()
    """Resources of every stage."""
    stages: dict[str, Resources] = Field(default_factory=dict)
    """Resources of single stages: only the settings that differ."""
    limits: Limits = Limits()
    """Limits of the site."""
    calibration: str | None = None
    """Run directory of a short run on this site, from which `plan` measures times; may name variables."""
    setup: tuple[str, ...] = ()
    """Lines of shell before the command, such as modules; with ``set -e`` a fault in them ends the job."""
    container: str | None = None
    """Words before the command, such as ``singularity exec --nv i.sif``; the program must pass signals on."""
    python: str | None = None
    """Python on the compute nodes; by default that of the submitting process."""
    scratch: str = "${TMPDIR:-/tmp}"
    """Folder on a node for caches, so that none are in the home directory; may name variables."""
    shared: tuple[str, ...] = ()
    """Folders that all nodes mount; with any, a run directory elsewhere is refused."""
    stop_before_s: int = Field(default=180, ge=10)
    """Seconds before the time limit at which a job begins to stop; at most a fifth of the limit."""
    requeues: int = Field(default=50, ge=0)
    """Most times that a job puts itself back into the queue."""

    def of(self, stage: str) -> Resources:
        """Return the resources of the jobs of a stage."""
        return self.stages.get(stage, self.resources)


def without_trainings(site: Site, run: Run, stages: Sequence[Stage]) -> Site:
    """Return a site on which trainings of no steps ask for what every stage asks for, and for a short time.

    They publish weights as they are. With several ranks, or with ``machine.gpus``, they keep their nodes and
    GPUs, which the run refuses to miss.
    """
    changed = {}
    for stage in stages:
        own = run.settings.sections.get(stage.own) if stage.gang else None
        if own is None or getattr(own, "steps", None) != 0:
            continue
        plain = stage.ranks(for_stage(run, stage, "")) == 1 and not run.machine.gpus
        asked = site.resources if plain else site.of(stage.name)
        short = {"minutes": min(asked.minutes, COPY_MINUTES), "workers": 1}
        changed[stage.name] = asked.model_copy(update=short | ({"nodes": 1} if plain else {}))
    return site.model_copy(update={"stages": {**site.stages, **changed}})


def load_site(path: Path, stages: set[str]) -> Site:
    """Return the site of a cluster file; ``stages`` are the allowed names of stages."""
    if not path.exists():
        hint = nearest(path.name, [one.stem for one in CLUSTERS.glob("*.yaml")])
        raise ConfigError(
            f"there is no cluster file {path}: {hint}; configs/clusters/generic.yaml is one to copy"
        )
    tree: dict[str, Any] = load_yaml(path)
    base, own = tree.get("resources") or {}, tree.get("stages") or {}
    if isinstance(base, dict) and isinstance(own, dict):
        for name in own:
            if name not in stages:
                raise ConfigError(f"{path}: stages: no stage is called {name!r}: {nearest(name, stages)}")
        # Merged before the validation, so that a stage's settings are checked together with the common ones.
        tree = {**tree, "stages": {name: _merge(base, given) for name, given in own.items()}}
    try:
        return validate(Site, tree)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _merge(base: dict[str, Any], given: Any) -> Any:
    """Return the resources of one stage; a value that is no mapping is returned for validation to refuse."""
    return {**base, **(given or {})} if isinstance(given or {}, dict) else given


def check_limits(site: Site, stages: Sequence[str]) -> None:
    """Raise `ConfigError` with both numbers for resources beyond the limits of the site."""
    # All jobs of a chain are in the queue at once, so they are counted together.
    limits, jobs = site.limits, 0
    for stage in stages:
        asked = site.of(stage)
        # Slurm counts every element of an array as a job.
        jobs += 1 + (asked.workers if asked.workers > 1 else 0)
        # The names of limits are those of the resources, except the array, which `workers` sets.
        pairs = [(name, getattr(asked, name)) for name in ("minutes", "nodes", "cpus", "gpus", "memory_gb")]
        for name, wanted in [*pairs, ("array", asked.workers)]:
            allowed = getattr(limits, name)
            if wanted is not None and allowed is not None and wanted > allowed:
                setting = "workers" if name == "array" else name
                raise ConfigError(
                    f"{stage}: {setting}: {wanted} is more than the site allows, {allowed}; lower it"
                )
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
    """Raise `ConfigError` for a run directory that nodes cannot reach, as far as this machine shows."""
    import psutil

    folders = [Path(os.path.expandvars(folder)) for folder in site.shared]
    for folder in folders:
        # `expandvars` leaves an unset variable as it is.
        if not folder.is_absolute() or "$" in str(folder):
            raise ConfigError(
                f"shared: {folder!s} is not a folder from the root on; is a variable in it not set here?"
            )
    folders = [folder.resolve() for folder in folders]
    if folders and not any(root.resolve().is_relative_to(folder) for folder in folders):
        raise ConfigError(
            f"{root} is not below {' or '.join(site.shared)}, which all nodes see; choose another --out"
        )
    # The longest mount point above the folder is the file system that holds the folder.
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
