"""Artefacts as the survey's own bright sources have them: measured by stacking, added to a field."""

import shutil

import numpy as np
import pytest
from astropy.io import fits

from astro_dist.engine.errors import ConfigError
from astro_dist.field.columns import read_columns_file
from astro_dist.field.stacking import STACK_FILE, write_stack
from astro_dist.store.reader import StoreReader
from astro_dist.store.schema import STACKS
from astro_dist.store.shards import write_shard
from tests.field.small_sky import BEAM, PIXEL, RMS, SIZE, assemble, digests, make_run

BRIGHT = {"mode": "radiff", "scale": 300, "cap": 1000}
SETTINGS = {"shape": (150, 160), "objects": 8, "flux": BRIGHT, "artefacts_snr": 200}
N = 14


def streaked(n, seed=1):
    """Cutouts of one bright source each, in a dark streak along its row; beside it a neighbour, and noise."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((SIZE, SIZE))
    image, mask, instances = np.zeros((n, SIZE, SIZE)), *np.zeros((2, n, SIZE, SIZE), np.uint16)
    for i in range(n):
        cy, cx = rng.integers(26, 38, 2)
        image[i] += 400 * BEAM.profile(y - cy, x - cx, PIXEL) + rng.standard_normal((SIZE, SIZE))
        image[i] -= 400 * 0.01 * ((np.abs(y - cy) <= 2) & (np.abs(x - cx) >= 7))
        image[i] += 60 * BEAM.profile(y - cy - 18, x - cx - 4, PIXEL)
        mask[i][np.hypot(y - cy, x - cx) < 6], instances[i][np.hypot(y - cy, x - cx) < 6] = 2, 1
        mask[i][np.hypot(y - cy - 18, x - cx - 4) < 5] = 2
        instances[i][np.hypot(y - cy - 18, x - cx - 4) < 5] = 2
    return (RMS * image).astype(np.float32), mask.astype(np.uint8), instances


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    root = tmp_path_factory.mktemp("stores")
    make_run(root, n_stamps=8, beams=((BEAM, PIXEL),) * N)
    for spec, values in zip(STACKS["cutouts"][:3], streaked(N), strict=True):
        write_shard(root / "cutouts.zarr", spec, 0, values.astype(spec.dtype), N)
    return root


def beside(stores, root, **settings):
    shutil.copytree(stores, root, dirs_exist_ok=True)
    return make_run(root, **SETTINGS, **settings)


def test_a_stack_has_the_streak_and_no_neighbour_or_source(stores, tmp_path):
    write_stack(StoreReader(stores / "cutouts.zarr"), tmp_path)
    stack = np.load(tmp_path / STACK_FILE)
    middle = len(stack) // 2
    row = stack[middle]
    # Whole from three beams on, faded towards the rim.
    assert row[middle + 13 : middle + 17].mean() == pytest.approx(-0.01 * (1 - 14.5**2 / middle**2), rel=0.15)
    assert abs(stack[middle - 4 : middle + 5, middle - 4 : middle + 5]).max() == 0
    away = np.abs(stack)
    away[middle - 3 : middle + 4] = 0
    # 14 sources of 400 sigma: 0.07 % of noise each pixel, most of it shrunk away; the neighbour has 15 %.
    assert away.max() < 0.004


def test_a_field_carries_it_whatever_its_bands(stores, tmp_path):
    made = {}
    for name, pattern, rows in (("a", "survey", 512), ("b", "survey", 37), ("plain", None, 512)):
        kind = {"artefacts_pattern": pattern} if pattern else {"artefacts": False}
        run = beside(stores, tmp_path / name, band_rows=rows, **kind)
        assemble(run)
        made[name] = run
    assert digests(made["a"]) == digests(made["b"])
    images = {}
    for name in ("a", "plain"):
        with fits.open(made[name].root / "field" / "map.fits") as hdus:
            images[name] = hdus[0].data.astype(float)
    added = images["a"] - images["plain"]
    table = read_columns_file(made["a"].root / "field" / "artefacts.parquet")
    assert len(table["id"]) >= 3
    assert added.sum() / BEAM.area_pix(PIXEL) == pytest.approx(table["flux_jy"].sum(), rel=1e-3)
    write_stack(StoreReader(stores / "cutouts.zarr"), tmp_path)
    stack, expected = np.load(tmp_path / STACK_FILE), np.zeros((350, 360))
    for y, x, snr in zip(table["y_pix"], table["x_pix"], table["snr"], strict=True):
        top, left = (100 + int(np.floor(n + 0.5)) - len(stack) // 2 for n in (y, x))
        expected[top : top + len(stack), left : left + len(stack)] += RMS * snr * stack
    assert added == pytest.approx(expected[100:-100, 100:-100], abs=1e-3 * RMS)


def test_too_few_bright_sources_are_refused(stores, tmp_path):
    few = make_run(tmp_path / "few", n_stamps=8, beams=((BEAM, PIXEL),) * 3)
    for spec, values in zip(STACKS["cutouts"][:3], streaked(3), strict=True):
        write_shard(few.root / "cutouts.zarr", spec, 0, values.astype(spec.dtype), 3)
    with pytest.raises(ConfigError, match=r"3 compact sources above 100 sigma .* needs 10; set it to drawn"):
        write_stack(StoreReader(few.root / "cutouts.zarr"), tmp_path)
    with pytest.raises(ConfigError, match="artefacts_pattern survey"):
        assemble(beside(stores, tmp_path / "wide", artefacts_pattern="survey", beam_major_arcsec=12))
