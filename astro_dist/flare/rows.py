"""The pictures of rows: read from the stores of a run, augmented, brought to the side of a network.

`Gallery` makes the picture of a row; it keeps what it has made, because a training sees each row many times.
`SetSamples` are the samples of a training, in a new random order each time all rows were seen; `RowSamples`
are rows in their own order, for validation and tests.

Shape letters: B batch, N rows, P planes, S side in pixels, K classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Integers
from astro_dist.engine.pixels import to_network
from astro_dist.engine.seeds import stream
from astro_dist.flare.augment import augment
from astro_dist.flare.sets import SOURCES, PictureSet
from astro_dist.flare.upscale_config import AugmentName
from astro_dist.pictures.images import resize
from astro_dist.store.reader import StoreReader

KEPT_BYTES = 1 << 29
"""Most bytes of finished pictures that a process keeps."""
MOST_FEATURES = 2
"""Sets of rows whose features a process keeps: those that are trained and validated on."""


@dataclass(frozen=True)
class Labelled:
    """What a network sees, (B, P, S, S) or features (B, F), float32, and the classes (B,)."""

    x: NDArray[np.float32]
    label_B: Integers


class Pictures(Protocol):
    """Where the pictures of rows come from."""

    def read(self, rows: PictureSet) -> NDArray[np.float32]:
        """Return the pictures of rows in network range, (N, P, S, S)."""
        ...


class Gallery:
    """The pictures of a run's stores at one side; pickled without the pictures that it keeps.

    Parameters
    ----------
    root
        The run directory.
    size_pix
        Side that pictures are brought to.
    seed
        Seed of the run.
    kinds
        Kinds of augmentation, see `augment`.
    """

    def __init__(self, root: Path, size_pix: int, seed: int, kinds: Sequence[AugmentName]) -> None:
        self.root, self.size_pix, self.seed, self.kinds = root, size_pix, seed, tuple(kinds)
        self.stores: dict[int, StoreReader] = {}
        self.kept: dict[tuple[int, int, int], NDArray[Any]] = {}
        self.features: dict[str, NDArray[np.float32]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "stores": {}, "kept": {}, "features": {}}

    def store(self, source: int) -> StoreReader:
        """Return the open store of a number in `SOURCES`."""
        if source not in self.stores:
            self.stores[source] = StoreReader(self.root / f"{SOURCES[source]}.zarr")
        return self.stores[source]

    def read(self, rows: PictureSet) -> NDArray[np.float32]:
        """Return the pictures of rows in network range, (N, P, S, S)."""
        keys = list(zip(rows.source.tolist(), rows.index.tolist(), rows.copy.tolist(), strict=True))
        found = {key: self.kept[key] for key in keys if key in self.kept}
        missing = [key for key in dict.fromkeys(keys) if key not in found]
        for source in {key[0] for key in missing}:
            here = [key for key in missing if key[0] == source]
            whole = self.store(source).read("picture", [index for _, index, _ in here])
            found |= {key: self._finish(picture, *key[1:]) for key, picture in zip(here, whole, strict=True)}
        self._keep(found)
        return to_network(np.stack([found[key] for key in keys]))

    def keep_features(self, key: str, make: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return features that are kept under a key, the newest alone, and are made where they are not."""
        found = self.features.pop(key) if key in self.features else make()
        for old in list(self.features)[: 1 - MOST_FEATURES]:
            del self.features[old]
        # Last, as what was used last.
        self.features[key] = found
        return found

    def _finish(self, picture_PSS: NDArray[Any], index: int, copy: int) -> NDArray[Any]:
        # At the size of the store, where the strengths of the changes are meant.
        changed = augment(picture_PSS, self.seed, index, copy, self.kinds)
        return changed if changed.shape[-1] == self.size_pix else resize(changed, self.size_pix)

    def _keep(self, found: dict[tuple[int, int, int], NDArray[Any]]) -> None:
        size = next(iter(found.values())).nbytes
        if (len(self.kept) + len(found)) * size <= KEPT_BYTES:
            self.kept |= found


@lru_cache(maxsize=1)
def open_gallery(
    root: Path, fingerprint: str, size_pix: int, seed: int, kinds: tuple[AugmentName, ...]
) -> Gallery:
    """Return the gallery of a version of a stage, which the cells of a grid share in each process."""
    return Gallery(root, size_pix, seed, kinds)


class RowSamples:
    """Rows in their own order, each once.

    Parameters
    ----------
    gallery
        Where the pictures come from.
    rows
        The rows.
    classes
        The class, as the network counts it, of each label of the stores.
    """

    def __init__(self, gallery: Pictures, rows: PictureSet, classes: Integers) -> None:
        self.gallery, self.rows, self.classes = gallery, rows, classes

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> Integers:
        """The class of each row, as the network counts it."""
        return self.classes[self.rows.label]

    def read(self, places: NDArray[np.integer]) -> NDArray[np.float32]:
        """Return what the network sees of some rows."""
        return self.gallery.read(self.rows.pick(places))

    def pick(self, places: NDArray[np.integer]) -> Labelled:
        """Return some rows."""
        return Labelled(self.read(places), self.classes[self.rows.label[places]])

    def batch(self, first: int, count: int) -> Labelled:
        """Return rows ``first`` to ``first + count - 1``."""
        return self.pick(np.arange(first, first + count))


class SetSamples:
    """Endless samples of rows: each row comes once before any comes again, in an order drawn anew.

    Parameters
    ----------
    rows
        The rows, which are rows in their own order.
    key
        Seed and key of the random order.
    """

    def __init__(self, rows: RowSamples, key: tuple[int | str, ...]) -> None:
        self.rows, self.key = rows, key
        self.order: tuple[int, Integers] = (-1, np.empty(0, np.int64))

    def batch(self, first: int, count: int) -> Labelled:
        """Return samples ``first`` to ``first + count - 1``."""
        return self.rows.pick(np.array([self._place(n) for n in range(first, first + count)]))

    def _place(self, n: int) -> int:
        turn, place = divmod(n, len(self.rows))
        if self.order[0] != turn:
            seed, *key = self.key
            rng = stream(int(seed), *key, "order", turn)
            self.order = turn, rng.permutation(len(self.rows))
        return int(self.order[1][place])


class FeatureRows(RowSamples):
    """Rows of which the network sees features that were computed before, each once."""

    def __init__(self, rows: RowSamples, features_NF: NDArray[np.float32]) -> None:
        super().__init__(rows.gallery, rows.rows, rows.classes)
        self.features_NF = features_NF

    def read(self, places: NDArray[np.integer]) -> NDArray[np.float32]:
        """Return the features of some rows."""
        return self.features_NF[places]


def rows_of(reader: StoreReader, members: Integers, copies: int = 1) -> PictureSet:
    """Return rows of pictures of ``pictures.zarr``: all at copy 0, then all at copy 1, and so on."""
    index = np.tile(members, copies)
    zeros = np.zeros(len(index), np.int64)
    label, group = (reader.columns[name][index].astype(np.int64) for name in ("label", "group"))
    return PictureSet(zeros, index, np.repeat(np.arange(copies), len(members)), label, group, index)


def classes_of(labels: Sequence[str], macro: dict[str, list[str]], level: str) -> tuple[list[str], Integers]:
    """Return the names of the classes of a level, and the class of each label."""
    if level == "fine":
        return list(labels), np.arange(len(labels))
    owners = {name: place for place, members in enumerate(macro.values()) for name in members}
    return list(macro), np.array([owners[name] for name in labels])
