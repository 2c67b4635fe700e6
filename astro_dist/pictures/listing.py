"""Which pictures there are, with their classes, whatever they come from."""

import fnmatch
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Integers
from astro_dist.engine.config import nearest
from astro_dist.engine.errors import ConfigError
from astro_dist.pictures.config import PicturesConfig
from astro_dist.pictures.folder import FolderSource
from astro_dist.pictures.packed import PackedSource
from astro_dist.pictures.source import Source
from astro_dist.pictures.toy import ToySource

LEAST_GROUPS = 3
"""A class needs a group for each of the three splits."""


@dataclass(frozen=True)
class Listing:
    """The chosen pictures of a source.

    Attributes
    ----------
    source
        What reads them.
    names
        Name of each picture; relative to the folder where there is one.
    classes
        Names of the classes in order.
    labels
        Class of each picture, shape (N,).
    given
        Split of each picture that its folder names: an index into the store's splits, -1 where none does.
    numbers
        Number of each picture in the source, shape (N,).
    """

    source: Source
    names: tuple[str, ...]
    classes: tuple[str, ...]
    labels: Integers
    given: Integers
    numbers: Integers

    def __len__(self) -> int:
        """Return the number N of pictures."""
        return len(self.names)

    def read(self, row: int) -> NDArray[Any]:
        """Return picture ``row`` as the store holds it; raise `DataError` where it cannot be read."""
        return self.source.read(int(self.numbers[row]))


SPLITS = {"train": 0, "validation": 1, "test": 2}


def open_listing(config: PicturesConfig, seed: int, divided: bool = True) -> Listing:
    """Return the pictures that the settings choose.

    Parameters
    ----------
    divided
        Whether they are divided into splits, for which there must be two classes and a few of each.

    Raises
    ------
    ConfigError
        There are none, they are of one class, a class has too few, or the settings name what is not there.
    """
    source = _open_source(config, seed)
    kept = [one for one in source.entries if not _is_excluded(one[0], config.exclude)]
    for pattern in config.exclude:
        if not any(_is_excluded(one[0], (pattern,)) for one in source.entries):
            raise ConfigError(f"pictures.exclude: no picture is called {pattern!r}; mend the name")
    classes = _find_classes(config, {one[1] for one in kept})
    places = {name: place for place, name in enumerate(classes)}
    kept = [one for one in kept if one[1] in places]
    labels = np.array([places[one[1]] for one in kept], np.int64)
    if divided:
        _check_counts(config, classes, Counter(one[1] for one in kept))
    check_macro(config.macro, classes)
    given = np.array([SPLITS.get(one[2], -1) for one in kept], np.int64)
    numbers = np.array([one[3] for one in kept], np.int64)
    return Listing(source, tuple(one[0] for one in kept), classes, labels, given, numbers)


def _open_source(config: PicturesConfig, seed: int) -> Source:
    if config.source == "folder":
        return FolderSource(config)
    if config.source == "file":
        return PackedSource(config)
    return ToySource(config, seed)


def _is_excluded(name: str, patterns: Sequence[str]) -> bool:
    return any(name == pattern or fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _find_classes(config: PicturesConfig, found: set[str]) -> tuple[str, ...]:
    if not config.classes:
        return tuple(sorted(found))
    for name in config.classes:
        if name not in found:
            raise ConfigError(f"pictures.classes: no picture is of class {name!r}; {nearest(name, found)}")
    if len(set(config.classes)) != len(config.classes):
        raise ConfigError("pictures.classes: a class is named twice; name each once")
    return config.classes


def _check_counts(config: PicturesConfig, classes: Sequence[str], counts: Mapping[str, int]) -> None:
    where = f"pictures.{'path' if config.source == 'folder' else config.source}"
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
