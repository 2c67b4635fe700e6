"""Initial weights of a training: those of the package, or a published model of the user.

The weights of the package lie in half precision below ``astro_dist/weights``. Training and publishing are in
float32.
"""

from pathlib import Path
from typing import Any

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.foreign import expand_home
from astro_dist.train.recipe import Recipe

SHIPPED = Path(__file__).parents[1] / "weights"


def find_start(recipe: Recipe, start_from: str) -> Path:
    """Return the folder of the weights that ``start_from`` names for one kind of training.

    Raises
    ------
    ConfigError
        When ``start_from`` names neither weights of the package nor a folder with a model of that kind.
    """
    name = recipe.name
    shipped = SHIPPED / start_from / name
    # A slash always means a folder of the user, so that `./small` is possible beside the package's `small`.
    if "/" not in start_from and shipped.is_dir():
        return shipped
    folder = expand_home(start_from)
    # A run directory has its models below `models/`.
    for found in (folder / "models" / name, folder):
        if (found / recipe.first_file).is_file():
            return found
    names = ", ".join(sorted(path.name for path in SHIPPED.glob("*") if (path / name).is_dir()))
    raise ConfigError(
        f"{name}.start_from: {start_from!r} is neither a folder with a published {name} nor weights of "
        f"the package ({names or 'it has none of that kind'}); mend it or leave it out"
    )


def start_files(recipe: Recipe, start_from: str) -> list[Path]:
    """Return the files of the weights that ``start_from`` names, sorted."""
    return sorted(path for path in find_start(recipe, start_from).rglob("*") if path.is_file())


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
