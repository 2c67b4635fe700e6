"""Test sets from elsewhere: pictures that the classifiers were not made for, and whose classes may be others.

Their pictures are read as those of the run are, at the same size. With ``map`` their classes stand for ours.
With ``probe`` a linear layer is fitted to the frozen features of a trained network, on a training part of
these pictures that parts no group of near-duplicates.

Shape letters: N pictures, P planes, S side in pixels, K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Integers
from astro_dist.engine.config import nearest, validate
from astro_dist.engine.errors import ConfigError, DataError
from astro_dist.engine.pixels import to_network
from astro_dist.engine.rounds import list_some
from astro_dist.engine.work import Run
from astro_dist.flare.classify_config import ClassifyConfig, OutsideConfig
from astro_dist.flare.rows import RowSamples
from astro_dist.flare.sets import PictureSet
from astro_dist.pictures.config import PicturesConfig
from astro_dist.pictures.duplicates import find_groups
from astro_dist.pictures.images import resize
from astro_dist.pictures.listing import Listing
from astro_dist.pictures.looks import make_look
from astro_dist.store.picture_splits import split_pictures
from astro_dist.store.pictures import list_pictures
from astro_dist.store.schema import SPLIT_NAMES

FILE_KINDS = (".h5", ".hdf5", ".npz")
"""Endings of files with all pictures of a set."""
TRAIN = SPLIT_NAMES.index("train")


def settings_of(outside: OutsideConfig, pictures: PicturesConfig) -> PicturesConfig:
    """Return how the pictures of a test set are read: as those of the run."""
    alike = ("size_pix", "planes", "fit", "largest_pix", "duplicates")
    same = {name: getattr(pictures, name) for name in alike}
    place = "file" if Path(outside.path).suffix in FILE_KINDS else "path"
    table = {"table": outside.table} if outside.table is not None else {}
    return validate(PicturesConfig, {**same, place: outside.path, **table})


def list_files(config: ClassifyConfig, pictures: PicturesConfig) -> list[Path]:
    """Return the files of all test sets."""
    settings = {f"classify.test.{name}": settings_of(one, pictures) for name, one in config.test.items()}
    return [path for setting, one in settings.items() for path in _list_for(setting, one).source.paths]


def refuse_tests(run: Run) -> None:
    """Refuse test sets that are not there, and classes that stand for none of ours.

    Raises
    ------
    ConfigError
        Naming the test set.
    """
    pictures = run.section(PicturesConfig)
    classes = list_pictures(pictures, run.seed).classes
    for name, one in run.section(ClassifyConfig).test.items():
        setting = f"classify.test.{name}"
        if name == "test":
            raise ConfigError(f"{setting}: test is the name of the run's own test pictures; choose another")
        found = _list_for(setting, settings_of(one, pictures))
        if one.how == "map":
            map_classes(one.map, found.classes, classes, setting)
        else:
            _check_probe(found, setting)


def _check_probe(found: Listing, setting: str) -> None:
    """Refuse pictures to which no linear layer can be fitted and tested."""
    counts = np.bincount(found.labels, minlength=len(found.classes))
    if len(counts) < 2 or counts.min() < 2:
        name = found.classes[int(counts.argmin())]
        raise ConfigError(
            f"{setting}: a probe needs two classes, and of each a picture to fit and one to test; there are "
            f"{len(counts)}, and {name} has {counts.min()}"
        )


def map_classes(
    given: Mapping[str, str], theirs: Sequence[str], ours: Sequence[str], setting: str
) -> Integers:
    """Return our class, an index, for each of their classes; -1 for those that are left out."""
    for source, target in given.items():
        if source not in theirs:
            raise ConfigError(
                f"{setting}.map: no picture there is of class {source!r}; {nearest(source, theirs)}"
            )
        if target not in ours:
            raise ConfigError(f"{setting}.map: there is no class {target!r} here; {nearest(target, ours)}")
    chosen = given or {name: name for name in theirs if name in ours}
    if not chosen:
        raise ConfigError(
            f"{setting}.map: none of its classes ({', '.join(theirs)}) is one of ours "
            f"({', '.join(ours)}); say which stands for which, or set how to probe"
        )
    return np.array([ours.index(chosen[name]) if name in chosen else -1 for name in theirs])


@lru_cache(maxsize=32)
def _list(text: str) -> Listing:
    # As text, because settings with mappings cannot be hashed. The seed is that of toys, which these are not.
    return list_pictures(PicturesConfig.model_validate_json(text), 0, divided=False)


def _list_for(setting: str, config: PicturesConfig) -> Listing:
    try:
        found = _list(config.model_dump_json())
    except ConfigError as error:
        raise ConfigError(f"{setting}: {error}") from None
    if not len(found):
        raise ConfigError(f"{setting}: no picture with a class; give a folder per class, or a table")
    return found


@dataclass(frozen=True)
class Outside:
    """The pictures (N, P, S, S) of a test set at the side of a network, their classes, groups and splits.

    ``faults`` are sentences about those that cannot be read, which are left out.
    """

    pictures_NPSS: NDArray[Any]
    rows: PictureSet
    classes: tuple[str, ...]
    split: NDArray[np.uint8]
    faults: tuple[str, ...]

    def read(self, rows: PictureSet) -> NDArray[np.float32]:
        """Return the pictures of rows in network range; this object is a gallery, see `rows.Gallery`."""
        return to_network(self.pictures_NPSS[rows.index])


@lru_cache(maxsize=8)
def _read(text: str, size_pix: int, seed: int) -> Outside:
    """Read a test set; kept, because a worker tests many classifiers."""
    listing = _list(text)
    whole, numbers, faults = _read_some(listing)
    groups = np.arange(len(whole))
    if not whole:
        raise DataError(f"no picture of the test set can be read: {list_some(faults)}")
    if PicturesConfig.model_validate_json(text).duplicates:
        # Copies are not two outcomes, and no probe is tested on a copy of what it was fitted to.
        groups = find_groups(np.stack([make_look(picture) for picture in whole]))
    pictures = [p if p.shape[-1] == size_pix else resize(p, size_pix) for p in whole]
    rng = np.random.default_rng(seed)
    labels = listing.labels[numbers]
    split = split_pictures(labels, groups, np.full(len(groups), -1), (0.5, 0.0, 0.5), rng)
    zeros, places = np.zeros(len(groups), np.int64), np.arange(len(groups))
    rows = PictureSet(zeros, places, zeros, labels, groups, places)
    return Outside(np.stack(pictures), rows, listing.classes, split, tuple(faults))


def _read_some(listing: Listing) -> tuple[list[NDArray[Any]], list[int], list[str]]:
    """Return the pictures that can be read, their rows, and a sentence about each of the others."""
    found, faults = dict[int, NDArray[Any]](), list[str]()
    for row in range(len(listing)):
        try:
            found[row] = listing.read(row)
        except DataError as error:
            faults.append(str(error))
    return list(found.values()), list(found), faults


def open_outside(one: OutsideConfig, pictures: PicturesConfig, size_pix: int, seed: int) -> Outside:
    """Return the pictures of a test set; raise `DataError` where none can be read."""
    return _read(settings_of(one, pictures).model_dump_json(), size_pix, seed)


def mapped_rows(found: Outside, to_ours: Integers, classes: Integers) -> RowSamples:
    """Return the pictures whose class stands for one of ours; ``classes`` is the network's class of each."""
    members = np.flatnonzero(to_ours[found.rows.label] >= 0)
    return RowSamples(found, found.rows.pick(members), np.where(to_ours >= 0, classes[to_ours], -1))


def probed_rows(found: Outside) -> tuple[RowSamples, RowSamples]:
    """Return the pictures to fit a linear layer to, and those to test it on, with their own classes."""
    own = np.arange(len(found.classes))
    parts = (np.flatnonzero(found.split == TRAIN), np.flatnonzero(found.split != TRAIN))
    first, second = (RowSamples(found, found.rows.pick(part), own) for part in parts)
    return first, second
