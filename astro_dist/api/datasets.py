"""Cutouts and stamps as a data set of PyTorch, read by the fast reader of the stores."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.hints import nearest
from astro_dist.store.reader import StoreReader
from astro_dist.store.schema import SPLIT_NAMES, stacks_of


class Cutouts(Dataset[dict[str, Tensor]]):
    """The images of a store, one mapping of tensors each, for `torch.utils.data.DataLoader`.

    A loader asks for a whole batch at once, which is read in parallel by threads, every checksum verified: a
    loader without workers is fast. Workers (``num_workers``) must be started by ``spawn``
    (``multiprocessing_context="spawn"``), as threads do not survive a fork.

    Parameters
    ----------
    path
        A run directory, or a store: ``cutouts.zarr`` or ``stamps.zarr``.
    split
        ``train``, ``validation`` or ``test``: the good cutouts of it; None takes every image, which is the
        only choice for stamps.
    arrays
        Names: ``image`` (float32, Jy/beam, NaN without data), ``mask``, ``instances``, ``valid``.
    columns
        Names of columns that are added as numbers, such as ``rms_jy_beam``.

    Attributes
    ----------
    indices
        Position in the store of each item, shape (n,).

    Raises
    ------
    ConfigError
        The split, an array or a column is not known.
    IntegrityError
        The path is no store, or an image fails its checksum.

    Examples
    --------
    >>> import astro_dist
    >>> data = astro_dist.Cutouts("runs/quickstart", split="train", columns=("rms_jy_beam",))
    >>> item = data[0]
    >>> item["image"].shape, item["mask"].dtype
    (torch.Size([128, 128]), torch.uint8)
    >>> from torch.utils.data import DataLoader
    >>> next(iter(DataLoader(data, batch_size=4)))["image"].shape
    torch.Size([4, 128, 128])
    """

    def __init__(
        self,
        path: str | Path,
        split: str | None = "train",
        arrays: Sequence[str] = ("image", "mask"),
        columns: Sequence[str] = (),
    ) -> None:
        folder = Path(path)
        self.process = os.getpid()
        self.reader = StoreReader(folder / "cutouts.zarr" if (folder / "ledger").is_dir() else folder)
        self.arrays, self.columns = tuple(arrays), tuple(columns)
        attrs, stored = self.reader.attrs, self.reader.columns
        self._refuse_unknown("array", self.arrays, {spec.name for spec in stacks_of(attrs["kind"], attrs)})
        self._refuse_unknown("column", self.columns, stored.keys())
        if split is not None:
            self._refuse_unknown("split", (split,), SPLIT_NAMES if "split" in stored else ())
        self.indices: NDArray[np.int64] = (
            np.arange(len(self.reader)) if split is None else self.reader.select(split)
        )

    def _refuse_unknown(self, what: str, words: Sequence[str], valid: Collection[str]) -> None:
        for word in words:
            if word not in valid:
                raise ConfigError(f"{self.reader.path} has no {what} {word!r}: {nearest(word, valid)}")

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Only processes that were spawned unpickle a data set.
        self.__dict__.update(state, process=os.getpid())

    def __repr__(self) -> str:
        return (
            f"Cutouts({str(self.reader.path)!r}): {len(self)} of {', '.join((*self.arrays, *self.columns))}"
        )

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.indices)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return one item."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"there are {len(self)} items, asked for {index}")
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Tensor]]:
        """Return several items with one read of each array; called by the loaders of PyTorch."""
        if self.process != os.getpid():
            raise ConfigError(
                "the workers of a DataLoader must be spawned: add multiprocessing_context='spawn', or leave "
                "num_workers out, which is fast too"
            )
        places = self.indices[np.asarray(indices, np.int64)]
        # Masks are uint8; PyTorch can add and compare instances only as int32.
        read = {name: self.reader.read(name, places) for name in self.arrays}
        read = {name: a.astype(np.int32) if a.dtype == np.uint16 else a for name, a in read.items()}
        read |= {name: self.reader.columns[name][places] for name in self.columns}
        tensors = {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in read.items()}
        return [{name: tensor[i] for name, tensor in tensors.items()} for i in range(len(places))]
