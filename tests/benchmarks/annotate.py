"""Reading and annotating a large plain map, and the same map with zeros.

``python -m tests.benchmarks.annotate [--folder F] [--rounds 5] [--shape 2000 15000]`` prints the least CPU
seconds, which other work on the machine changes little, and asserts nothing. `plain` has noise and sources,
`border` exact zeros outside a circle, `sparse` one zero in a hundred pixels, as quantised surveys have.
Reading is by the bands of `annotate`; annotating is both rounds of tasks and their tables in one process,
without opening the map.

``--against FOLDER`` compares with another checkout of the project: CPU seconds for reading the plain map and
for finding its islands, of this one over the other, in turn and in processes of their own.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from astro_dist.sky.annotate import Annotator
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.config import AnnotateConfig, MapsConfig
from astro_dist.sky.finder import read_blocks
from astro_dist.sky.fits_file import (
    BandedImage,
    create_banded,
    plane_wcs,
    radio_header,
    seal_banded,
    write_rows,
)
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.stages import ANNOTATE
from astro_dist.sky.windows import bands
from tests.settings import make_run

CHILD = """
import sys, time
from pathlib import Path
from astro_dist.sky.annotate import AnnotateConfig, find_islands
from astro_dist.sky.finder import read_blocks
from astro_dist.sky.maps import MapsConfig, SkyMap
sky_map, config = SkyMap.open(Path(sys.argv[1]), MapsConfig()), AnnotateConfig()
whole = list(read_blocks(sky_map, config, 0, sky_map.shape[0]))
def seconds(work):
    start = time.process_time()
    work()
    return time.process_time() - start
read = lambda: [sky_map.read(window).sum() for window in whole]
works = read, lambda: find_islands(sky_map, config)
# The first time of each imports.
print(*(min([seconds(work) for _ in range(4)][1:]) for work in works))
"""
"""What runs in both checkouts: names that have stayed since the first version."""
BEAM, PIXEL, RMS = Beam(6.0, 6.0), Pixel(1.5, 1.5), np.float32(2e-5)
ROWS = 500


def make_map(path, shape, kind):
    """Write noise with one bright pixel in ten thousand, band by band."""
    header = radio_header(shape, plane_wcs(shape, PIXEL, 180.0, -30.0), BEAM, 1.4e9)
    image = BandedImage(header, shape, np.float32)
    create_banded(path, image)
    records = {}
    for band in bands(shape, ROWS):
        rng = np.random.default_rng(band.y0)
        rows = RMS * rng.standard_normal(band.shape, np.float32)
        rows[rng.random(band.shape, np.float32) < 1e-4] += 30 * RMS
        if kind == "sparse":
            rows[rng.random(band.shape, np.float32) < 0.01] = 0
        if kind == "border":
            y, x = np.ogrid[band.y0 : band.y1, : shape[1]]
            rows[np.hypot(y / shape[0] - 0.5, x / shape[1] - 0.5) > 0.45] = 0
        records[str(band.y0)] = write_rows(path, band.y0, rows)
    seal_banded(path, image, records)


def read(root, path):
    """Return the CPU seconds for reading a map once."""
    sky_map = SkyMap.open(path, MapsConfig(), verify=False)
    start = time.process_time()
    for window in read_blocks(sky_map, AnnotateConfig(), 0, sky_map.shape[0]):
        sky_map.read(window)
    return time.process_time() - start


def annotate(root, path):
    """Return the CPU seconds for all tasks of `annotate`."""
    shutil.rmtree(root / "run", ignore_errors=True)
    run = make_run(root / "run", ANNOTATE, maps=MapsConfig(files=(str(path),)), annotate=AnnotateConfig())
    ANNOTATE.prepare(run)
    state, results = Annotator.open(run), {}
    start = time.process_time()
    while missing := [task for task in ANNOTATE.plan(run, results) if task.name not in results]:
        results |= {task.name: ANNOTATE.run(state, task) for task in missing}
    return time.process_time() - start


def compare(path, other, pairs):
    """Print CPU seconds of this checkout over those of another one, measured in turn."""
    here, ratios = Path(__file__).parents[2], []
    for number in range(pairs):
        seconds = {}
        # Which one is first changes: a machine that slows down would favour it.
        for folder in (here, other)[:: 1 if number % 2 else -1]:
            seconds[folder] = run_in(folder, path)
        ratios.append(seconds[here] / seconds[other])
        print(number, *seconds[here].round(3), "s and", *seconds[other].round(3), "s", flush=True)
    for name, values in zip(("reading", "islands"), np.transpose(ratios), strict=True):
        low, middle, high = np.percentile(values, [25, 50, 75])
        print(f"{name}: {middle:.3f} of the other; half of {len(values)} pairs {low:.3f} to {high:.3f}")


def run_in(folder, path):
    """Return what `CHILD` prints in a checkout."""
    python_path = f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    environment = {**os.environ, "PYTHONPATH": python_path, "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-c", CHILD, str(path)]
    done = subprocess.run(line, cwd=folder, env=environment, check=True, text=True, stdout=subprocess.PIPE)
    return np.array(done.stdout.split(), float)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where to work; by default a temporary folder")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shape", type=int, nargs=2, default=[2000, 15_000])
    parser.add_argument("--against", type=Path, help="another checkout of the project")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        root = Path(folder)
        if given.against:
            make_map(root / "plain.fits", tuple(given.shape), "plain")
            compare(root / "plain.fits", given.against.resolve(), given.rounds)
            return
        paths = {kind: root / f"{kind}.fits" for kind in ("plain", "border", "sparse")}
        for kind, path in paths.items():
            make_map(path, tuple(given.shape), kind)
        for measure in (read, annotate):
            seconds = {kind: [] for kind in paths}
            for _ in range(given.rounds):
                for kind, path in paths.items():
                    seconds[kind].append(measure(root, path))
            for kind, values in seconds.items():
                rate = np.prod(given.shape) / 1e6 / min(values)
                print(f"{measure.__name__:<9} {kind:<7} {min(values):7.3f} s {rate:7.0f} Mpix/s")


if __name__ == "__main__":
    main()
