"""The tiles of the viewer: brightness and labels in files that a page may load from the disk.

A page opened from the disk may neither fetch data nor read the pixels of pictures, but it may load scripts.
A tile is therefore a script of one call, ``tile(name, height, width, data)``, with compressed numbers in
base64. Every pixel of level ``l`` stands for a block of ``2^l x 2^l`` pixels of the map: for the brightest of
them, so that no source fades away. A brightness is stored as a whole number whose steps grow with its root::

    number = sign(x) K (sqrt(1 + |x| / (S sigma)) - 1)

It is exact to ``sigma / 8 sqrt(1 + |x| / (S sigma))``. Only sums, products and roots are in it, which every
processor rounds alike, so that the bytes do not depend on the machine.
"""

import base64
import json
import math
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.challenge import strips
from astro_dist.engine.files import publish_bytes
from astro_dist.sky.windows import Window

K, S = 128, 16
BLANK, BRIGHTEST = -32768, 32767
KINDS = 4
"""Labels are ``KINDS * number + class``; classes are below it."""
Numbers = NDArray[np.int16]
Read = Callable[[Window], NDArray[Any]]
"""``(window) -> pixels`` of a map or of its labels."""


def last_level(shape: tuple[int, int]) -> int:
    """Return the level whose one tile is the whole map."""
    level = 0
    while max(shape) > strips.TILE_PIX << level:
        level += 1
    return level


