"""Initial weights of a training: those of the package, or a published model of the user.

The weights of the package lie in half precision below ``astro_dist/weights``. Training and publishing are in
float32.
"""

from pathlib import Path
from typing import Any

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.foreign import expand_home
from astro_dist.engine.origins import (
    FACT,
    Origin,
    as_facts,
    find_file,
    merge,
    of_facts,
    read_origins,
    write_origins,
)
from astro_dist.train.recipe import Cell, Recipe

SHIPPED = Path(__file__).parents[1] / "weights"


def find_start(recipe: Recipe, start_from: str) -> Path:
    """Return the folder, or the file, of the weights that ``start_from`` names for one kind of training.

    Raises
    ------
    ConfigError
        When ``start_from`` names neither weights of the package nor a folder with a model of that kind.
    """
    name, known = recipe.name, (recipe.name, *recipe.takes)
    # A slash always means a folder of the user, so that `./small` is possible beside the package's `small`.
    for shipped in (SHIPPED / start_from / one for one in known if "/" not in start_from):
        if shipped.is_dir():
            return shipped
    folder = expand_home(start_from)
    if recipe.one_file and folder.is_file():
        return folder
    # A run directory has its models below `models/`.
    for found in (*(folder / "models" / one for one in known), folder):
        if (found / recipe.first_file).is_file():
            return found
    names = ", ".join(sorted(path.name for path in SHIPPED.glob("*") if (path / name).is_dir()))
    raise ConfigError(
        f"{name}.start_from: {start_from!r} is neither a folder with a published {name} nor weights of "
        f"the package ({names or 'it has none of that kind'}); mend it or leave it out"
    )


def start_files(recipe: Recipe, start_from: str) -> list[Path]:
    """Return the files of the weights that ``start_from`` names, sorted, and their statement of origins."""
    found = find_start(recipe, start_from)
    files = {found} if found.is_file() else {path for path in found.rglob("*") if path.is_file()}
    return sorted(files | {path for path in [find_file(found)] if path is not None})


def find_origins(cell: Cell) -> tuple[Origin, ...]:
    """Return the origins of published weights: those of the initial weights, and of the training data."""
    recipe, config = cell.recipe, cell.config
    before = read_origins(find_start(recipe, config.start_from)) if config.start_from is not None else ()
    # Without steps the data of the run have changed no weight.
    if before and config.steps == 0:
        return before
    stated = [of_facts(cell.run.facts(name)) for name in recipe.inputs]
    return merge(before, *stated) or (Origin("data of this run"),)


def state_origins(cell: Cell) -> dict[str, Any]:
    """Write the origins beside the published weights of a training; return them as facts of its record.

    Trainings that none can begin with, such as those of judges, state none.
    """
    if cell.recipe.load is None:
        return {}
    origins = find_origins(cell)
    write_origins(cell.output, origins)
    return {FACT: as_facts(origins)}


def begin_from(recipe: Recipe, objective: Any, start_from: str) -> None:
    """Put the weights into the untrained network of an objective.

    Raises
    ------
    ConfigError
        When the weights belong to another network than the settings name, or trainings of this kind cannot
        begin with weights.
    """
    if recipe.load is None:
        raise ConfigError(f"{recipe.name}.start_from: this training cannot begin with weights; leave it out")
    try:
        recipe.load(objective, find_start(recipe, start_from))
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        first = str(error).splitlines()[0]
        raise ConfigError(
            f"{recipe.name}.start_from: the weights of {start_from!r} do not fit the preset of the settings "
            f"or cannot be read ({first}); set {recipe.name}.preset to theirs"
        ) from None
