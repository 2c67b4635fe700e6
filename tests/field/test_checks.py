"""Fields that could not be made are refused from the configuration alone."""

import numpy as np
import pytest
from astropy.io import fits

from astro_dist.engine.errors import ConfigError
from astro_dist.field.checks import count_sources, find_field, find_surveys, least_footprint_pix
from astro_dist.field.config import AcceptConfig, AssembleConfig
from astro_dist.field.objects import footprint_weights
from astro_dist.field.stage import ASSEMBLE, CPU_S_PER_ARTEFACT
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.fits_file import plane_wcs, radio_header
from astro_dist.sky.maps import MapsConfig
from tests.field.small_sky import BEAM, PIXEL, SIZE, SKY, again, make_run

SHAPE = [300, 400]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("checks"), shape=SHAPE)


def write_map(path, pixel=PIXEL, shape=(300, 400)):
    header = radio_header(shape, plane_wcs(shape, pixel, 10.0, 10.0), BEAM, 1.4e9)
    fits.writeto(path, np.ones(shape, np.float32), header)
    return str(path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pixel_arcsec": 2.5, "spurious": True}, "the simulated survey .*differ by 10 %"),
        ({"beam_major_arcsec": 12.0, "compact": "drawn"}, "differ by 10 %"),
        ({"pixel_arcsec": 3.5}, r"3\.5 x 3\.5 arcsec does not sample a beam of 8 x 8 arcsec: 2\.29 pixels"),
        ({"beam_major_arcsec": 6.0}, "6 x 6 arcsec .*simulated survey were drawn in a .* 8 x 8 .* is 0.75"),
        ({"shape": [300, 50]}, "300 x 50 pixels is smaller than a stamp of 64 x 64"),
        ({"shape": [90000, 900000]}, "half sphere"),
        ({"objects": 2000}, r"2000 do not fit in the 300 x 400 field.* 113 pixels .*about 530 would fit"),
    ],
)
def test_hopeless_settings(run, settings, message):
    with pytest.raises(ConfigError, match=message) as caught:
        ASSEMBLE.refuse(again(run, **{"shape": SHAPE, "objects": 10, **settings}))
    assert "\n" not in str(caught.value)


def test_overlap_makes_room(run):
    ASSEMBLE.refuse(again(run, shape=SHAPE, objects=2000, max_overlap=0.5))


def test_the_headers_of_given_maps_count(run, tmp_path):
    run = again(run, shape=SHAPE, objects=10)
    run = run.having(MapsConfig(files=(write_map(tmp_path / "fine.fits"),)))
    assert find_surveys(run)[0].name == "fine"
    ASSEMBLE.refuse(run)
    run = run.having(MapsConfig(files=(write_map(tmp_path / "coarse.fits", Pixel(3.0, 3.0)),)))
    config = run.section(AssembleConfig)
    run = run.having(config.model_copy(update={"pixel_arcsec": SKY.pixel_arcsec, "spurious": True}))
    with pytest.raises(ConfigError, match="coarse"):
        ASSEMBLE.refuse(run)


def test_a_real_background_must_agree_too(run, tmp_path):
    path = write_map(tmp_path / "other.fits", Pixel(2.5, 2.5))
    background = {"kind": "map", "path": path}
    ASSEMBLE.refuse(again(run, objects=10, background=background))
    with pytest.raises(ConfigError, match="differ by 10 %"):
        ASSEMBLE.refuse(again(run, objects=10, background=background, spurious=True))
    path = write_map(tmp_path / "coarse.fits", Pixel(3.4, 3.4))
    with pytest.raises(ConfigError, match="does not sample"):
        ASSEMBLE.refuse(again(run, objects=10, background={"kind": "map", "path": path}))
    path = write_map(tmp_path / "small.fits", shape=(SIZE - 1, 400))
    with pytest.raises(ConfigError, match=r"small\.fits: a field of 63 x 400 pixels"):
        ASSEMBLE.refuse(again(run, objects=10, background={"kind": "map", "path": path}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flux_jy\n0\n", "positive"),
        ("flux_jy\n1\n", "it has 1 rows for this field and assemble.objects is 3"),
        ("flux_jy,ra_deg,dec_deg\n1,180,-30\n1,180.01,-30\n1,20,-30\n1,20,30\n", "it has 2 rows"),
    ],
)
def test_unusable_catalogues(run, tmp_path, text, message):
    (tmp_path / "fluxes.csv").write_text(text)
    flux = {"mode": "catalogue", "catalogue": str(tmp_path / "fluxes.csv")}
    with pytest.raises(ConfigError, match=message):
        ASSEMBLE.refuse(again(run, shape=SHAPE, objects=3, flux=flux))


