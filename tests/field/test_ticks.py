"""Ticks of a picture: round numbers, at the pixels that have these coordinates."""

import re

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from astro_dist.field.ticks import edge_ticks, round_levels
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.fits_file import plane_wcs, radio_header
from astro_dist.sky.maps import MapsConfig, SkyMap


def open_sky(path, shape, pixel_arcsec, centre):
    pixel = Pixel(pixel_arcsec, pixel_arcsec)
    header = radio_header(shape, plane_wcs(shape, pixel, *centre), Beam(4 * pixel_arcsec, 4 * pixel_arcsec))
    fits.writeto(path, np.zeros(shape, np.float32), header)
    return SkyMap.open(path, MapsConfig())


def read(label):
    """Return an angle in degrees from its label."""
    parts = [float(number) for number in re.findall(r"[\d.]+", label)]
    value = sum(part / 60**i for i, part in enumerate(parts))
    return (-1 if label.startswith("-") else 1) * value * (15 if "h" in label else 1)


@pytest.mark.parametrize("pixel_arcsec", [0.02, 1.5, 60])
@pytest.mark.parametrize("centre", [(180.0, -30.0), (0.01, 0.004), (83.0, 61.0)])
def test_labels_are_where_the_sky_has_these_coordinates(tmp_path, pixel_arcsec, centre):
    sky = open_sky(tmp_path / "map.fits", (120, 150), pixel_arcsec, centre)
    ra, dec = edge_ticks(sky)
    assert 2 <= len(ra) <= 8
    assert 2 <= len(dec) <= 8
    for x, label in ra:
        off = (sky.sky_of(-0.5, x)[0] - read(label) + 180) % 360 - 180
        assert abs(off) * 3600 * np.cos(np.radians(centre[1])) < 0.05 * pixel_arcsec
    for y, label in dec:
        assert abs(sky.sky_of(y, -0.5)[1] - read(label)) * 3600 < 0.05 * pixel_arcsec


def test_labels_have_as_many_digits_as_their_step(tmp_path):
    coarse = edge_ticks(open_sky(tmp_path / "a.fits", (100, 100), 60, (180.0, -30.0)))
    assert [label for _, label in coarse[0]] == ["11h58m", "12h00m", "12h02m"]
    assert all(re.fullmatch(r"-\d\d\N{DEGREE SIGN}\d\d'", label) for _, label in coarse[1])
    fine = edge_ticks(open_sky(tmp_path / "b.fits", (100, 100), 0.02, (180.0, 0.0)))
    assert all(re.fullmatch(r"1[12]h\d\dm\d\d\.\ds", label) for _, label in fine[0])
    assert "+00\N{DEGREE SIGN}00'00.0\"" in [label for _, label in fine[1]]


def test_an_edge_off_the_sky_has_no_ticks(tmp_path):
    sky = open_sky(tmp_path / "map.fits", (300, 300), 3600, (180.0, 0.0))
    assert np.isnan(sky.sky_of(-0.5, -0.5)[0])
    assert edge_ticks(sky) == ([], [])
    assert isinstance(sky.wcs, WCS)


def test_round_levels_are_inside_the_limits():
    assert round_levels(-2.5, 20) == [
        *(-2, -1, -0.5, -0.2, -0.1, -0.05, -0.02, -0.01, -0.005, -0.002, -0.001, 0),
        *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20),
    ]
    assert round_levels(0, 0) == [0]
