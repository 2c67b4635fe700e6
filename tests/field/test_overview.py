"""Pictures and statistics of a field: right numbers, right way up, the same bytes every time."""

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from astro_dist.field.overview import LEFT, TOP, draw_overview, summarise
from astro_dist.field.panels import BLANK, MARK
from astro_dist.sky.fits_file import plane_wcs, radio_header
from astro_dist.sky.maps import MapsConfig, SkyMap
from tests.field.small_sky import BEAM, PIXEL


def open_map(path, image):
    header = radio_header(image.shape, plane_wcs(image.shape, PIXEL, 10.0, 10.0), BEAM)
    fits.writeto(path, image, header)
    return SkyMap.open(path, MapsConfig())


def read_png(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_statistics_and_blocks_match_numpy(tmp_path):
    image = np.random.default_rng(0).normal(2.0, 3.0, (3010, 1700)).astype(np.float32)
    image[:7, :9] = np.nan
    facts, blocks = summarise(open_map(tmp_path / "map.fits", image))
    wide = image.astype(np.float64)
    assert (facts["n_pix"], facts["n_blank"]) == (image.size, 63)
    assert facts["min_jy_beam"] == np.nanmin(image)
    assert facts["max_jy_beam"] == np.nanmax(image)
    assert facts["mean_jy_beam"] == pytest.approx(np.nanmean(wide), rel=1e-6)
    assert facts["std_jy_beam"] == pytest.approx(np.nanstd(wide), rel=1e-6)
    assert facts["rms_jy_beam"] == pytest.approx(3.0, rel=0.02)
    assert blocks.shape == (1003, 566)
    assert np.isnan(blocks[:2, :3]).all()
    assert blocks[500, 300] == image[1500:1503, 900:903].max()


def test_every_scheduler_of_dask_gives_the_same_bits(tmp_path):
    image = np.random.default_rng(1).normal(size=(1100, 1600)).astype(np.float32)
    image[500:520, :40] = np.nan
    field = open_map(tmp_path / "map.fits", image)
    facts, blocks = summarise(field, "synchronous")
    for scheduler in ("threads", "processes"):
        others, same = summarise(field, scheduler)
        assert others == facts
        np.testing.assert_array_equal(same, blocks)


def test_a_blank_map_has_statistics_too(tmp_path):
    facts, blocks = summarise(open_map(tmp_path / "map.fits", np.full((20, 30), np.nan, np.float32)))
    assert facts["n_blank"] == 600
    assert facts["mean_jy_beam"] is None
    assert np.isnan(blocks).all()


def test_the_picture_has_a_ring_at_the_brightest_source_and_the_same_bytes_every_time(tmp_path):
    rng = np.random.default_rng(0)
    image = rng.normal(size=(300, 400)).astype(np.float32)
    image[250:254, 90:94] += 60
    field = open_map(tmp_path / "map.fits", image)
    truth = {
        "flux_jy": np.array([0.5, 2.0]),
        "y_peak_pix": np.array([40, 251]),
        "x_peak_pix": np.array([395, 91]),
    }
    for name in ("a.png", "b.png"):
        draw_overview(tmp_path / name, image, field, "a field", 1.0, truth)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as picture:
        about, pixels = picture.text["Description"], np.asarray(picture)
    assert about.startswith("a field; 300 rows x 400 columns of 2 arcsec; beam 8 arcsec; ")
    assert "noise 1 Jy/beam; 2 sources" in about
    sky = pixels[TOP : TOP + 300, LEFT : LEFT + 400]
    # The source lies 49 rows below the upper edge; its ring is around it and not on it.
    assert sky[48, 92].tolist() == [255, 255, 255]
    orange = (sky == MARK).all(axis=2)
    y, x = np.nonzero(orange[:, :106])
    assert ((y.min() + y.max()) / 2, (x.min() + x.max()) / 2) == pytest.approx((48.5, 91.5), abs=1.5)
    # The label of the other one, at the right edge, is left of its ring and inside the sky.
    assert orange[250:270, 300:380].any()


def test_empty_fields_have_a_picture_too(tmp_path):
    image = np.full((30, 40), np.nan, np.float32)
    field = open_map(tmp_path / "map.fits", image)
    empty = {name: np.zeros(0) for name in ("flux_jy", "y_peak_pix", "x_peak_pix")}
    draw_overview(tmp_path / "a.png", image, field, "blank", None, empty)
    assert (read_png(tmp_path / "a.png")[TOP : TOP + 30, LEFT : LEFT + 40] == BLANK).all()
