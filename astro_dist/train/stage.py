"""The stage of a recipe: one task, done by one process or by as many ranks as the settings ask for."""

from functools import partial
from pathlib import Path
from typing import Any

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.later import Later
from astro_dist.engine.ledger import Result
from astro_dist.engine.work import Estimate, Results, Run, Stage, Task, make_folder
from astro_dist.train.checkpoint import checkpoint_folder, drop_checkpoints
from astro_dist.train.recipe import TASK, Cell, Recipe
from astro_dist.train.start import find_start, start_files


def training_stage(recipe: Recipe) -> Stage:
    """Return the stage of one training, with product ``models/NAME`` and command ``train NAME``."""
    return Stage(
        name=recipe.name,
        product=f"models/{recipe.name}",
        plan=_plan,
        run=partial(_run, recipe),
        prepare=make_folder,
        finish=partial(_finish, recipe),
        sources=partial(find_sources, recipe),
        refuse=partial(refuse_start, recipe),
        estimate=partial(estimate_training, recipe),
        sections=(recipe.name, *recipe.sections),
        reads=recipe.reads,
        own=recipe.name,
        inputs=recipe.inputs,
        numerics=Later("astro_dist.models.device:numerics"),
        gpu=True,
        gang=True,
        schema=recipe.schema,
        command=("train", recipe.name),
    )


def do_cell(cell: Cell) -> Result:
    """Train one cell and return the result; starts rank processes where the settings ask for several."""
    from astro_dist.train.ranks import launched_rank, train_on_ranks

    config = cell.config
    # DeepSpeed reads its rank and address from the environment, which only processes of `ranks` have.
    if launched_rank() is None and (config.ranks > 1 or config.strategy != "ddp"):
        return train_on_ranks(cell)
    from astro_dist.train.loop import train

    return train(cell)


def find_sources(recipe: Recipe, run: Run) -> list[Path]:
    """Return the files of the user that a training reads: initial weights, and what its recipe names."""
    config = run.section(recipe.section)
    further = recipe.files(run) if recipe.files is not None else []
    return [*further, *([] if config.start_from is None else start_files(recipe, config.start_from))]


def refuse_start(recipe: Recipe, run: Run) -> None:
    """Refuse weights that there are none of, or that the settings cannot take."""
    config = run.section(recipe.section)
    if recipe.files is not None:
        # Raises where a package with weights is not installed.
        recipe.files(run)
    start_from = config.start_from
    if start_from is None:
        return
    if recipe.load is None:
        raise ConfigError(f"{recipe.name}.start_from: this training cannot begin with weights; leave it out")
    folder = find_start(recipe, start_from)
    if recipe.refuse is not None:
        recipe.refuse(run, folder)


def estimate_training(recipe: Recipe, run: Run) -> Estimate:
    """Return an upper bound of the cost of one training."""
    section = run.section(recipe.section)
    size, cost = recipe.cost(section)
    samples = section.steps * section.batch_size
    # The product, and three checkpoints (two kept, one being written) of weights, average and two moments,
    # and perhaps of the best weights.
    weights = int(4 * size)  # bytes, float32
    return Estimate(
        tasks=1,
        bytes=weights * (16 if recipe.keep_best else 13),  # 1 + 3 x 4
        files=24,
        memory_bytes=int(1e9 + 6 * weights * section.ranks + section.batch_size * cost * 1e9),
        cpu_s=samples * cost * (section.crop_pix / 64) ** 2,
    )


def _only_cell(recipe: Recipe, run: Run) -> Cell:
    return Cell(recipe, run, run.section(recipe.section), key=(recipe.name,))


def _plan(run: Run, results: Results) -> list[Task]:
    return [Task(TASK)]


def _run(recipe: Recipe, run: Run, task: Task) -> Result:
    return do_cell(_only_cell(recipe, run))


def _finish(recipe: Recipe, run: Run, results: Results) -> dict[str, Any]:
    # Not earlier: where the engine finds damaged files, a training goes on from its last checkpoint.
    drop_checkpoints(checkpoint_folder(_only_cell(recipe, run)))
    return {name: value for name, value in results[TASK].items() if name != "sha256"}
