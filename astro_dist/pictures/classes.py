"""The classes of pictures: which there are, and which settings no classifier can be trained with."""

from collections.abc import Mapping, Sequence

from astro_dist.engine.config import nearest
from astro_dist.engine.errors import ConfigError
from astro_dist.pictures.config import CLASSES, PicturesConfig

LEAST_GROUPS = 3
"""A class needs a group for each of the three splits."""


def count_toys(config: PicturesConfig) -> dict[str, int]:
    """Return how many toys of each class are drawn, in order; refuse classes that none is drawn of."""
    counts = config.per_class
    wanted = config.classes or (CLASSES if isinstance(counts, int) else tuple(counts))
    for name in (*wanted, *(() if isinstance(counts, int) else counts)):
        if name not in CLASSES:
            raise ConfigError(f"pictures: no toy of class {name!r} is drawn; {nearest(name, CLASSES)}")
    return {name: counts if isinstance(counts, int) else counts.get(name, 0) for name in wanted}


def refuse_toys(config: PicturesConfig) -> None:
    """Refuse settings of toys that no classifier can be trained with; loads nothing."""
    counts = count_toys(config)
    check_counts(config, list(counts), counts)
    check_macro(config.macro, list(counts))


def find_classes(config: PicturesConfig, found: set[str]) -> tuple[str, ...]:
    """Return the classes in order; refuse names of the settings that no picture has."""
    if not config.classes:
        return tuple(sorted(found))
    for name in config.classes:
        if name not in found:
            raise ConfigError(f"pictures.classes: no picture is of class {name!r}; {nearest(name, found)}")
    if len(set(config.classes)) != len(config.classes):
        raise ConfigError("pictures.classes: a class is named twice; name each once")
    return config.classes


def check_counts(config: PicturesConfig, classes: Sequence[str], counts: Mapping[str, int]) -> None:
    """Refuse fewer than two classes, and classes with fewer pictures than three splits need."""
    where = f"pictures.{'path' if config.source in ('folder', 'fits') else config.source}"
    if not config.classed:
        if not any(counts.values()):
            raise ConfigError(f"{where}: there is no picture; give a picture, or a folder with some")
        return
    if len(classes) < 2:
        found = f"one class, {classes[0]}" if classes else "no picture with a class"
        raise ConfigError(
            f"{where}: {found}; a classifier needs at least two: a folder per class, or a table of labels"
        )
    for name in classes:
        if counts[name] < LEAST_GROUPS:
            raise ConfigError(
                f"{where}: the class {name} has {counts[name]} pictures, and three splits need at least "
                f"{LEAST_GROUPS} that are no copies; add some, or leave the class out with pictures.classes"
            )


def check_macro(macro: Mapping[str, Sequence[str]], classes: Sequence[str]) -> None:
    """Refuse macro classes that leave out a class, name one twice, or name one that is not there."""
    if not macro:
        return
    owners: dict[str, str] = {}
    for owner, members in macro.items():
        for name in members:
            if name not in classes:
                raise ConfigError(f"pictures.macro: {owner} names {name!r}; {nearest(name, classes)}")
            if owners.setdefault(name, owner) != owner:
                raise ConfigError(f"pictures.macro: {name} is in {owners[name]} and in {owner}; choose one")
    if left := [name for name in classes if name not in owners]:
        raise ConfigError(f"pictures.macro: the class {left[0]} has no macro class; put it into one")
    if len(macro) < 2:
        raise ConfigError("pictures.macro: one macro class tells nothing apart; give two, or leave macro out")
