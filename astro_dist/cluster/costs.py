"""The costs of a run on a site: jobs, time, GPU-hours, files and disk of each stage, against the limits.

Seconds per task are measured where tasks of the stage are done: in the calibration of the site, which is a
short run there, else in the run directory itself. Measured seconds are scaled by the ratio of the stage's
estimates for both runs, so that the short run may be smaller in any way. Without a measurement the seconds
are the estimate of the stage, which is for cores. Such times of GPU stages are upper bounds: they are marked
``<=`` and are not compared with the limit of GPU-hours.
"""

import contextlib
import json
import math
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from astro_dist.cluster.sites import Resources, Site
from astro_dist.engine.config import load_yaml, validate
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.foreign import expand_home
from astro_dist.engine.work import Estimate, Run, Stage, for_stage
from astro_dist.runner import Runner

FEWEST = 3
"""Done tasks that make a measurement; fewer where the stage has fewer."""
ON_GPU = "cuda: "
"""Prefix of the description of a worker's device where the device is a GPU."""


@dataclass(frozen=True)
class Cost:
    """The costs of one stage.

    ``measured`` is true where the time comes from done tasks, not from the estimate. ``bound`` is true where
    GPUs are asked for and the time is that of cores, an upper bound.
    """

    stage: str
    jobs: int
    wall_s: float
    gpu_hours: float
    files: int
    bytes: int
    measured: bool
    bound: bool


@dataclass(frozen=True)
class Pace:
    """Measured and estimated seconds of a task, and whether the task ran on a GPU."""

    seconds: float
    estimated_s: float
    on_gpu: bool


def estimate_costs(runner: Runner, site: Site) -> list[Cost]:
    """Return the costs of every stage that is not done.

    Raises
    ------
    ConfigError
        The site's calibration is not a run directory that this version can read.
    """
    short = _open_calibration(runner, site)
    rows = [row for row in runner.estimates() if row[1] != "done"]
    return [_cost(runner, short, stage, estimate, site.of(stage.name)) for stage, _, estimate in rows]


def check_costs(costs: Sequence[Cost], site: Site) -> None:
    """Raise `ConfigError` with both numbers when a run exceeds the limits of the site."""
    limits = site.limits
    for what, needed, allowed in (
        ("files", sum(c.files for c in costs), limits.files),
        ("GB of disk", sum(c.bytes for c in costs) / 1e9, limits.disk_gb),
        ("GPU-hours", sum(c.gpu_hours for c in costs if not c.bound), limits.gpu_hours),
    ):
        if allowed is not None and needed > allowed:
            raise ConfigError(
                f"the run needs up to {needed:.4g} {what} and the site's limits allow {allowed:.4g}; "
                "make it smaller, or raise the limit in the cluster file"
            )


def cost_lines(costs: Sequence[Cost], site: Site) -> list[str]:
    """Return the costs as a table of plain lines."""
    titles = f"{'jobs':>6} {'hours':>10} {'GPU-hours':>11} {'files':>8} {'disk GB':>9}"
    lines = [f"  {'stage':<12} {titles}  time from"]
    for cost in costs:
        limit_s = site.of(cost.stage).minutes * 60
        parts = f", {math.ceil(cost.wall_s / limit_s)} limits long" if cost.wall_s > limit_s else ""
        source = "tasks done" if cost.measured else "the estimate"
        mark = "<=" if cost.bound else ""
        lines.append(
            f"  {cost.stage:<12} {cost.jobs:>6} {mark + format(cost.wall_s / 3600, '.2f'):>10} "
            f"{mark + format(cost.gpu_hours, '.2f'):>11} {cost.files:>8} {cost.bytes / 1e9:>9.2f}  "
            f"{source}{' on cores' if cost.bound else ''}{parts}"
        )
    mark = "<=" if any(cost.bound for cost in costs) else ""
    lines.append(
        f"  together: {mark}{sum(c.wall_s for c in costs) / 3600:.2f} hours without waiting, "
        f"{mark}{sum(c.gpu_hours for c in costs):.2f} GPU-hours, {sum(c.files for c in costs)} files, "
        f"{sum(c.bytes for c in costs) / 1e9:.2f} GB"
    )
    if mark:
        lines.append(
            "  <=: what cores would take, not held against the limit of GPU-hours; "
            "with a short run on the GPUs as `calibration` of the cluster file the times are measured"
        )
    return lines


