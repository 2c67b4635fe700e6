"""Maps of the noise that users bring: found by their pixels, and used for the mesh."""

import numpy as np
import pytest
from astropy.io import fits

from astro_dist.engine.errors import ConfigError
from astro_dist.sky.annotate import Annotator
from astro_dist.sky.annotations import read_parquet
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.config import AnnotateConfig, MapsConfig
from astro_dist.sky.files import map_sources
from astro_dist.sky.fits_file import plane_wcs, radio_header
from astro_dist.sky.maps import open_maps
from astro_dist.sky.noise_maps import open_noise
from astro_dist.sky.stages import ANNOTATE
from tests.settings import make_run

SHAPE, CELL, BEAM = (128, 192), 64, Beam(6, 6)


def write(path, image, ra_deg=180.0, beam=BEAM, unit="Jy/beam"):
    header = radio_header(image.shape, plane_wcs(image.shape, Pixel(1.5, 1.5), ra_deg, -30.0), beam, 1.4e9)
    header["BUNIT"] = unit
    fits.writeto(path, image.astype(np.float32), header)
    return path


@pytest.fixture
def survey(tmp_path):
    """Write two maps, each with a map of its noise, and return a maker of runs."""
    rng = np.random.default_rng(2)
    given = np.full(SHAPE, 0.5)
    given[:, 64:128] = 0.25
    given[:64, 128:] = 0
    for name, ra_deg in (("a", 180.0), ("b", 181.0)):
        write(tmp_path / f"{name}.fits", rng.normal(0, 1e-4, SHAPE), ra_deg)
        # Named in another order than the maps: the pixels decide.
        scale = 1 if name == "a" else 3
        write(tmp_path / f"rms-{'ba'.index(name)}.fits", given * scale, ra_deg, None, "mJy/beam")

    def make(*names):
        maps = MapsConfig(files=(f"{tmp_path}/?.fits",), rms_files=[f"{tmp_path}/{name}" for name in names])
        cells = AnnotateConfig(mesh_least_pix=CELL, mesh_beams=1)
        return make_run(tmp_path / "run", ANNOTATE, maps=maps, annotate=cells)

    return make


def test_the_noise_of_the_user_is_that_of_the_mesh_where_it_is_known(survey, tmp_path):
    run = survey("rms-*.fits")
    assert [path.name for path in map_sources(run)] == ["a.fits", "b.fits", "rms-0.fits", "rms-1.fits"]
    maps = open_maps(run)
    assert [one.path.name for one in open_noise(run, maps)] == ["rms-1.fits", "rms-0.fits"]
    ANNOTATE.prepare(run)
    state = Annotator.open(run)
    (task,) = ANNOTATE.plan(run, {})
    ANNOTATE.run(state, task)
    table, _ = read_parquet(state.part(task.name))
    cells = table["rms"][table["map"] == 0].reshape(2, 3)
    np.testing.assert_allclose(cells[:, :2], [[5e-4, 2.5e-4]] * 2)
    # Zeros are no data: there the noise is measured.
    assert cells[0, 2] == pytest.approx(1e-4, rel=0.1)
    assert cells[1, 2] == pytest.approx(5e-4)


def test_noise_maps_without_a_map_and_maps_without_noise_are_named(survey, tmp_path):
    with pytest.raises(ConfigError, match=r"b\.fits: none of maps\.rms_files has its pixels"):
        ANNOTATE.refuse(survey("rms-1.fits"))
    write(tmp_path / "rms-2.fits", np.ones(SHAPE), 10.0)
    with pytest.raises(ConfigError, match=r"rms-2\.fits: its pixels are those of none of the maps of survey"):
        ANNOTATE.refuse(survey("rms-*.fits"))
    write(tmp_path / "rms-11.fits", np.ones(SHAPE))
    with pytest.raises(ConfigError, match=r"a\.fits: .*rms-1\.fits and .*rms-11\.fits are both"):
        ANNOTATE.refuse(survey("rms-0.fits", "rms-1.fits", "rms-11.fits"))
    with pytest.raises(ConfigError, match=r"maps\.rms_files: no file matches"):
        ANNOTATE.refuse(survey("noise.*"))


@pytest.mark.parametrize("value", [np.nan, 0.0, -1.0])
def test_a_map_of_the_noise_without_a_positive_pixel_is_refused(survey, tmp_path, value):
    ANNOTATE.refuse(survey("rms-*.fits"))
    (tmp_path / "rms-0.fits").unlink()
    write(tmp_path / "rms-0.fits", np.full(SHAPE, value), 181.0)
    with pytest.raises(ConfigError, match=r"rms-0\.fits: none of its pixels is positive"):
        ANNOTATE.refuse(survey("rms-*.fits"))


def test_noise_is_measured_by_default(survey):
    assert open_noise(survey(), open_maps(survey())) == [None, None]
