"""Cases of lying stores: ``python -m tests.store.fuzz_stores COUNT FOLDER``."""

import json
import os
import random
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from numcodecs import zstd

from astro_dist.store.reader import StoreReader
from astro_dist.store.verify import verify_store
from tests.fuzz import Case, report
from tests.store.test_schema import make_store

Change = Callable[[Path], object]
VALUES: tuple[Any, ...] = (
    *(None, 0, -1, 1, 3, 10**12, 2**63, 10**30, 1.5, float("nan"), True, "", "x", "a\nb", [], {}, [1, 2]),
    *([10**12], [5, 10**9, 10**9], [0, 0, 0], {"a": 1}, "float64", [{"name": "gzip"}], [[[]]], "9" * 999),
)


def use(path: Path) -> None:
    """Read a store as a run does; `verify_store` first, whose faults are lines and no errors."""
    for fault in verify_store(path):
        if "\n" in fault:
            raise ValueError(f"not one line: {fault}")
    reader = StoreReader(path)
    for name in ("image", "mask", "instances"):
        reader.read(name, [0, len(reader) - 1])
    reader.select("train")


def change_json(path: Path, act: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON file in place."""
    tree = json.loads(path.read_text())
    act(tree)
    path.write_text(json.dumps(tree))


def set_attribute(name: str, value: Any, folder: Path) -> None:
    """Change one attribute of a store; `...` takes it out."""

    def act(tree: dict[str, Any]) -> None:
        tree["attributes"][name] = value
        if value is ...:
            del tree["attributes"][name]

    change_json(folder / "zarr.json", act)


def set_array(array: str, key: str, value: Any, folder: Path) -> None:
    """Change the metadata of an array, in its own file and in the consolidated copy."""
    change_json(folder / array / "zarr.json", lambda tree: tree.update({key: value}))
    change_json(
        folder / "zarr.json",
        lambda tree: tree["consolidated_metadata"]["metadata"][array].update({key: value}),
    )


def set_lengths(n: int, folder: Path) -> None:
    """Let all arrays be of a length that no file bears out."""
    for file in folder.glob("*/zarr.json"):
        tree = json.loads(file.read_text())
        shape = [n, *tree["shape"][1:]]
        grid = tree["chunk_grid"]
        if len(shape) == 1:
            grid["configuration"]["chunk_shape"] = [n]
        set_array(file.parent.name, "shape", shape, folder)
        set_array(file.parent.name, "chunk_grid", grid, folder)


def handmade() -> Iterator[tuple[str, Change]]:
    """Yield name and change of each handmade case."""
    yield "good", lambda _: None
    for name in ("size_pix", "per_shard", "kind", "survey", "stretch", "maps", "classes", "schema_version"):
        yield f"bad {name} away", partial(set_attribute, name, ...)
    for name, value in (
        *(("size_pix", 0), ("size_pix", 10**9), ("size_pix", "8"), ("per_shard", 0), ("per_shard", 10**12)),
        *(("per_shard", True), ("kind", ["cutouts"]), ("kind", "stamps"), ("survey", 3), ("stretch", "log")),
        *(("maps", {}), ("maps", [3] * 5), ("maps", [{"pixel_arcsec": [0, 1]}] * 5), ("maps", [])),
    ):
        yield f"bad {name} {value}"[:40], partial(set_attribute, name, value)
    yield "bad image shape", partial(set_array, "image", "shape", [5, 10**9, 10**9])
    yield "bad mask type", partial(set_array, "mask", "data_type", "float64")
    yield "bad codec", partial(set_array, "ra_deg", "codecs", [{"name": "pickle"}])
    yield "bad column length", partial(set_array, "y0", "shape", [10**12])
    for n in (10**12, 10**9, 6, 0):
        yield f"bad lengths {n}", partial(set_lengths, n)
    bomb = zstd.compress(bytes(1 << 27), 1)
    yield "bad column bomb", lambda folder: (folder / "x0" / "c.0").write_bytes(bomb + b"crc!")
    yield "bad metadata", lambda folder: (folder / "zarr.json").write_bytes(b"[" * 100_000)
    yield "bad metadata of image", lambda folder: (folder / "image" / "zarr.json").write_text("{}")
    yield "bad pipe", lambda folder: ((folder / "zarr.json").unlink(), os.mkfifo(folder / "zarr.json"))
    yield (
        "bad shard pipe",
        lambda folder: (
            (folder / "mask" / "c.0.0.0").unlink(),
            os.mkfifo(folder / "mask" / "c.0.0.0"),
        ),
    )


def mutated(rng: random.Random, folder: Path) -> None:
    """Lie once somewhere in the metadata, or in any byte of any file."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    file = rng.choice([path for path in files if path.name == "zarr.json"])
    if rng.random() < 0.6:
        tree = json.loads(file.read_text())
        spot: Any = tree
        for _ in range(rng.randrange(1, 6)):
            key = rng.choice(sorted(spot) if isinstance(spot, dict) else range(len(spot)))
            if not isinstance(spot[key], dict | list) or not spot[key]:
                break
            parent, spot = spot, spot[key]
        else:
            key = next(key for key in (parent if isinstance(parent, dict) else range(len(parent))))
            spot = parent
        spot[key] = rng.choice(VALUES)
        file.write_text(json.dumps(tree))
    else:
        file = rng.choice(files)
        content = bytearray(file.read_bytes())
        content[rng.randrange(len(content))] = rng.randrange(256)
        file.write_bytes(content)


def make_cases(count: int, root: Path) -> Iterator[Case]:
    """Yield one case for each store."""
    rng, folder = random.Random(1), root / "case.zarr"
    for name, change in [*handmade(), *((f"mutated {n}", partial(mutated, rng)) for n in range(count))]:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(root / "good.zarr", folder)
        change(folder)
        yield name, partial(use, folder)


def main(count: int, root: Path) -> None:
    """Run all cases."""
    warnings.simplefilter("ignore")
    use(make_store(root / "good.zarr"))
    report(make_cases(count, root))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
