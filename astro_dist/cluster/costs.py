"""What a run would cost on a site: jobs, time, GPU-hours, files and disk of each stage, against the limits.

Seconds per task are measured where some of the stage's tasks were done: in the run directory that the site
names as its calibration, a short run there, or in that of the run itself. They are scaled by what the stage
estimates of either run, so that the short one may be smaller in any way. Elsewhere they are that estimate,
which is for cores; what a GPU will do faster is marked ``<=`` and not held against the limit.
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
from astro_dist.engine.work import Estimate, Run, Stage, for_stage
from astro_dist.runner import Runner

FEWEST = 3
ON_GPU = "cuda: "
"""How the description of a worker's device begins where that is a GPU."""


@dataclass(frozen=True)
class Cost:
    """What one stage would cost.

    ``measured`` tells a calibration from an estimate; with ``bound`` GPUs are asked for and the time is
    that of cores.
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
    """How long a task took, how long it was estimated to take, and whether that was on a GPU."""

    seconds: float
    estimated_s: float
    on_gpu: bool


def estimate_costs(runner: Runner, site: Site) -> list[Cost]:
    """Return what every stage that is not done would cost.

    Raises
    ------
    ConfigError
        The site's calibration is not a run directory that this version can read.
    """
    short = _open_calibration(runner, site)
    rows = [row for row in runner.estimates() if row[1] != "done"]
    return [_cost(runner, short, stage, estimate, site.of(stage.name)) for stage, _, estimate in rows]


def check_costs(costs: Sequence[Cost], site: Site) -> None:
    """Refuse a run that is larger than the limits of the site, naming both numbers."""
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
            "the `calibration` of the cluster file, a short run on the GPUs, tells what they take"
        )
    return lines


def _cost(runner: Runner, short: Run | None, stage: Stage, estimate: Estimate, asked: Resources) -> Cost:
    run = for_stage(runner.run, stage, "0" * 64)
    jobs, wants_gpu = asked.workers * asked.nodes, bool(stage.gpu and asked.gpus)
    fixed = runner.config.machine.workers
    on_each = max(1, fixed or (asked.gpus if wants_gpu else asked.cpus // stage.threads(run)))
    at_once = min(asked.at_once or jobs, jobs) * on_each
    pace = _measure(short, stage, wants_gpu) if short else None
    on_gpu = pace is not None and pace.on_gpu
    each_s = _estimate_each(stage, run, estimate, on_gpu)
    if pace is not None:
        each_s = pace.seconds * (each_s / pace.estimated_s if each_s and pace.estimated_s else 1.0)
    wall_s = each_s * math.ceil(estimate.tasks / at_once)
    # The ranks of a training are one task on all nodes of its job.
    busy = jobs if stage.ranks(run) > 1 else math.ceil(estimate.tasks / on_each)
    running = min(jobs, busy, asked.at_once or jobs)
    gpu_hours = wall_s / 3600 * running * asked.gpus
    bound = wants_gpu and not on_gpu
    return Cost(stage.name, jobs, wall_s, gpu_hours, estimate.files, estimate.bytes, pace is not None, bound)


def _estimate_each(stage: Stage, run: Run, estimate: Estimate, on_gpu: bool) -> float:
    """Return the seconds of one task that would use its ranks, and its cores, to the full."""
    at_work = stage.ranks(run) * (1 if on_gpu else stage.threads(run))
    return estimate.cpu_s / max(1, estimate.tasks) / at_work


def _open_calibration(runner: Runner, site: Site) -> Run | None:
    """Return the run whose tasks are the measure: the site's, else this one's if it was begun."""
    own = site.calibration is None
    root = runner.root if own else Path(os.path.expandvars(str(site.calibration))).expanduser().resolve()
    path = root / "config.yaml"
    if not path.exists():
        if own:
            return None
        raise ConfigError(f"calibration: {root} is not a run directory: it holds no config.yaml")
    with contextlib.suppress(ConfigError) if own else contextlib.nullcontext():
        return Run.of(root, validate(type(runner.config), load_yaml(path)))
    return None


def _measure(short: Run, stage: Stage, wants_gpu: bool) -> Pace | None:
    """Return the pace of the tasks that were done last, None when too few or on GPUs that are not wanted."""
    folders = [path for path in (short.ledger.root / stage.name).glob("[!.]*") if path.is_dir()]
    if not folders:
        return None
    newest = max(folders, key=lambda path: path.stat().st_mtime)
    seconds = [json.loads(path.read_text())["log"]["seconds"] for path in newest.glob("[!.]*.json")]
    run = for_stage(short, stage, newest.name)
    estimate = stage.estimate(run) if stage.estimate else Estimate(tasks=len(seconds))
    on_gpu = wants_gpu if stage.numerics is None else _device(newest).startswith(ON_GPU)
    if len(seconds) < max(1, min(FEWEST, estimate.tasks)) or (on_gpu and not wants_gpu):
        return None
    return Pace(statistics.median(seconds), _estimate_each(stage, run, estimate, on_gpu), on_gpu)


def _device(folder: Path) -> str:
    """Return the description of the device that the tasks of a folder were done on."""
    path = folder / ".numerics.json"
    facts: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return str(facts.get("device", ""))
