"""Cutting and storing all tiles of a large map, and reading random batches, beside plain zarr-python.

``python -m tests.benchmarks.cutouts [--folder F] [--rounds 3] [--shape 12000 15000]`` prints medians and
ratios and asserts nothing. Every writer runs in a fresh process, in turn with the others; the clock runs
while it cuts, not while it imports. All wait for the disk (fsync), and ours computes sha256 of what it
writes. ``image`` stores brightness only; ``all`` is the whole stage, which also checks the map's checksum,
chooses the windows and stores mask, instances and valid.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import numpy as np
import zarr
from astropy.io import fits

from astro_dist.engine.custody import remove
from astro_dist.engine.files import tree_files
from astro_dist.engine.work import Run
from astro_dist.sky.annotations import Annotations
from astro_dist.sky.fits_file import (
    BandedImage,
    create_banded,
    plane_wcs,
    radio_header,
    seal_banded,
    write_rows,
)
from astro_dist.sky.maps import MapsConfig, SkyMap
from astro_dist.sky.windows import bands, tile_map
from astro_dist.store.config import CutoutsConfig
from astro_dist.store.cutouts import number_locally, read_windows
from astro_dist.store.reader import StoreReader
from astro_dist.store.schema import IMAGE, STACKS
from astro_dist.store.shards import write_shard
from astro_dist.store.stage import CUTOUTS
from tests import settings
from tests.store import small_survey

SIZE, SHARD = 128, 256
FINGERPRINT = "b" * 64


def make_map(root: Path, shape) -> None:
    """Write a map of noise and rectangular sources, row by row, and its annotations."""
    rng = np.random.default_rng(0)
    sky = small_survey.scatter("large", shape, int(np.prod(shape) // 9000), largest=20)
    path = root / "maps" / "large.fits"
    path.parent.mkdir(parents=True)
    header = radio_header(shape, plane_wcs(shape, sky.pixel, *sky.centre_deg), sky.beam, 1.4e9)
    image = BandedImage(header, shape, np.float32)
    create_banded(path, image)
    tops = np.array([island[1] for island in sky.islands])
    records = {}
    for band in bands(shape, 500):
        rows = small_survey.RMS * rng.standard_normal(band.shape, np.float32)
        for i in range(*np.searchsorted(tops, [band.y0 - 20, band.y1])):
            _, y0, y1, x0, x1 = sky.islands[i]
            rows[max(0, y0 - band.y0) : max(0, y1 - band.y0), x0:x1] += 20 * small_survey.RMS
        records[str(band.y0)] = write_rows(path, band.y0, rows)
    seal_banded(path, image, records)
    small_survey.write_annotations(root / "annotations", [sky])


def make_run(root: Path, threads: int = 1) -> Run:
    sections = {
        "maps": MapsConfig(files=(str(root / "maps" / "large.fits"),)),
        "cutouts": CutoutsConfig(mode="tiles", size_pix=SIZE, shard=SHARD, threads=threads),
    }
    return settings.make_run(root, CUTOUTS, FINGERPRINT, seed=4, name="small", **sections)


def write_images(root: Path, threads: int) -> None:
    """Cut and store the images with our reader of rows and our writer of shards."""
    run = make_run(root)
    sky_map = SkyMap.open(root / "maps" / "large.fits", run.section(MapsConfig), verify=False)
    tiles = tile_map(sky_map.shape, SIZE, SIZE)
    y0, x0 = np.array([(tile.y0, tile.x0) for tile in tiles]).T
    for shard, first in enumerate(range(0, len(tiles), SHARD)):
        here = slice(first, first + SHARD)
        images = np.empty((len(y0[here]), SIZE, SIZE), np.float32)
        for i, pixels in enumerate(read_windows(sky_map, y0[here], x0[here], SIZE)):
            images[i] = pixels
        write_shard(run.output, IMAGE, shard, images, SHARD, threads)


def write_stage(root: Path, threads: int) -> None:
    """Do all tasks of the stage, one after the other."""
    run = make_run(root, threads)
    state = CUTOUTS.open(run)
    for task in CUTOUTS.plan(run, {}):
        CUTOUTS.run(state, task)


def _do_tasks(root: Path, part: int) -> float:
    run = make_run(root)
    state = CUTOUTS.open(run)
    for task in list(CUTOUTS.plan(run, {}))[part::2]:
        CUTOUTS.run(state, task)
    return peak_mb()


def write_stage_by_two(root: Path) -> float:
    """Do the same in two processes that share the shards; the time they take to start is in the clock."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        return max(pool.map(_do_tasks, [root, root], [0, 1]))


