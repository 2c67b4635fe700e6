"""The pictures of a run of the pipeline `enhance` as PNG files, named as the pictures they come from."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import publish_bytes
from astro_dist.engine.pixels import from_network, to_network
from astro_dist.exports.target import Target
from astro_dist.pictures.images import png_bytes, to_image
from astro_dist.store.pictures import UNREADABLE
from astro_dist.store.reader import StoreReader

STORE = "pictures.zarr"
AT_ONCE = 64
"""Pictures that are in memory at once."""


def export_pictures(run: Path, what: str, target: Target) -> None:
    """Write the pictures of ``RUN/WHAT/pictures.zarr`` into a folder, a PNG file of 8 bits for each.

    Parameters
    ----------
    what
        ``enhanced`` or ``cleaned``.

    Raises
    ------
    ConfigError
        The run has no such pictures; the message says what there is.
    """
    path = run / what / STORE
    if not path.is_dir():
        if any((run / what).glob("*.fits")):
            raise ConfigError(f"{run / what} holds FITS images already, which every viewer reads")
        stage = {"enhanced": "enhance", "cleaned": "cleaning"}[what]
        raise ConfigError(
            f"{run} has no {what} pictures yet; `astro-dist run` to the stage {stage} makes them"
        )
    store = StoreReader(path)
    paths = [target.folder / name for name in _name_files(store)]
    # In the place of a picture that could not be read is a plain one.
    rows = [row for row in range(len(store)) if row not in set(store.attrs.get(UNREADABLE, []))]
    target.total = len(rows)
    left = [row for row in rows if not target.skips([paths[row]])]
    for row, picture in target.watch(_read(store, left)):
        pixels = from_network(to_network(picture), "uint8")
        publish_bytes(paths[row], png_bytes(to_image(np.asarray(pixels))))


def _read(store: StoreReader, rows: list[int]) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield pictures with their numbers."""
    for first in range(0, len(rows), AT_ONCE):
        some = rows[first : first + AT_ONCE]
        yield from zip(some, store.read("picture", some), strict=True)


def _name_files(store: StoreReader) -> list[str]:
    """Return the file of each picture: its own name, with its number where two would be one."""
    names = [store.attrs["names"][file] for file in store.columns["file"]]
    plain = [str(PurePosixPath(name).with_suffix(".png")) for name in names]
    count = Counter(plain)
    return [
        one if count[one] == 1 else f"{one.removesuffix('.png')}-{row:06}.png"
        for row, one in enumerate(plain)
    ]