def strip_files(strip: Window) -> tuple[str, ...]:
    """Return patterns of the files of a strip, below the folder of the tiles."""
    sides = {level: strips.TILE_PIX << level for level in range(strips.FINE + 1)}
    rows = {level: range(strip.y0 // side, math.ceil(strip.y1 / side)) for level, side in sides.items()}
    return tuple(f"{level}/{row:03d}-*.js" for level, some in rows.items() for row in some)


def quantise(pixels: NDArray[np.float32], sigma: float) -> Numbers:
    """Return the numbers of brightnesses in the unit of ``sigma``; `BLANK` is no data."""
    size = np.abs(pixels, dtype=np.float32)
    size *= np.float32(1 / (S * sigma))
    size += np.float32(1)
    np.sqrt(size, out=size)
    size -= np.float32(1)
    size *= np.float32(K)
    np.rint(size, out=size)
    np.copysign(np.minimum(size, BRIGHTEST, out=size), pixels, out=size)
    return np.where(np.isnan(pixels), np.float32(BLANK), size).astype(np.int16)


def restore(numbers: Numbers, sigma: float) -> NDArray[np.float64]:
    """Return the brightness of numbers, NaN for `BLANK`."""
    values = numbers.astype(np.float64)
    return np.where(numbers == BLANK, np.nan, np.sign(values) * S * sigma * ((1 + abs(values) / K) ** 2 - 1))


def coarsen(pixels: NDArray[Any], factor: int) -> NDArray[Any]:
    """Return the largest number of each block; blocks at the far edges may be smaller."""
    tall = np.maximum.reduceat(pixels, np.arange(0, pixels.shape[0], factor), axis=0)
    return np.maximum.reduceat(tall, np.arange(0, pixels.shape[1], factor), axis=1)


def write_strip(folder: Path, strip: Window, last: int, read: Callable[[Window], Numbers]) -> None:
    """Write the tiles of a strip, from the finest level to `strips.FINE` or the last one of the map."""
    slabs: list[Numbers] = []
    for y in range(strip.y0, strip.y1, strips.TILE_PIX):
        slabs.append(read(Window(y, min(y + strips.TILE_PIX, strip.y1), strip.x0, strip.x1)))
        write_row(folder / "0", y // strips.TILE_PIX, slabs[-1], pack_numbers)
        slabs[-1] = coarsen(slabs[-1], 2)
    pixels = np.concatenate(slabs)
    for level in range(1, min(strips.FINE, last) + 1):
        for y in range(0, len(pixels), strips.TILE_PIX):
            row = (strip.y0 >> level) // strips.TILE_PIX + y // strips.TILE_PIX
            write_row(folder / f"{level}", row, pixels[y : y + strips.TILE_PIX], pack_numbers)
        pixels = coarsen(pixels, 2)


def write_coarse(folder: Path, shape: tuple[int, int], read: Callable[[Window], Numbers]) -> None:
    """Write the tiles of all levels above `strips.FINE`, which belong to more than one strip."""
    if (last := last_level(shape)) <= strips.FINE:
        return
    pixels = coarsen_map(shape, 2 << strips.FINE, read)
    for level in range(strips.FINE + 1, last + 1):
        for y in range(0, len(pixels), strips.TILE_PIX):
            write_row(
                folder / f"{level}", y // strips.TILE_PIX, pixels[y : y + strips.TILE_PIX], pack_numbers
            )
        pixels = coarsen(pixels, 2)


def coarsen_map(shape: tuple[int, int], factor: int, read: Read) -> NDArray[Any]:
    """Return the largest number of each block of a whole map, which is read some rows at a time."""
    ny, nx = shape
    rows = [Window(y, min(y + strips.TILE_PIX, ny), 0, nx) for y in range(0, ny, strips.TILE_PIX)]
    return np.concatenate([coarsen(read(window), factor) for window in rows])


def write_labels(folder: Path, rows: Iterator[tuple[int, NDArray[np.int64]]]) -> list[str]:
    """Write labels of the levels 0 and `strips.FINE`; return the names of the tiles that have any.

    Parameters
    ----------
    rows
        ``(row of tiles, labels)`` of consecutive rows; labels are `KINDS` times the number plus the class.
    """
    coarse: dict[int, list[NDArray[np.int64]]] = {}
    names = []
    for row, labels in rows:
        names += write_row(folder / "0", row, labels, pack_runs)
        coarse.setdefault(row >> strips.FINE, []).append(coarsen(labels, 1 << strips.FINE))
    for row, parts in coarse.items():
        names += write_row(folder / f"{strips.FINE}", row, np.concatenate(parts), pack_runs)
    return names


def write_row(
    folder: Path, row: int, pixels: NDArray[Any], pack: Callable[[NDArray[Any]], bytes | None]
) -> list[str]:
    """Write a row of tiles but for those that ``pack`` returns None for; return the names of the others."""
    names = []
    for column, x in enumerate(range(0, pixels.shape[1], strips.TILE_PIX)):
        tile = pixels[:, x : x + strips.TILE_PIX]
        if (data := pack(tile)) is not None:
            names.append(f"{folder.name}/{row:03d}-{column:03d}")
            script = call("tile", f"{folder.parent.name}/{names[-1]}", *tile.shape, data)
            publish_bytes(folder.parent / f"{names[-1]}.js", script)
    return names


def pack_numbers(pixels: Numbers) -> bytes:
    """Return compressed numbers: differences along both axes, their low bytes before their high ones.

    Differences are folded, 0, -1, 1, -2 to 0, 1, 2, 3, so that the high bytes of small ones are all zero.
    """
    wide = np.zeros((pixels.shape[0] + 1, pixels.shape[1] + 1), np.uint16)
    wide[1:, 1:] = pixels.view(np.uint16) if pixels.flags.c_contiguous else pixels.copy().view(np.uint16)
    # Neighbours are alike within a beam. Unsigned numbers wrap around, so that nothing is lost.
    steps = np.diff(np.diff(wide, axis=0), axis=1).view(np.int16)
    folded = ((steps << 1) ^ (steps >> 15)).astype("<i2")
    # Noise has no repetitions to look for: runs and frequencies take a tenth of the time, and less room.
    packer = zlib.compressobj(6, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_RLE)
    return packer.compress(folded.view(np.uint8).reshape(-1, 2).T.tobytes()) + packer.flush()


def pack_runs(labels: NDArray[np.int64]) -> bytes | None:
    """Return compressed runs of equal labels: three arrays of their starts, lengths and labels."""
    flat = labels.reshape(-1)
    edges = np.flatnonzero(np.diff(flat)) + 1
    starts = np.concatenate([[0], edges])
    lengths = np.diff(np.concatenate([starts, [flat.size]]))
    kept = flat[starts] != 0
    if not kept.any():
        return None
    # A number of 31 bits and a class are stored apart.
    values = flat[starts][kept]
    arrays = starts[kept], lengths[kept], values // KINDS, values % KINDS
    return zlib.compress(np.stack(arrays).astype("<i4").tobytes(), 6)


def call(function: str, *arguments: object) -> bytes:
    """Return a script that calls a function of the page; bytes are given as base64."""
    given = [encode(one) if isinstance(one, bytes) else one for one in arguments]
    words = [json.dumps(one, separators=(",", ":")) for one in given]
    return f"{function}({','.join(words)})\n".encode()


def encode(data: bytes) -> str:
    """Return bytes as base64."""
    return base64.b64encode(data).decode()