def _cost(runner: Runner, short: Run | None, stage: Stage, estimate: Estimate, asked: Resources) -> Cost:
    # Any fingerprint will do: estimates read the settings, not the records.
    run = for_stage(runner.run, stage, "0" * 64)
    jobs, wants_gpu = asked.workers * asked.nodes, bool(stage.gpu and asked.gpus)
    # Tasks that run at once: those of one job, times the jobs that run at the same time.
    fixed = runner.config.machine.workers
    on_each = max(1, fixed or (asked.gpus if wants_gpu else asked.cpus // stage.threads(run)))
    at_once = min(asked.at_once or jobs, jobs) * on_each
    pace = _measure(short, stage, wants_gpu) if short else None
    on_gpu = pace is not None and pace.on_gpu
    each_s = _estimate_each(stage, run, estimate, on_gpu)
    if pace is not None:
        # Measured time of the short run, times the ratio of the estimates of both runs.
        each_s = pace.seconds * (each_s / pace.estimated_s if each_s and pace.estimated_s else 1.0)
    # Tasks run in waves of `at_once`; the last wave takes as long as a full one.
    wall_s = each_s * math.ceil(estimate.tasks / at_once)
    # The ranks of a training are one task that occupies all nodes of the job.
    busy = jobs if stage.ranks(run) > 1 else math.ceil(estimate.tasks / on_each)
    running = min(jobs, busy, asked.at_once or jobs)
    # A job is charged for all its GPUs, whether its tasks use all of them or not.
    gpu_hours = wall_s / 3600 * running * asked.gpus
    bound = wants_gpu and not on_gpu
    return Cost(stage.name, jobs, wall_s, gpu_hours, estimate.files, estimate.bytes, pace is not None, bound)


def _estimate_each(stage: Stage, run: Run, estimate: Estimate, on_gpu: bool) -> float:
    """Return the estimated seconds of one task, without loss over ranks and (on cores) threads."""
    at_work = stage.ranks(run) * (1 if on_gpu else stage.threads(run))
    return estimate.cpu_s / max(1, estimate.tasks) / at_work


def _open_calibration(runner: Runner, site: Site) -> Run | None:
    """Return the run whose tasks are measured: the calibration of the site, else this run if it was begun."""
    own = site.calibration is None
    root = runner.root if own else expand_home(os.path.expandvars(str(site.calibration))).resolve()
    path = root / "config.yaml"
    if not path.exists():
        if own:
            return None
        raise ConfigError(f"calibration: {root} is not a run directory: it holds no config.yaml")
    # This run's own old settings may be unusable now, which is no fault; a named calibration must be usable.
    with contextlib.suppress(ConfigError) if own else contextlib.nullcontext():
        return Run.of(root, validate(type(runner.config), load_yaml(path)))
    return None


def _measure(short: Run, stage: Stage, wants_gpu: bool) -> Pace | None:
    """Return the pace of the newest tasks; None when too few, or done on GPUs while none are asked for."""
    folders = [path for path in (short.ledger.root / stage.name).glob("[!.]*") if path.is_dir()]
    if not folders:
        return None
    # Folders of other versions may be left from other settings.
    newest = max(folders, key=lambda path: path.stat().st_mtime)
    seconds = [json.loads(path.read_text())["log"]["seconds"] for path in newest.glob("[!.]*.json")]
    run = for_stage(short, stage, newest.name)
    estimate = stage.estimate(run) if stage.estimate else Estimate(tasks=len(seconds))
    # Without a record of the machine the short run is taken to have used what this one asks for.
    on_gpu = wants_gpu if stage.numerics is None else _device(newest).startswith(ON_GPU)
    if len(seconds) < max(1, min(FEWEST, estimate.tasks)) or (on_gpu and not wants_gpu):
        return None
    # The median: a stalled node or a first task that warms up must not set the pace.
    return Pace(statistics.median(seconds), _estimate_each(stage, run, estimate, on_gpu), on_gpu)


def _device(folder: Path) -> str:
    """Return the description of the device on which the tasks of a folder were done, empty if unknown."""
    path = folder / ".numerics.json"
    facts: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return str(facts.get("device", ""))
