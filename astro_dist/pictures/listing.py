"""Which pictures there are, with their classes, whatever they come from."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Integers
from astro_dist.engine.errors import ConfigError
from astro_dist.pictures.classes import check_counts, check_macro, find_classes
from astro_dist.pictures.config import PicturesConfig
from astro_dist.pictures.folder import FolderSource, has_name
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
        Split of each picture that its folder names, `APART` for those that are kept apart, -1 for others.
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
APART = 3
"""Places of the splits in a store; the last is that of pictures in no split."""


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
    return choose_pictures(config, _open_source(config, seed), divided)


def choose_pictures(config: PicturesConfig, source: Source, divided: bool = True) -> Listing:
    """Return the pictures of a source that the settings choose, see `open_listing`."""
    kept = [one for one in source.entries if not has_name(one[0], config.exclude)]
    for pattern in config.exclude:
        if not any(has_name(one[0], (pattern,)) for one in source.entries):
            raise ConfigError(f"pictures.exclude: no picture is called {pattern!r}; mend the name")
    classes = find_classes(config, {one[1] for one in kept})
    places = {name: place for place, name in enumerate(classes)}
    kept = [one for one in kept if one[1] in places]
    labels = np.array([places[one[1]] for one in kept], np.int64)
    if divided:
        counted = Counter(one[1] for one in kept if not has_name(one[0], config.apart))
        check_counts(config, classes, counted)
    check_macro(config.macro, classes)
    given = np.array([SPLITS.get(one[2], -1) for one in kept], np.int64)
    given[[has_name(one[0], config.apart) for one in kept]] = APART
    numbers = np.array([one[3] for one in kept], np.int64)
    return Listing(source, tuple(one[0] for one in kept), classes, labels, given, numbers)


def _open_source(config: PicturesConfig, seed: int) -> Source:
    if config.source == "folder":
        return FolderSource(config)
    if config.source == "file":
        return PackedSource(config)
    return ToySource(config, seed)
