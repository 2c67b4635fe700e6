"""Zeros of model images and counts are data, those round a mosaic are not, and a setting says it."""

import numpy as np
import pytest
from astropy.io import fits

from astro_dist.sky.config import MapsConfig, PlaneConfig
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.planes import open_plane
from astro_dist.sky.windows import Window, bands
from tests.sky.small_maps import header_of

SHAPE = (120, 110)
RNG = np.random.default_rng(3)
COMPONENTS = np.where(RNG.random(SHAPE) < 2e-3, 1e-3, 0.0)
FEW, MANY = RNG.poisson(0.05, SHAPE), RNG.poisson(1.5, SHAPE)
BORDER = np.where(np.arange(110) < 30, 0.0, RNG.normal(0, 1e-4, SHAPE))
COUNTS_IN_A_BORDER = np.where(np.arange(110) < 30, 0, MANY + 1)


def write(path, image, unit):
    header = header_of(SHAPE, (2, 2), (150.0, -30.0), BUNIT=unit, BMAJ=8 / 3600, BMIN=8 / 3600)
    fits.writeto(path, image.astype(np.float32), header)
    return path


def read(sky_map):
    whole = sky_map.read(Window.of_shape(SHAPE))
    np.testing.assert_array_equal(np.vstack([sky_map.read(band) for band in bands(SHAPE, 25)]), whole)
    return whole


@pytest.mark.parametrize(
    ("image", "unit", "zeros", "are_data"),
    [
        (COMPONENTS, "Jy/pixel", None, True),
        (COMPONENTS, "Jy/pixel", "blank", False),
        (COMPONENTS, "Jy/beam", "data", True),
        (BORDER, "Jy/beam", None, False),
        (BORDER, "Jy/beam", "data", True),
    ],
)
def test_zeros_of_a_map(tmp_path, image, unit, zeros, are_data):
    found = read(SkyMap.open(write(tmp_path / "m.fits", image, unit), MapsConfig(zeros=zeros)))
    assert np.isfinite(found[image == 0]).mean() == pytest.approx(float(are_data), abs=1e-3)
    assert np.isfinite(found[image != 0]).all()


@pytest.mark.parametrize(
    ("image", "unit", "zeros", "are_data"),
    [
        (COMPONENTS, "Jy/pixel", None, True),
        (FEW, "counts", None, True),
        (FEW, "counts", "blank", False),
        (MANY, "counts", None, True),
        (COUNTS_IN_A_BORDER, "DN", None, False),
        (COUNTS_IN_A_BORDER, "DN", "data", True),
        (BORDER, "K", None, False),
    ],
)
def test_zeros_of_a_plane(tmp_path, image, unit, zeros, are_data):
    path = write(tmp_path / "m.fits", image, unit)
    (plane,) = open_plane(PlaneConfig(name="a", files=(str(path),), zeros=zeros), tmp_path)
    found = read(plane.sky_map)
    assert np.isfinite(found[image == 0]).mean() == pytest.approx(float(are_data), abs=0.02)
    assert np.isfinite(found[image != 0]).all()
