"""What a run would cost on a site: jobs, time, GPU-hours, files and disk of each stage, against the limits.

Seconds per task are measured where tasks of the stage were done in this run directory before, so that a
short run there is a calibration; elsewhere they are the stage's own estimate for one core.
"""

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from astro_dist.cluster.sites import Resources, Site
from astro_dist.errors import ConfigError
from astro_dist.pipeline import Pipeline
from astro_dist.work import Estimate, Stage

FEWEST = 3


@dataclass(frozen=True)
class Cost:
    """What one stage would cost; ``measured`` tells a calibration from an estimate."""

    stage: str
    jobs: int
    wall_s: float
    gpu_hours: float
    files: int
    bytes: int
    measured: bool


def estimate_costs(pipeline: Pipeline, site: Site) -> list[Cost]:
    """Return what every stage that is not done would cost."""
    rows = [row for row in pipeline.estimates() if row[1] != "done"]
    return [_cost(pipeline, stage, estimate, site.of(stage.name)) for stage, _, estimate in rows]


def check_costs(costs: Sequence[Cost], site: Site) -> None:
    """Refuse a run that is larger than the limits of the site, naming both numbers."""
    limits = site.limits
    for what, needed, allowed in (
        ("files", sum(c.files for c in costs), limits.files),
        ("GB of disk", sum(c.bytes for c in costs) / 1e9, limits.disk_gb),
        ("GPU-hours", sum(c.gpu_hours for c in costs), limits.gpu_hours),
    ):
        if allowed is not None and needed > allowed:
            raise ConfigError(
                f"the run needs up to {needed:.4g} {what} and the site's limits allow {allowed:.4g}; "
                "make it smaller, or raise the limit in the cluster file"
            )


def cost_lines(costs: Sequence[Cost], site: Site) -> list[str]:
    """Return the costs as a table of plain lines."""
    titles = f"{'jobs':>6} {'hours':>8} {'GPU-hours':>10} {'files':>8} {'disk GB':>9}"
    lines = [f"  {'stage':<12} {titles}  time from"]
    for cost in costs:
        limit_s = site.of(cost.stage).minutes * 60
        parts = f", {math.ceil(cost.wall_s / limit_s)} limits long" if cost.wall_s > limit_s else ""
        source = "tasks done here" if cost.measured else "the estimate for cores"
        lines.append(
            f"  {cost.stage:<12} {cost.jobs:>6} {cost.wall_s / 3600:>8.2f} {cost.gpu_hours:>10.2f} "
            f"{cost.files:>8} {cost.bytes / 1e9:>9.2f}  {source}{parts}"
        )
    lines.append(
        f"  together: {sum(c.wall_s for c in costs) / 3600:.2f} hours without waiting, "
        f"{sum(c.gpu_hours for c in costs):.2f} GPU-hours, {sum(c.files for c in costs)} files, "
        f"{sum(c.bytes for c in costs) / 1e9:.2f} GB"
    )
    return lines


def _cost(pipeline: Pipeline, stage: Stage, estimate: Estimate, asked: Resources) -> Cost:
    jobs = asked.workers * asked.nodes
    fixed = pipeline.config.machine.workers
    on_each = fixed or (asked.gpus if stage.gpu and asked.gpus else asked.cpus // stage.threads(pipeline.run))
    at_once = min(asked.at_once or jobs, jobs) * max(1, on_each)
    measured_s = _measure(pipeline, stage)
    if measured_s is None:
        wall_s = estimate.cpu_s / max(1, min(at_once, estimate.tasks))
    else:
        wall_s = measured_s * math.ceil(estimate.tasks / at_once)
    running = min(jobs, math.ceil(estimate.tasks / max(1, on_each)), asked.at_once or jobs)
    gpu_hours = wall_s / 3600 * running * asked.gpus
    return Cost(stage.name, jobs, wall_s, gpu_hours, estimate.files, estimate.bytes, measured_s is not None)


def _measure(pipeline: Pipeline, stage: Stage) -> float | None:
    """Return the median seconds of the tasks that were done last, None when there are too few."""
    folders = [path for path in (pipeline.ledger.root / stage.name).glob("[!.]*") if path.is_dir()]
    if not folders:
        return None
    newest = max(folders, key=lambda path: path.stat().st_mtime)
    logs = [json.loads(path.read_text())["log"]["seconds"] for path in newest.glob("[!.]*.json")]
    return statistics.median(logs) if len(logs) >= FEWEST else None
