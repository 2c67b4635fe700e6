"""Time the assembly of a large field beside copying its files.

    python -m tests.benchmarks.assembly [--objects 30000] [--shape 12000 15000] [--workers 1] [--rounds 3]

A background map of noise and a store of Gaussian stamps are made once in a temporary folder; then each
round runs the real functions of the stage and copies the three images it made, both with fsync. Timed
apart: background (noise mesh and islands of the map), layout (objects gathered and placed), bands
(objects added, images written), seal (checksums, and the engine's reading, which compares and digests every
file), truth (catalogues, statistics, pictures), hash (digests of what came with the truth). Nothing is
synthesised. The placement of 100,000 objects that fill 39 % of
the field is timed on its own. Ratios are printed and none is asserted: the page cache and other users
make wall times vary. CPU times, seen with one worker only, are steadier.
"""

import argparse
import os
import shutil
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import numpy as np

from astro_dist.engine.outputs import Reading
from astro_dist.engine.rounds import Rounds
from astro_dist.engine.seeds import stream
from astro_dist.field.config import AssembleConfig
from astro_dist.field.layers import LAYERS
from astro_dist.field.layout import Footprint, place, uniform
from astro_dist.field.library import Library
from astro_dist.field.stage import ASSEMBLE
from astro_dist.sky.annotate import AnnotateConfig
from astro_dist.sky.fits_file import (
    BandedImage,
    create_banded,
    plane_wcs,
    radio_header,
    seal_banded,
    write_rows,
)
from astro_dist.sky.maps import MapsConfig
from astro_dist.sky.windows import bands
from astro_dist.workers.attempts import SerialExecutor
from astro_dist.workers.processes import ProcessExecutor
from tests import settings
from tests.field.small_sky import BEAM, PIXEL, RMS, write_cutouts, write_stamp_store

BACKGROUND, LAYOUT, BANDS, SEAL, TRUTH = "background", "layout", "bands", "seal", "truth"
COPY, HASH = "copy", "hash"


@contextmanager
def timed(times, name):
    start, cpu = time.perf_counter(), os.times()
    yield
    used = sum(b - a for a, b in zip(cpu[:4], os.times()[:4], strict=True))
    times.setdefault(name, []).append((time.perf_counter() - start, used))


def write_background(path, shape):
    """White noise: the bytes of a map are what counts here, not its spectrum."""
    header = radio_header(shape, plane_wcs(shape, PIXEL, 180.0, -30.0), BEAM, 1.4e9)
    image = BandedImage(header, shape, "f4")
    create_banded(path, image)
    records = {}
    for number, window in enumerate(bands(shape, 512)):
        noise = stream(1, "benchmark", number).standard_normal(window.shape, dtype=np.float32)
        records[str(number)] = write_rows(path, window.y0, noise * np.float32(RMS))
    seal_banded(path, image, records)


def make_run(root, shape, objects):
    write_cutouts(root / "cutouts.zarr", ((BEAM, PIXEL),))
    write_stamp_store(root / "stamps.zarr", objects // 2 + 1, BEAM, PIXEL, 1, per_shard=64)
    write_background(root / "background.fits", shape)
    background = {"kind": "map", "path": str(root / "background.fits"), "islands": "keep"}
    assemble = AssembleConfig.model_validate({"objects": objects, "background": background})
    sections = {"maps": MapsConfig(), "annotate": AnnotateConfig(), "assemble": assemble}
    return settings.make_run(root, ASSEMBLE, "b" * 64, seed=1, name="benchmark", **sections)


def measure_round(run, workers, times):
    executor = ProcessExecutor(lambda stage, run: workers) if workers > 1 else SerialExecutor()
    copies = run.root / "copies"
    # Both are gone before either is written: who writes into memory just freed is several times faster.
    for folder in (run.output, copies):
        shutil.rmtree(folder, ignore_errors=True)
    rounds = Rounds(run, ASSEMBLE, run.fingerprint)
    rounds.records.forget_all()
    with executor.crew(ASSEMBLE, run) as crew:
        for name in (BACKGROUND, LAYOUT, BANDS):
            todo = rounds.look().missing
            with timed(times, name):
                ASSEMBLE.prepare(run)
                assert not crew.execute(todo, lambda task, result: None)
    results, reading = rounds.look().results, Reading(run.output)
    with timed(times, SEAL):
        ASSEMBLE.seal(run, results)
        assert not reading.find_damage(results)
    with timed(times, TRUTH):
        ASSEMBLE.finish(run, results)
    copies.mkdir()
    with timed(times, COPY):
        for name in LAYERS:
            with (run.output / name).open("rb") as source, (copies / name).open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 24)
                os.fsync(target.fileno())
    with timed(times, HASH):
        reading.digests(without=ASSEMBLE.scratch)


def measure_placement(shape, n=100_000, fill=0.39):
    """Place discs whose areas vary as those of radio sources do, largest first."""
    rng = np.random.default_rng(0)
    radii = np.sqrt(rng.gamma(1.5, 1.0, n))
    radii *= np.sqrt(fill * shape[0] * shape[1] / (np.pi * (radii**2).sum()))
    chosen = np.sort(np.round(radii).astype(int).clip(1))[::-1].tolist()
    discs = {}
    for radius in set(chosen):
        y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
        square = y * y + x * x
        discs[radius] = np.where(square <= radius * radius, 1 / (1 + square), 0).astype("f4")
    covered = sum(np.count_nonzero(discs[r]) for r in chosen) / (shape[0] * shape[1])
    start = time.perf_counter()
    ground = np.zeros(shape, np.uint8)
    rng = np.random.default_rng(1)
    places = place((Footprint.of(discs[r]) for r in chosen), ground, uniform(shape, rng))
    took = time.perf_counter() - start
    print(f"placement: {len(places)} of {n} placed, {100 * covered:.0f} % of the field, {took:.2f} s")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--objects", type=int, default=30_000)
    parser.add_argument("--shape", type=int, nargs=2, default=(12_000, 15_000))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    shape = tuple(options.shape)
    measure_placement(shape)
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder), shape, options.objects)
        times = {}
        for _ in range(options.rounds):
            measure_round(run, options.workers, times)
        print(
            f"{options.objects} of {len(Library(run.output))} objects on {shape}, seconds, median of rounds:"
        )
        report(times)


def report(times):
    for name, values in times.items():
        wall, cpu = zip(*values, strict=True)
        print(
            f"  {name:10s} {median(wall):7.2f}  ({min(wall):.2f} to {max(wall):.2f})  cpu {median(cpu):.2f}"
        )
    for names in ((BANDS,), (LAYOUT, BANDS), (LAYOUT, BANDS, TRUTH), (LAYOUT, BANDS, TRUTH, SEAL)):
        for kind, i in (("wall", 0), ("cpu", 1)):
            rounds = zip(*(times[name] for name in names), strict=True)
            ratios = [
                sum(part[i] for part in parts) / copy[i]
                for parts, copy in zip(rounds, times[COPY], strict=True)
            ]
            text = f"{median(ratios):.2f}  ({min(ratios):.2f} to {max(ratios):.2f})"
            print(f"{' + '.join(names)} / copy, {kind}: {text}")


if __name__ == "__main__":
    main()
