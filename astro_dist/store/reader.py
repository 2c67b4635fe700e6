"""Reading stores in random batches, every checksum verified.

tensorstore reads and decodes the images of a batch in parallel in C++, some sixteen times as fast as
zarr-python for single cutouts. Both libraries read a missing shard file as fill value without an error, so
that `StoreReader` looks for every file when it opens a store.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore
from numpy.typing import NDArray

from astro_dist.engine.errors import IntegrityError
from astro_dist.store.config import BACKGROUND_ONLY
from astro_dist.store.opening import check_labels, check_maps
from astro_dist.store.schema import SPLIT_NAMES, read_attrs, read_columns, stacks_of
from astro_dist.store.shards import count_shards, shard_path


class StoreReader:
    """A store of cutouts, stamps or pictures, open for reading.

    A reader pickles as its path. Threads may share a reader. Forked processes may not, because tensorstore
    has threads of its own: start processes with ``spawn``.

    Attributes
    ----------
    path
        Folder of the store.
    attrs
        Attributes of the store, among them ``kind``, ``size_pix``, ``classes``, ``per_shard``.
    columns
        ``{name: values of shape (N,)}``.

    Raises
    ------
    IntegrityError
        The path is no store of this schema version, a shard file is missing, or a column is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.attrs = read_attrs(self.path)
        self.columns = read_columns(self.path, self.attrs)
        check_maps(self.path, self.attrs, self.columns)
        check_labels(self.path, self.attrs, self.columns)
        self._arrays: dict[str, Any] = {}
        # In Zarr a missing shard is read as fill value, without an error.
        if missing := missing_shards(self.path, self.attrs, len(self)):
            raise IntegrityError(
                f"{self.path}: {len(missing)} shard files are missing, the first is {missing[0]}; "
                "`astro-dist repair RUN` has the store made again"
            )

    def __len__(self) -> int:
        """Return the number N of images."""
        return len(next(iter(self.columns.values())))

    def __getstate__(self) -> Path:
        return self.path

    def __setstate__(self, path: Path) -> None:
        self.__init__(path)  # type: ignore[misc]

    def read(self, array: str, indices: Sequence[int] | NDArray[np.integer]) -> NDArray[Any]:
        """Return the images of one array at ``indices``, in that order.

        Parameters
        ----------
        array
            ``image`` (float32, Jy/beam, NaN where no data), ``mask`` (uint8), ``instances`` (uint16)
            or, in a store of cutouts, ``valid`` (bool); ``image_NAME`` and ``valid_NAME`` of a plane.
            In a store of pictures ``picture``: uint8 from 0 to 255, or float32 from -1 to 1.
        indices
            Positions from 0 to N - 1; may repeat.

        Returns
        -------
        ndarray
            Shape (len(indices), s, s); of pictures (len(indices), planes, s, s).

        Raises
        ------
        IntegrityError
            An image fails its checksum.
        IndexError
            A position is outside the store.
        """
        wanted = np.asarray(indices, dtype=np.int64)
        if wanted.size == 0:
            spec = self._spec(array)
            return np.empty((0, *spec.shape(self.attrs["size_pix"])), spec.dtype)
        if wanted.min() < 0 or wanted.max() >= len(self):
            raise IndexError(
                f"{self.path} holds {len(self)} images, asked for {wanted.min()}..{wanted.max()}"
            )
        try:
            return np.asarray(self._open(array)[wanted].read().result())
        except (ValueError, TypeError, OverflowError, MemoryError) as error:
            reason = " ".join(str(error).split())[:300]
            raise IntegrityError(
                f"{self.path}: the array {array} is damaged ({reason}); `astro-dist repair RUN` has it "
                "made again"
            ) from None

    def select(self, split: str) -> NDArray[np.int64]:
        """Return the positions of the pictures, or of the good cutouts (no flag set), of a split, ascending.

        Those of maps that give backgrounds alone are not among them, see `find_backgrounds`.
        """
        return np.flatnonzero(_is_good(self.columns, split) & ~self.is_background)

    @property
    def is_background(self) -> NDArray[np.bool_]:
        """Whether the map of each cutout gives backgrounds alone, shape (N,)."""
        return _is_background(self.attrs, self.columns)

    def _spec(self, array: str) -> Any:
        return next(spec for spec in stacks_of(self.attrs["kind"], self.attrs) if spec.name == array)

    def _open(self, array: str) -> Any:
        if array not in self._arrays:
            folder = self.path / self._spec(array).name
            spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{folder.absolute()}/"}}
            self._arrays[array] = tensorstore.open(spec, open=True, read=True).result()
        return self._arrays[array]


def find_backgrounds(
    attrs: Mapping[str, Any], columns: Mapping[str, NDArray[Any]], splits: Sequence[str]
) -> NDArray[np.int64]:
    """Return the good cutouts of some splits whose maps give backgrounds alone, ascending."""
    chosen = np.any([_is_good(columns, split) for split in splits], axis=0)
    return np.flatnonzero(chosen & _is_background(attrs, columns))


def _is_good(columns: Mapping[str, NDArray[Any]], split: str) -> NDArray[np.bool_]:
    # Pictures have no flags: what cannot be used is in no store of theirs.
    return np.asarray((columns["split"] == SPLIT_NAMES.index(split)) & (columns.get("flags", 0) == 0))


def _is_background(attrs: Mapping[str, Any], columns: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    if attrs.get("kind") == "pictures":
        return np.zeros(len(columns["split"]), np.bool_)
    only = np.array([bool(one.get(BACKGROUND_ONLY)) for one in attrs["maps"]], np.bool_)
    return only[columns["source_map"]]


def group_by_survey(
    attrs: Mapping[str, Any],
    columns: Mapping[str, NDArray[Any]],
    indices: NDArray[np.int64],
    splits: Sequence[str] = (),
) -> dict[int, NDArray[np.int64]]:
    """Return, for each of some cutouts, the cutouts among them that belong to the same survey.

    The survey's backgrounds in ``splits`` follow them.

    A background must come from the same survey: the sky of another survey has another beam and other noise,
    which would contradict the sources drawn over it.
    """
    names = [str(one.get("survey", "")) for one in attrs["maps"]]
    members = np.concatenate([indices, find_backgrounds(attrs, columns, splits)]) if splits else indices
    surveys = np.array([names[i] for i in columns["source_map"][members]], dtype=np.str_)
    groups = {name: members[surveys == name] for name in set(names)}
    return {int(i): groups[str(name)] for i, name in zip(indices, surveys, strict=False)}


def missing_shards(path: Path, attrs: dict[str, Any], n: int) -> list[str]:
    """Return the names, relative to the store, of the shard files that are missing."""
    missing = []
    for spec in stacks_of(attrs["kind"], attrs):
        folder = path / spec.name
        # One listing per array: a look at each of many files is slow on a shared file system.
        present = {file.name for file in os.scandir(folder) if file.is_file()} if folder.is_dir() else set()
        # Any other file in the folder, such as Zarr's metadata, is none of these names.
        wanted = (shard_path(path, spec, i) for i in range(count_shards(n, attrs["per_shard"])))
        missing += [f"{spec.name}/{file.name}" for file in wanted if file.name not in present]
    return missing
