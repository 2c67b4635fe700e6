"""Toy cutouts, in memory and in a store, and a run that trains on them in a second."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from astro_dist.models import device
from astro_dist.radio.pipeline import RADIO
from astro_dist.radio.trainings import RECIPES
from astro_dist.store.schema import COLUMNS, STACKS, publish_store
from astro_dist.store.shards import write_shard
from astro_dist.train.recipe import Cell
from tests.settings import make_run

SIDE, RMS = 48, 2e-4
SPLITS = ("train", "validation", "test", "guard")


@dataclass
class ToyReader:
    """Gaussian sources on white noise; every third cutout is empty, one pixel is NaN."""

    count: int = 12
    attrs: dict = field(default_factory=dict)
    columns: dict = field(default_factory=dict)

    def __post_init__(self):
        rng = np.random.default_rng(1)
        y, x = np.mgrid[:SIDE, :SIDE]
        shape = (self.count, SIDE, SIDE)
        snr = rng.standard_normal(shape).astype(np.float32)
        instances = np.zeros(shape, np.uint16)
        for i in range(self.count):
            for k in range(i % 3):
                cy, cx = rng.uniform(4, SIDE - 4, 2)
                source = 40 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 4)
                snr[i] += source
                instances[i][source > 3] = k + 1
        image = RMS * snr
        image[:, 0, 0] = np.nan
        self.arrays = {"image": image, "mask": 2 * (instances > 0).astype(np.uint8), "instances": instances}
        ones = np.ones(self.count, np.float32)
        self.columns = {
            "source_map": np.zeros(self.count, np.int32),
            "background_jy_beam": 0 * ones,
            "rms_jy_beam": RMS * ones,
            "beam_major_arcsec": 6 * ones,
            "beam_minor_arcsec": 6 * ones,
            "beam_pa_deg": 0 * ones,
            "split": np.where(np.arange(self.count) < self.count - 2, 0, 1).astype(np.uint8),
            "flags": np.zeros(self.count, np.uint16),
        }
        self.attrs = {
            "size_pix": SIDE,
            "survey": "s",
            "stretch": "asinh",
            "maps": [{"pixel_arcsec": [2.0, 2.0]}],
        }

    def read(self, array, indices):
        return self.arrays[array][np.asarray(indices)]

    def select(self, split):
        return np.flatnonzero(self.columns["split"] == SPLITS.index(split))


@pytest.fixture
def reader():
    return ToyReader()


def write_store(path, reader):
    """Write the toy cutouts as a real store."""
    arrays = {**reader.arrays, "valid": np.isfinite(reader.arrays["image"])}
    for spec in STACKS["cutouts"]:
        write_shard(path, spec, 0, arrays[spec.name], reader.count)
    zeros = np.zeros(reader.count)
    columns = {spec.name: reader.columns.get(spec.name, zeros) for spec in COLUMNS["cutouts"]}
    publish_store(path, "cutouts", SIDE, reader.count, columns, reader.attrs)


def make_cell(name, root, **settings):
    """Return the cell of a stage of the radio pipeline, with some settings of its section."""
    recipe = RECIPES[name]
    run = make_run(root, RADIO.stage(name), **{name: recipe.section(**settings)})
    return Cell(recipe, run, run.section(recipe.section), key=(name,))


@pytest.fixture
def toy_cell(tmp_path, reader):
    """Return a function that makes the cell of a stage with some settings, and its store of cutouts."""
    device.pin(1)
    common = {"steps": 6, "batch_size": 4, "crop_pix": 32, "threads": 1, "precision": "no"}

    def make(stage="autoencoder", root=tmp_path, **settings):
        cell = make_cell(stage, root, **{**common, **settings})
        cell.output.mkdir(parents=True, exist_ok=True)
        if not cell.run.product("cutouts.zarr").exists():
            write_store(cell.run.product("cutouts.zarr"), reader)
        return cell

    return make
