"""Mutated catalogues and label images of users, read as the stages read them.

``python -m tests.field.fuzz_catalogues SEED COUNT FOLDER`` runs handmade cases and COUNT mutated ones.
"""

import random
import sys
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import fits
from astropy.table import Table

from astro_dist.engine.errors import ConfigError
from astro_dist.field.catalogue import SourceCatalogue
from astro_dist.sky.labels import Labels, Plane
from astro_dist.sky.user_files import read_plane
from tests.fuzz import Case, report

ROWS = 50
VALUES = ("nan", "inf", "-1", "0", "1e400", "", "x", "1" * 400, "0x10", "1_0", "true", "\u0661", "-0.0")


def make_files(folder: Path) -> dict[str, Path]:
    """Write one sound file of each form and return the paths."""
    columns = {
        "flux_jy": np.linspace(1e-3, 1, ROWS),
        "ra_deg": np.full(ROWS, 10.0),
        "dec_deg": np.zeros(ROWS),
    }
    paths = {name: folder / f"good.{name}" for name in ("parquet", "csv", "fits")}
    pq.write_table(pa.table(columns), paths["parquet"])
    Table(columns).write(paths["csv"])
    Table(columns).write(paths["fits"])
    labels = np.zeros((200, 210), np.int16)
    labels[20:40, 30:50], labels[90:100, 90:99] = 2, 3
    fits.writeto(folder / "labels.fits", labels)
    fits.writeto(folder / "density.fits", labels.astype(np.float32))
    return paths | {name: folder / f"{name}.fits" for name in ("labels", "density")}


def use(kind: str, path: Path) -> None:
    """Read a file as the stage that it is given to reads it."""
    if kind == "labels":
        plane = Plane.open(path, 128)
        Labels.read(plane, None)
    elif kind == "density":
        if not np.isfinite(read_plane(path)).any():
            raise ConfigError("empty")
    else:
        SourceCatalogue.read(path)


def mutate(rng: random.Random, kind: str, content: bytes) -> bytes:
    """Change, cut, double or lengthen a file somewhere."""
    act, data = rng.random(), bytearray(content)
    if kind == "csv" and act < 0.6:
        lines = content.decode().splitlines()
        cells = lines[(row := rng.randrange(len(lines)))].split(",")
        cells[rng.randrange(len(cells))] = rng.choice(VALUES)
        lines[row] = ",".join(cells)
        return "\n".join(lines).encode()
    if act < 0.8:
        # The ends hold the sizes: headers of FITS, the footer of parquet.
        for _ in range(rng.choice([1, 1, 4])):
            near = min(len(data), rng.choice([100, 2880, len(data)]))
            data[rng.choice([1, -1]) * rng.randrange(near)] = rng.randrange(256)
        return bytes(data)
    if act < 0.9:
        return bytes(data[: rng.randrange(len(data))])
    at = rng.randrange(len(data))
    return bytes(data[:at] + data[at : at + rng.randrange(1, 3000)] * rng.choice([0, 2]) + data[at:])


def mutated(rng: random.Random, kind: str, sound: Path, folder: Path) -> None:
    """Write a mutated file and read it."""
    path = folder / f"case{sound.suffix}"
    path.write_bytes(mutate(rng, kind, sound.read_bytes()))
    use(kind, path)


def make_cases(seed: int, count: int, folder: Path) -> Iterator[Case]:
    """Yield the sound files and the mutated ones, each form in turn."""
    paths, rng = make_files(folder), random.Random(seed)
    for kind, path in paths.items():
        yield f"good {kind}", partial(use, kind, path)
    kinds = list(paths)
    for number in range(count):
        kind = kinds[number % len(kinds)]
        yield f"{kind} {number}", partial(mutated, rng, kind, paths[kind], folder)


def main(seed: int, count: int, folder: Path) -> None:
    """Run all cases."""
    warnings.simplefilter("ignore")
    cases = list(make_cases(seed, count, folder))
    for _, act in cases[:5]:
        act()
    report(cases)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
