"""A run directory with small maps of noise and painted islands, as after `annotate`."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from astro_dist.engine.outputs import Reading
from astro_dist.engine.seeds import stream
from astro_dist.engine.work import Run
from astro_dist.sky.annotations import ISLANDS, MESH, PIXELS, PixelWriter, write_parquet
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.fits_file import (
    BandedImage,
    create_banded,
    plane_wcs,
    radio_header,
    seal_banded,
    write_rows,
)
from astro_dist.sky.maps import MapsConfig
from astro_dist.store.config import CutoutsConfig
from tests import settings

BEAM, PIXEL = Beam(6.0, 5.0, 30.0), Pixel(1.5, 1.5)
RMS, BACKGROUND, CELL = np.float32(2e-4), np.float32(1e-5), 64


@dataclass
class SmallMap:
    """A map: shape, sky position of its centre, and islands as (class, y0, y1, x0, x1) filled rectangles."""

    name: str
    shape: tuple[int, int]
    islands: list = field(default_factory=list)
    centre_deg: tuple[float, float] = (180.0, -30.0)
    pixel: Pixel = PIXEL
    beam: Beam = BEAM

    def image(self):
        rng = stream(8, self.name)
        image = (RMS * rng.standard_normal(self.shape, np.float32) + BACKGROUND).astype(np.float32)
        for _, y0, y1, x0, x1 in self.islands:
            image[y0:y1, x0:x1] += 20 * RMS
        return image


def scatter(name, shape, n, seed=1, largest=30, **settings):
    """Return a map with ``n`` random rectangles that do not touch, a third of them extended."""
    rng = stream(seed, "scatter", name)
    taken = np.zeros(shape, bool)
    islands = []
    while len(islands) < n:
        extended = len(islands) % 3 == 0
        h, w = rng.integers(8, largest, 2) if extended else rng.integers(2, 6, 2)
        y, x = rng.integers(0, shape[0] - h), rng.integers(0, shape[1] - w)
        around = np.s_[max(0, y - 1) : y + h + 1, max(0, x - 1) : x + w + 1]
        if not taken[around].any():
            taken[y : y + h, x : x + w] = True
            kind = SourceClass.EXTENDED if extended else SourceClass.COMPACT
            islands.append((int(kind), int(y), int(y + h), int(x), int(x + w)))
    return SmallMap(name, shape, sorted(islands, key=lambda i: (i[1], i[3])), **settings)


def write_fits(path: Path, image, centre_deg=(180.0, -30.0), pixel=PIXEL, beam=BEAM) -> None:
    header = radio_header(image.shape, plane_wcs(image.shape, pixel, *centre_deg), beam, 1.4e9)
    path.parent.mkdir(parents=True, exist_ok=True)
    banded = BandedImage(header, image.shape, np.float32)
    create_banded(path, banded)
    seal_banded(path, banded, {"all": write_rows(path, 0, image)})


def write_annotations(folder: Path, maps: list[SmallMap]) -> None:
    folder.mkdir(parents=True)
    rows, nodes = [], []
    with PixelWriter(folder / PIXELS) as writer:
        for index, one in enumerate(maps):
            painted = np.zeros(one.shape, np.int32)
            for number, (kind, y0, y1, x0, x1) in enumerate(one.islands, 1):
                rows.append((index, number, y0, y1, x0, x1, kind))
                painted[y0:y1, x0:x1] = number
            if one.islands:
                y, x = np.nonzero(painted)
                writer.write(index, y.astype(np.int32), x.astype(np.int32), painted[y, x])
            cells = -(-one.shape[0] // CELL) * -(-one.shape[1] // CELL)
            nodes.append(np.full(cells, index))
    table = np.array(rows, np.int32).reshape(-1, 7).T
    columns = dict(zip(("map", "island", "y0", "y1", "x0", "x1", "class"), table, strict=True))
    columns["class"] = columns["class"].astype(np.uint8)
    about = [{"name": one.name, "shape": list(one.shape), "cell_pix": CELL} for one in maps]
    write_parquet(folder / ISLANDS, columns, about)
    index = np.concatenate(nodes).astype(np.int32)
    rms, background = np.full(len(index), RMS), np.full(len(index), BACKGROUND)
    write_parquet(folder / MESH, {"map": index, "background_jy_beam": background, "rms_jy_beam": rms})


def make_run(root: Path, maps: list[SmallMap], stage, seed=4, images=None, **cutouts) -> Run:
    """Write the maps and their annotations below ``root`` and return the run as ``stage`` gets it."""
    for one in maps:
        image = one.image() if images is None else images[one.name]
        write_fits(root / "maps" / f"{one.name}.fits", image, one.centre_deg, one.pixel, one.beam)
    write_annotations(root / "annotations", maps)
    files = MapsConfig(files=(str(root / "maps" / "*.fits"),), survey="small")
    sections = {"maps": files, "cutouts": CutoutsConfig(**cutouts)}
    return settings.make_run(root, stage, seed=seed, name="small", **sections)


def execute(stage, run: Run, order=None):
    """Do all tasks of a stage in this process, in the given order, and finish; return results and facts."""
    tasks = list(stage.plan(run, {}))
    stage.prepare(run)
    state = stage.open(run)
    results = {task.name: stage.run(state, task) for task in (tasks if order is None else order(tasks))}
    stage.seal(run, results)
    assert Reading(run.output).find_damage(results) == set()
    return results, stage.finish(run, results)
