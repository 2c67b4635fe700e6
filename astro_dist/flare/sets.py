"""`PictureSet`: the rows of a training set, and its parquet file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from astro_dist.engine.arrays import Integers
from astro_dist.sky.tables import read_table_file, write_table_file

SOURCES = ("pictures", "upscaled", "synthetic")
"""Stores of a run that pictures are in."""


@dataclass(frozen=True)
class PictureSet:
    """Rows of a set, each of shape (N,).

    Attributes
    ----------
    source
        Store of each picture, an index into `SOURCES`.
    index
        Position in that store.
    copy
        Number of the augmented copy; 0 is the picture itself.
    label
        Class, an index into the labels of the stores.
    group
        Group of near-duplicates of the parent.
    parents
        Picture of ``pictures.zarr`` that the pixels, or their condition, come from.
    """

    source: Integers
    index: Integers
    copy: Integers
    label: Integers
    group: Integers
    parents: Integers

    def __len__(self) -> int:
        """Return the number N of rows."""
        return len(self.index)

    def pick(self, places: NDArray[np.integer]) -> Self:
        """Return some of the rows."""
        return type(self)(*(getattr(self, field.name)[places] for field in fields(self)))

    @classmethod
    def join(cls, parts: Sequence["PictureSet"]) -> "PictureSet":
        """Return the rows of several sets, one after the other."""
        columns = ([getattr(part, field.name) for part in parts] for field in fields(cls))
        return cls(*(np.concatenate(column).astype(np.int64) for column in columns))


def write_pictures_set(path: Path, rows: PictureSet, about: Mapping[str, Any]) -> None:
    """Publish a set; ``about`` goes into the metadata."""
    names = pa.array(SOURCES)
    columns = {
        "source": pa.DictionaryArray.from_arrays(pa.array(rows.source.astype(np.int8)), names),
        "index": pa.array(rows.index.astype(np.int32)),
        "copy": pa.array(rows.copy.astype(np.int32)),
        "label": pa.array(rows.label.astype(np.int32)),
        "group": pa.array(rows.group.astype(np.int64)),
        # A list, because a picture may come from several.
        "parents": pa.ListArray.from_arrays(
            pa.array(np.arange(len(rows) + 1, dtype=np.int32)), pa.array(rows.parents.astype(np.int32))
        ),
    }
    table = pa.table(columns).replace_schema_metadata({"about": json.dumps(about, sort_keys=True)})
    write_table_file(path, table, compression="zstd")


def read_pictures_set(path: Path) -> tuple[PictureSet, dict[str, Any]]:
    """Return a set and what is said about it; raise `IntegrityError` for a damaged file."""
    table = read_table_file(path).combine_chunks()
    about = json.loads((table.schema.metadata or {})[b"about"])
    names = {name: place for place, name in enumerate(SOURCES)}
    source = np.array([names[name] for name in table["source"].to_pylist()], np.int64)
    numbers = (table[name].to_numpy() for name in ("index", "copy", "label", "group"))
    parents = table["parents"].combine_chunks().flatten().to_numpy()
    return PictureSet(source, *(column.astype(np.int64) for column in (*numbers, parents))), about
