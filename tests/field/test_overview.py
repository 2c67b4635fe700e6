"""Pictures and statistics of a field: right numbers, right way up, the same bytes every time."""

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from astro_dist.field.overview import (
    ZOOM_FACTOR,
    colour,
    draw_overview,
    draw_zoom,
    limits,
    summarise,
    zoom_windows,
)
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


def test_a_blank_map_has_statistics_too(tmp_path):
    facts, blocks = summarise(open_map(tmp_path / "map.fits", np.full((20, 30), np.nan, np.float32)))
    assert facts["n_blank"] == 600
    assert facts["mean_jy_beam"] is None
    assert np.isnan(blocks).all()


def test_colours_rise_with_brightness_and_row_zero_is_at_the_bottom():
    image = np.array([[0.0, 1.0], [2.0, np.nan]], np.float32)
    pixels = colour(image, 0.0, 2.0)
    assert pixels.shape == (2, 2, 3)
    assert pixels[1, 0].sum() < pixels[1, 1].sum() < pixels[0, 0].sum()
    assert pixels[0, 1].tolist() == [90, 90, 90]


@pytest.mark.parametrize("image", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.eye(4)])
def test_limits_are_always_usable(image):
    low, high = limits(image.astype(np.float32))
    assert low < high


def test_pictures_are_byte_stable(tmp_path):
    rng = np.random.default_rng(0)
    image = rng.normal(size=(64, 80)).astype(np.float32)
    mask = np.zeros((64, 80), np.uint8)
    mask[10:14, 20:30] = 3
    sky_map = open_map(tmp_path / "map.fits", image)
    for name in ("a.png", "b.png"):
        draw_zoom(tmp_path / name, image, mask, sky_map)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as picture:
        assert f"magnified {ZOOM_FACTOR} times" in picture.text["Description"]
    pixels = read_png(tmp_path / "a.png")
    assert pixels.shape == (64 * ZOOM_FACTOR, 2 * 80 * ZOOM_FACTOR + 2 * ZOOM_FACTOR, 3)
    magenta = (pixels == (255, 120, 255)).all(axis=2)
    rows, columns = np.nonzero(magenta)
    assert columns.min() > 80 * ZOOM_FACTOR
    assert rows.max() == (64 - 10) * ZOOM_FACTOR
    draw_overview(tmp_path / "c.png", image)
    assert read_png(tmp_path / "c.png").shape == (64, 80, 3)


def test_zoom_windows_stay_inside():
    windows = zoom_windows((1000, 2000), [(0, 0), (999, 1999), (500, 700)])
    assert [(w.y0, w.x0) for w in windows] == [(0, 0), (680, 1680), (340, 540)]
    assert zoom_windows((100, 400), [(50, 390)])[0].shape == (100, 320)
