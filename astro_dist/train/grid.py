"""Many trainings inside one stage: each training is a cell, and each cell a task.

A grid serves experiments that compare arms: the same recipe with other settings, rows or randomness. Every
cell has its own key, rows, checkpoints and folder in the product. Any number of workers does the cells in any
order.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from astro_dist.engine.config import validate
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.later import Later
from astro_dist.engine.ledger import Result
from astro_dist.engine.work import Estimate, Results, Run, Stage, Task, make_folder
from astro_dist.train.checkpoint import checkpoint_folder, drop_checkpoints
from astro_dist.train.config import LAYOUT
from astro_dist.train.recipe import Cell, Recipe
from astro_dist.train.stage import do_cell, estimate_training, find_sources, refuse_start


@dataclass(frozen=True)
class Arm:
    """The differences between one cell of a grid and the recipe.

    Attributes
    ----------
    name
        Name of the task and of the folder: letters, digits, ``-`` and ``_``.
    settings
        Settings that replace those of the section.
    rows
        Argument by which the recipe chooses its samples; JSON-able.
    key
        Key of the random streams; the name by default. Arms with the same key begin with the same weights and
        see the same noise, so that they can be compared in pairs.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    rows: Any = None
    key: tuple[int | str, ...] = ()


def grid_stage(
    recipe: Recipe,
    name: str,
    product: str,
    arms: Callable[[Run], Sequence[Arm]],
    sections: tuple[str, ...],
    inputs: tuple[str, ...],
) -> Stage:
    """Return a stage that trains every arm and publishes one folder per arm.

    Parameters
    ----------
    arms
        ``(run) -> arms``: a pure module function of the settings and the inputs.
    sections
        Sections of the settings; the first is that of the recipe.
    """
    return Stage(
        name=name,
        product=product,
        plan=partial(_plan, recipe, arms),
        run=partial(_run, recipe),
        prepare=make_folder,
        finish=partial(_finish, recipe, arms),
        sources=partial(find_sources, recipe),
        refuse=partial(refuse_start, recipe),
        estimate=partial(_estimate, recipe, arms),
        sections=sections,
        reads=recipe.reads,
        own=sections[0],
        inputs=inputs,
        numerics=Later("astro_dist.models.device:numerics"),
        gpu=True,
        gang=True,
        schema=recipe.schema,
    )


def _plan(recipe: Recipe, arms: Callable[[Run], Sequence[Arm]], run: Run, results: Results) -> list[Task]:
    tasks = []
    for arm in arms(run):
        if changed := sorted(LAYOUT & arm.settings.keys()):
            raise ConfigError(f"{run.stage}: {', '.join(changed)} cannot differ between the cells of a grid")
        # A list, because the arguments of tasks are JSON, which has no tuples.
        key = list(arm.key or (arm.name,))
        tasks.append(Task(arm.name, {"settings": dict(arm.settings), "rows": arm.rows, "key": key}))
    return tasks


def _cell(recipe: Recipe, run: Run, task: Task) -> Cell:
    section = run.section(recipe.section)
    config = validate(recipe.section, {**section.model_dump(), **task.args["settings"]})
    # With the stage, so that arms of one name in two grids draw different numbers.
    key = (run.stage, *task.args["key"])
    return Cell(recipe, run, config, task.name, key, task.args["rows"])


def _run(recipe: Recipe, run: Run, task: Task) -> Result:
    cell = _cell(recipe, run, task)
    cell.output.mkdir(parents=True, exist_ok=True)
    result = do_cell(cell)
    # The engine looks for these files from the folder of the product, not from that of the cell.
    files = {f"{task.name}/{name}": digest for name, digest in result.get("sha256", {}).items()}
    return {**result, "sha256": files}


def _finish(
    recipe: Recipe, arms: Callable[[Run], Sequence[Arm]], run: Run, results: Results
) -> dict[str, Any]:
    tasks = _plan(recipe, arms, run, results)
    for task in tasks:
        # Not earlier: where the engine finds damaged files, a training goes on from its last checkpoint.
        drop_checkpoints(checkpoint_folder(_cell(recipe, run, task)))
    cells = {t.name: {k: v for k, v in results[t.name].items() if k != "sha256"} for t in tasks}
    return {"cells": cells}


def _estimate(recipe: Recipe, arms: Callable[[Run], Sequence[Arm]], run: Run) -> Estimate:
    one, count = estimate_training(recipe, run), len(arms(run))
    # A worker trains one cell at a time, so that the memory is that of one.
    return replace(
        one, tasks=count, bytes=one.bytes * count, files=one.files * count, cpu_s=one.cpu_s * count
    )