def write_plain(root: Path, everything: bool) -> None:
    """Cut windows of the memory-mapped map one by one and assign whole shards to zarr-python arrays."""
    annotations = Annotations.load(root / "annotations")
    with fits.open(root / "maps" / "large.fits", memmap=True) as file:
        data = file[0].data
        tiles = tile_map(data.shape, SIZE, SIZE)
        specs = STACKS["cutouts"] if everything else (IMAGE,)
        group = zarr.create_group(make_run(root).output)
        stacks = {spec.name: _create_plain(group, spec, len(tiles)) for spec in specs}
        for first in range(0, len(tiles), SHARD):
            here = tiles[first : first + SHARD]
            block = {name: np.empty((len(here), SIZE, SIZE), array.dtype) for name, array in stacks.items()}
            for i, tile in enumerate(here):
                block["image"][i] = data[tile.slices]
                if everything:
                    block["mask"][i], islands = annotations.paint(0, tile)
                    block["instances"][i], _ = number_locally(islands, block["mask"][i])
            if everything:
                np.isfinite(block["image"], out=block["valid"])
            for name, array in stacks.items():
                array[first : first + len(here)] = block[name]
    for path in tree_files(make_run(root).output):
        with path.open("rb") as written:
            os.fsync(written.fileno())


def _create_plain(group, spec, n):
    return group.create_array(
        spec.name,
        shape=(n, SIZE, SIZE),
        dtype=np.dtype(spec.dtype),
        chunks=(1, SIZE, SIZE),
        shards=(SHARD, SIZE, SIZE),
        compressors=[zarr.codecs.ZstdCodec(level=1), zarr.codecs.Crc32cCodec()],
        fill_value=spec.fill,
    )


WRITERS = {
    "zarr image": lambda root: write_plain(root, False),
    "ours image, 1 thread": lambda root: write_images(root, 1),
    "ours image, 2 threads": lambda root: write_images(root, 2),
    "zarr all": lambda root: write_plain(root, True),
    "ours all, 1 thread": lambda root: write_stage(root, 1),
    "ours all, 2 threads": lambda root: write_stage(root, 2),
    "ours all, 2 processes": write_stage_by_two,
}


def peak_mb() -> float:
    """Return the largest resident memory of this process; ru_maxrss would include that of its parent."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


def measure(root: Path, name: str) -> None:
    """Run one writer in this process and print its seconds, CPU seconds and peak memory."""
    remove(make_run(root).output)
    os.sync()
    start, before = time.perf_counter(), os.times()
    peak = WRITERS[name](root) or 0.0
    seconds, after = time.perf_counter() - start, os.times()
    cpu = sum(after[:4]) - sum(before[:4])
    print(json.dumps({"s": seconds, "cpu_s": cpu, "peak_mb": max(peak, peak_mb())}))


def compare_writers(root: Path, rounds: int, n: int) -> None:
    results = {name: [] for name in WRITERS}
    for _ in range(rounds):
        for name, told in results.items():
            command = [
                sys.executable,
                "-m",
                "tests.benchmarks.cutouts",
                "--folder",
                str(root),
                "--measure",
                name,
            ]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            told.append(json.loads(done.stdout.splitlines()[-1]))
    header = ("writer", "median s", "min", "max", "CPU s", "cutouts/s", "peak MB", "x zarr", "x CPU")
    print(f"{header[0]:<24}" + "".join(f"{title:>10}" for title in header[1:]))
    for name, told in results.items():
        base = results["zarr all" if " all" in name else "zarr image"]
        ratios = [median(b[key] / t[key] for b, t in zip(base, told, strict=True)) for key in ("s", "cpu_s")]
        seconds = [t["s"] for t in told]
        print(
            f"{name:<24}{median(seconds):>10.2f}{min(seconds):>10.2f}{max(seconds):>10.2f}"
            f"{median(t['cpu_s'] for t in told):>10.2f}{n / median(seconds):>10.0f}"
            f"{max(t['peak_mb'] for t in told):>10.0f}{ratios[0]:>10.2f}{ratios[1]:>10.2f}"
        )


def compare_readers(root: Path, rounds: int) -> None:
    """Read random batches of 64 images of the finished store."""
    run = make_run(root)
    remove(run.output)
    state = CUTOUTS.open(run)
    CUTOUTS.finish(run, {task.name: CUTOUTS.run(state, task) for task in CUTOUTS.plan(run, {})})
    reader, plain = StoreReader(run.output), zarr.open_group(run.output, mode="r")["image"]
    readers = {"ours": lambda batch: reader.read("image", batch), "zarr": lambda batch: plain.oindex[batch]}
    rng, times = np.random.default_rng(1), {name: [] for name in readers}
    for _ in range(20 * rounds):
        batch = rng.integers(0, len(reader), 64)
        for name, read in readers.items():
            start = time.perf_counter()
            read(batch)
            times[name].append(time.perf_counter() - start)
    rate = {name: 64 / median(values) for name, values in times.items()}
    print(
        f"random batches of 64: ours {rate['ours']:.0f} cutouts/s, zarr-python oindex {rate['zarr']:.0f}, "
        f"ratio {rate['ours'] / rate['zarr']:.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where to work; by default a temporary folder")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shape", type=int, nargs=2, default=[12000, 15000])
    parser.add_argument("--measure", choices=WRITERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.folder, options.measure)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        root = Path(folder)
        make_map(root, tuple(options.shape))
        n = len(tile_map(options.shape, SIZE, SIZE))
        print(f"{n} tiles of {SIZE} x {SIZE} pixels from a map of {options.shape[0]} x {options.shape[1]}")
        compare_writers(root, options.rounds, n)
        compare_readers(root, options.rounds)


if __name__ == "__main__":
    main()