def test_the_plan_says_what_is_taken_for_granted_about_a_catalogue(run, tmp_path):
    path = tmp_path / "fluxes.csv"
    flux = {"mode": "catalogue", "catalogue": str(path)}
    for text, notes in (
        ("flux_jy\n1e-3\n1e-3\n", ()),
        ("S_int\n1e-3\n1e-3\n", ("nothing states the unit of S_int, which is taken as Jy",)),
        ("flux_jy,name\n1e-3,a\n,b\n1e-3,c\n", ("1 rows have no flux, the first is row 2",)),
    ):
        path.write_text(text)
        columns = {"flux_jy": "S_int"} if "S_int" in text else {}
        again_run = again(run, shape=SHAPE, objects=2, flux=flux | {"columns": columns})
        ASSEMBLE.refuse(again_run)
        found = ASSEMBLE.estimate(again_run).notes
        assert len(found) == len(notes)
        assert all(f"fluxes.csv: {note}" in text for note, text in zip(notes, found, strict=True))


def test_a_plan_counts_the_artefacts_of_bright_sources(run):
    """A source of 7.5 times the limit has 30 sigma, where the limit is four times the noise."""
    shape, counts = (1500, 1500), {"mode": "counts", "counts": {"limit_jy": 4e-4}}
    costs = [
        ASSEMBLE.estimate(again(run, shape=shape, flux=counts, reuse=20, **more)).cpu_s
        for more in ({"artefacts": False}, {}, {"artefacts_snr": 300})
    ]
    bright = (costs[1] - costs[0]) / CPU_S_PER_ARTEFACT
    brighter = counts | {"counts": {"limit_jy": 4e-4 * 7.5}}
    expected = count_sources(AssembleConfig(shape=shape, flux=brighter), find_field(again(run, shape=shape)))
    assert bright == pytest.approx(expected.sources, abs=1.01) != 0
    assert costs[0] <= costs[2] < costs[1]


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: fits.writeto(path, np.zeros((3, 3))), "somewhere positive"),
        (lambda path: path.write_text("no image"), "cannot be read"),
    ],
)
def test_unusable_densities(run, tmp_path, write, message):
    write(tmp_path / "density.fits")
    with pytest.raises(ConfigError, match=message):
        ASSEMBLE.refuse(again(run, shape=SHAPE, objects=3, density=str(tmp_path / "density.fits")))


@pytest.mark.parametrize("beam", [BEAM, Beam(16.0, 8.0, 30.0)])
def test_the_least_footprint_is_that_of_one_pixel(beam):
    instances = np.zeros((101, 101), np.uint16)
    instances[50, 50] = 1
    accept = AcceptConfig()
    y, x = (beam.profile(np.float64(1 - i), np.float64(i), PIXEL) for i in (0, 1))
    steps = [float(np.sqrt(-np.log(value) / (4 * np.log(2)))) for value in (y, x)]
    footprint = np.count_nonzero(footprint_weights(instances, 1, steps, accept))
    assert footprint == pytest.approx(least_footprint_pix(beam, PIXEL, accept), rel=0.06)
