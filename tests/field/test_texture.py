"""A field whose noise has the texture of its survey."""

import shutil

import numpy as np
import pytest
from astropy.io import fits

from astro_dist.engine.errors import ConfigError
from astro_dist.field.texture import measure_texture
from astro_dist.store.reader import StoreReader
from astro_dist.store.schema import STACKS
from astro_dist.store.shards import write_shard
from tests.field.small_sky import BEAM, PIXEL, RMS, SIZE, assemble, digests, make_run

SETTINGS = {"shape": (140, 150), "objects": 4, "background": {"texture": "survey"}}
N = 6


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Stores whose cutouts hold rows of stripes, and one bright source each."""
    root = tmp_path_factory.mktemp("stores")
    make_run(root, n_stamps=8, beams=((BEAM, PIXEL),) * N)
    rng = np.random.default_rng(1)
    rows = np.repeat(rng.standard_normal((N, SIZE, 1)), SIZE, axis=2) + 0.3 * rng.standard_normal(
        (N, SIZE, SIZE)
    )
    mask = np.zeros((N, SIZE, SIZE), np.uint8)
    mask[:, 30:34, 30:34] = 2
    image = (RMS * np.where(mask, 500, rows)).astype(np.float32)
    for spec, values in zip(STACKS["cutouts"][:2], (image, mask), strict=True):
        write_shard(root / "cutouts.zarr", spec, 0, values, N)
    return root


def beside(stores, root, **settings):
    shutil.copytree(stores, root, dirs_exist_ok=True)
    return make_run(root, **SETTINGS, **settings)


def test_its_noise_is_striped_as_the_survey_is_and_no_band_changes_it(stores, tmp_path):
    one, other = beside(stores, tmp_path / "a", band_rows=512), beside(stores, tmp_path / "b", band_rows=37)
    assemble(one)
    assemble(other)
    assert digests(one) == digests(other)
    with fits.open(one.root / "field" / "map.fits") as hdus:
        image = hdus[0].data.astype(float) / RMS
        history = str(hdus[0].header["HISTORY"])
    assert "with the survey's texture" in history
    along, down = (np.diff(image, axis=axis).std() for axis in (1, 0))
    assert down > 1.5 * along
    assert np.median(abs(image)) == pytest.approx(0.67, abs=0.2)


def test_it_is_refused_where_it_cannot_hold(stores, tmp_path):
    with pytest.raises(ConfigError, match=r"background\.texture survey: what is as drawn or measured"):
        assemble(beside(stores, tmp_path / "wide", beam_major_arcsec=12))
    empty = make_run(tmp_path / "empty", n_stamps=8, **SETTINGS)
    with pytest.raises(ConfigError, match="no cutout has a measured noise"):
        measure_texture(StoreReader(empty.root / "cutouts.zarr"), tmp_path)
    with pytest.raises(ValueError, match="leave rms_jy_beam and texture out"):
        make_run(tmp_path, background={"kind": "map", "path": "x.fits", "texture": "survey"})
