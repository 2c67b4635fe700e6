"""The three rounds of `evaluate`.

Stamps are drawn, then each row of images is judged, then the figures are computed from the arrays of all
rows.
"""

import json
from typing import Any

from astro_dist.engine.work import Results, Run, Task
from astro_dist.evaluate.config import EvaluateConfig
from astro_dist.evaluate.masks import SETS, HeldOutMasks
from astro_dist.evaluate.rows import TRAIN, rows_of


def plan(run: Run, results: Results) -> list[Task]:
    """Return the tasks of all rounds whose earlier rounds are done."""
    n, step = HeldOutMasks(run).n, run.section(EvaluateConfig).per_task
    tasks = [
        Task(f"draw-{name}-{first // step:04}", {"name": name, "first": first, "end": min(first + step, n)})
        for name in SETS
        for first in range(0, n, step)
    ]
    if any(task.name not in results for task in tasks):
        return tasks
    tasks += [Task(f"judge-{row}", {"row": row}) for row in (TRAIN, *rows_of(read_target(run)))]
    if any(task.name not in results for task in tasks):
        return tasks
    return [*tasks, Task("measure")]


def read_target(run: Run) -> str:
    """Return the target of the published model; the settings may name that of a model still to be trained."""
    folder = run.product("models/diffusion") / "conditioner"
    return str(json.loads((folder / "config.json").read_text())["target"])


def finish(run: Run, results: Results) -> dict[str, Any]:
    """Return the headline figures."""
    return dict(results["measure"]["facts"])
