"""Which pictures there are, with their classes, whatever they come from."""

import fnmatch
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Integers
from astro_dist.engine.errors import ConfigError
from astro_dist.pictures.classes import check_counts, check_macro, find_classes
from astro_dist.pictures.config import PicturesConfig
from astro_dist.pictures.folder import FolderSource
from astro_dist.pictures.packed import PackedSource
from astro_dist.pictures.source import Source
from astro_dist.pictures.toy import ToySource


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
    classes = find_classes(config, {one[1] for one in kept})
    places = {name: place for place, name in enumerate(classes)}
    kept = [one for one in kept if one[1] in places]
    labels = np.array([places[one[1]] for one in kept], np.int64)
    if divided:
        check_counts(config, classes, Counter(one[1] for one in kept))
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
