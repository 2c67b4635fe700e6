"""Many trainings inside one stage: each training is a cell, and each cell a task.

A grid serves experiments that compare arms: the same recipe with other settings, rows or randomness. Every
cell has its own key, rows, checkpoints and folder in the product. Any number of workers does the cells in any
order. When cells are added to a published grid, only these are trained: the others are taken over from the
published product, see `_take_over`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from astro_dist.engine.config import fingerprint, validate
from astro_dist.engine.errors import QUARANTINED, ConfigError
from astro_dist.engine.files import publish_bytes
from astro_dist.engine.later import Later
from astro_dist.engine.ledger import Result
from astro_dist.engine.work import Estimate, Results, Run, Stage, Task, make_folder
from astro_dist.train.checkpoint import checkpoint_folder, drop_checkpoints, list_causes
from astro_dist.train.config import LAYOUT
from astro_dist.train.recipe import Cell, Recipe
from astro_dist.train.stage import do_cell, estimate_training, find_sources, refuse_start

WORKERS = 16
"""Workers of a grid whose number the settings leave open, for the estimate of its checkpoints."""
NUMERICS = Later("astro_dist.models.device:numerics")


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
    reads
        Files of the inputs that the cell reads, see `Cell`: the cell is kept while the others change.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    rows: Any = None
    key: tuple[int | str, ...] = ()
    reads: Mapping[str, Sequence[str]] | None = None


Arms = Callable[[Run], Sequence[Arm]]


def grid_stage(
    recipe: Recipe,
    name: str,
    product: str,
    arms: Arms,
    sections: tuple[str, ...],
    inputs: tuple[str, ...],
    refuse: Callable[[Run], None] | None = None,
) -> Stage:
    """Return a stage that trains every arm and publishes one folder per arm.

    Parameters
    ----------
    arms
        ``(run) -> arms``: a pure module function of the settings and the inputs.
    sections
        Sections of the settings; the first is that of the recipe.
    refuse
        Further refusals before anything runs, see `Stage.refuse`.
    """
    return Stage(
        name=name,
        product=product,
        plan=partial(_plan, recipe, arms),
        run=partial(_run, recipe),
        prepare=make_folder,
        finish=partial(_finish, recipe, arms),
        sources=partial(_find_sources, recipe, arms),
        refuse=partial(_refuse, recipe, arms, refuse),
        estimate=partial(_estimate, recipe, arms),
        sections=sections,
        reads=recipe.reads,
        own=sections[0],
        inputs=inputs,
        numerics=NUMERICS,
        schema=recipe.schema,
        gpu=True,
        gang=True,
    )


def _plan(recipe: Recipe, arms: Arms, run: Run, results: Results) -> list[Task]:
    tasks = []
    for arm in arms(run):
        if changed := sorted(LAYOUT & arm.settings.keys()):
            raise ConfigError(f"{run.stage}: {', '.join(changed)} cannot differ between the cells of a grid")
        # Lists, because the arguments of tasks are JSON, which has no tuples.
        args = {"settings": dict(arm.settings), "rows": arm.rows, "key": list(arm.key or (arm.name,))}
        if arm.reads is not None:
            args["reads"] = {stage: list(names) for stage, names in arm.reads.items()}
        tasks.append(Task(arm.name, args))
    return tasks


def _settings(recipe: Recipe, run: Run, changed: Mapping[str, Any]) -> Any:
    return validate(recipe.section, {**run.section(recipe.section).model_dump(), **changed})


def _cell(recipe: Recipe, run: Run, task: Task) -> Cell:
    args = task.args
    # With the stage, so that arms of one name in two grids draw different numbers.
    key = (run.stage, *args["key"])
    config = _settings(recipe, run, args["settings"])
    return Cell(recipe, run, config, task.name, key, args["rows"], args.get("reads"))


def _run(recipe: Recipe, run: Run, task: Task) -> Result:
    cell = _cell(recipe, run, task)
    cell.output.mkdir(parents=True, exist_ok=True)
    causes = _digest_causes(cell)
    if (known := _take_over(cell, causes)) is not None:
        return known
    result = do_cell(cell)
    # Now, not in `_finish`: the checkpoints of hundreds of cells would be many times the product.
    if result:
        drop_checkpoints(checkpoint_folder(cell))
    # The engine looks for these files from the folder of the product, not from that of the cell.
    files = {f"{task.name}/{name}": digest for name, digest in result.get("sha256", {}).items()}
    return {**result, "causes": causes, "sha256": files}


def _digest_causes(cell: Cell) -> str:
    """Return a digest of all that the bytes of a cell follow from."""
    layout = cell.config.model_dump(mode="json", include=set(LAYOUT - cell.config.unmarked))
    return fingerprint([cell.recipe.schema, list_causes(cell), layout, NUMERICS(cell.run)])


def _take_over(cell: Cell, causes: str) -> Result | None:
    """Copy the files of a cell that an earlier version of the stage published from the same causes.

    Returns None where there is none, or its files are not what was published. A stage that is made again from
    the same settings (``--redo``) takes nothing over.
    """
    run = cell.run
    published = run.ledger.published(run.stage)
    if published is None or published.fingerprint == run.fingerprint:
        return None
    known = published.facts.get("cells", {}).get(cell.task, {})
    if known.get("causes") != causes:
        return None
    files = {name: d for name, d in published.files.items() if name.startswith(f"{cell.task}/")}
    if any(_copy(run.root / published.product / name, run.output / name) != d for name, d in files.items()):
        return None
    return {**known, "sha256": files}


def _copy(source: Path, target: Path) -> str:
    """Copy a file and return its sha256; empty where there is none."""
    try:
        return publish_bytes(target, source.read_bytes())
    except FileNotFoundError:
        return ""


def _finish(recipe: Recipe, arms: Arms, run: Run, results: Results) -> dict[str, Any]:
    tasks = _plan(recipe, arms, run, results)
    for task in tasks:
        # What a kill has left, or a cell that was taken over.
        drop_checkpoints(checkpoint_folder(_cell(recipe, run, task)))
    cells = {t.name: {k: v for k, v in results[t.name].items() if k != "sha256"} for t in tasks}
    said = {
        name: sorted({line for cell in cells.values() for line in cell.get(name, ())})
        for name in ("notes", QUARANTINED)
    }
    return {"cells": cells, **{name: lines for name, lines in said.items() if lines}}


def _each(recipe: Recipe, arms: Arms, run: Run) -> list[Run]:
    """Return the run with the settings of each kind of cell, as a stage of one training sees it."""
    kinds = {fingerprint(dict(arm.settings)): arm.settings for arm in arms(run)}
    return [run.having(_settings(recipe, run, settings)) for settings in kinds.values()]


def _find_sources(recipe: Recipe, arms: Arms, run: Run) -> list[Path]:
    return sorted({path for one in _each(recipe, arms, run) for path in find_sources(recipe, one)})


def _refuse(recipe: Recipe, arms: Arms, further: Callable[[Run], None] | None, run: Run) -> None:
    if further is not None:
        further(run)
    for one in _each(recipe, arms, run):
        refuse_start(recipe, one)


def _estimate(recipe: Recipe, arms: Arms, run: Run) -> Estimate:
    costs = [estimate_training(recipe, run.having(_settings(recipe, run, arm.settings))) for arm in arms(run)]
    # A worker trains one cell at a time, and removes its checkpoints: memory and checkpoints are those of the
    # largest cells.
    at_once = min(len(costs), run.machine.workers or WORKERS)
    largest = max(costs, key=lambda cost: cost.memory_bytes)
    return replace(
        largest,
        tasks=len(costs),
        bytes=at_once * largest.bytes + sum(cost.bytes for cost in costs) // 13,
        files=sum(cost.files for cost in costs),
        cpu_s=sum(cost.cpu_s for cost in costs),
    )
