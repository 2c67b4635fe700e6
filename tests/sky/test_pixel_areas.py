"""Fluxes and classes where the pixels of a map are not that at its reference point, or not all alike."""

import numpy as np
import pytest

from astro_dist.sky.annotate import AnnotateConfig, find_islands
from astro_dist.sky.beams import Beam
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.tangent import local_axes
from tests.sky.small_maps import apart, open_map

SHAPE = (320, 330)
WIDTHS, BPA = (8.0, 5.0), 30.0
SPOTS = np.array([(y, x) for y in (50, 160, 270) for x in (50, 165, 280)], float)
PEAK = 0.02


def place(kind, lon_deg, lat_deg, pixel_arcsec):
    """Cards that put the middle of a map at so many degrees from its reference point."""
    name = {"GLON": ("GLON-", "GLAT-"), "RA": ("RA---", "DEC--")}["GLON" if kind == "HPX" else "RA"]
    return (name[0] + kind, name[1] + kind), {
        "CRPIX1": (SHAPE[1] + 1) / 2 + lon_deg * 3600 / pixel_arcsec,
        "CRPIX2": (SHAPE[0] + 1) / 2 - lat_deg * 3600 / pixel_arcsec,
        "BMAJ": WIDTHS[0] * pixel_arcsec / 2 / 3600,
        "BMIN": WIDTHS[1] * pixel_arcsec / 2 / 3600,
        "BPA": BPA,
    }


def beams_on_sky(sky_map, major, minor, pa_deg):
    """Return the sum of spots of ``PEAK`` that are one beam on the sky, wherever they lie."""
    y, x = np.indices(SHAPE)
    pa = np.radians(pa_deg)
    turn = np.array([[np.cos(pa), -np.sin(pa)], [np.sin(pa), np.cos(pa)]])
    covariance = turn @ np.diag([major**2, minor**2]) @ turn.T / (8 * np.log(2))
    image = np.zeros(SHAPE)
    for spot, axes in zip(SPOTS, local_axes(sky_map.sky_of, *SPOTS.T), strict=True):
        inverse = axes.T @ np.linalg.inv(covariance) @ axes
        away = np.stack([y - spot[0], x - spot[1]], axis=-1)
        image += PEAK * np.exp(-0.5 * np.einsum("...i,ij,...j", away, inverse, away))
    return image


def noise():
    return np.random.default_rng(5).normal(0, 1e-4, SHAPE)


# The cylinder at declination 60, where a pixel has half the area; equal-area maps of the whole sky, where it
# is sheared; a gnomonic map whose reference point is 20 degrees away; and coarse ones of 30 degrees.
MAPS = {
    "CAR": ("CAR", 3.0, 60.0, 1.5),
    "AIT": ("AIT", 100.0, 40.0, 2.0),
    "HPX": ("HPX", 20.0, 50.0, 2.0),
    "TAN": ("TAN", 0.0, 20.0, 2.0),
    "wide CAR": ("CAR", 0.0, 45.0, 330.0),
    "wide ZEA": ("ZEA", 5.0, 5.0, 330.0),
}


@pytest.mark.parametrize("name", MAPS)
def test_a_beam_on_the_sky_has_its_flux_and_class_everywhere(tmp_path, name):
    kind, lon, lat, pixel = MAPS[name]
    axes, cards = place(kind, lon, lat, pixel)
    arguments = (pixel, pixel), (0.0, 0.0), axes
    blank = open_map(tmp_path / "m.fits", noise(), *arguments, **cards)
    major, minor = (width * pixel / 2 for width in WIDTHS)
    # BPA is east of north in the frame of the map; the sources are elliptical there, ICRS or galactic.
    frame = blank if axes[0].startswith("RA") else open_map(tmp_path / "g.fits", noise(), *arguments, **cards)
    turn = north_of_frame(frame)
    image = noise() + beams_on_sky(blank, major, minor, BPA + turn)
    sky_map = open_map(tmp_path / "m.fits", image, *arguments, **cards)
    found = find_islands(sky_map, AnnotateConfig())
    for table in (found.columns, found.sources):
        bright = table["snr"] > 50
        assert np.count_nonzero(bright) == len(SPOTS)
        assert table["flux_jy"][bright] == pytest.approx(PEAK, rel=0.02)
        assert (table["class"][bright] == SourceClass.COMPACT).all()
        assert table["major_arcsec"][bright] == pytest.approx(major, rel=0.03)
        assert table["minor_arcsec"][bright] == pytest.approx(minor, rel=0.03)
        assert apart(table["pa_deg"][bright], BPA + turn).max() < 3


def north_of_frame(sky_map):
    """Return the angle of the map's own north, east of north in ICRS, in its middle."""
    y, x = (SHAPE[0] - 1) / 2, (SHAPE[1] - 1) / 2
    lon, lat = sky_map.wcs.pixel_to_world_values(x, y)
    up = sky_map.wcs.world_to_pixel_values(lon, lat + 1e-3)
    north, east = local_axes(sky_map.sky_of, [y], [x])[0] @ np.array([up[1] - y, up[0] - x])
    return float(np.degrees(np.arctan2(east, north)))


def test_the_beam_of_an_interferometers_image_is_one_in_pixels(tmp_path):
    """The corners of this map are 38 degrees from its middle, where a pixel covers 1.25 times the sky."""
    pixel, beam = 600.0, Beam(WIDTHS[0] * 300, WIDTHS[1] * 300, BPA)
    axes, cards = place("SIN", 0.0, 0.0, pixel)
    sky_map = open_map(tmp_path / "m.fits", noise(), (pixel, pixel), (40.0, -30.0), axes, **cards)
    y, x = np.indices(SHAPE)
    image = noise() + PEAK * sum(beam.profile(y - a, x - b, sky_map.pixel) for a, b in SPOTS)
    sky_map = open_map(tmp_path / "m.fits", image, (pixel, pixel), (40.0, -30.0), axes, **cards)
    axes_there = local_axes(sky_map.sky_of, *SPOTS.T)
    assert np.abs(np.linalg.det(axes_there)).max() > 1.1 * pixel**2
    table = find_islands(sky_map, AnnotateConfig()).sources
    bright = table["snr"] > 50
    assert table["flux_jy"][bright] == pytest.approx(np.full(len(SPOTS), PEAK), rel=0.02)
    assert (table["class"][bright] == SourceClass.COMPACT).all()
    assert sky_map.beam_area_pix(*SPOTS.T).tolist() == [beam.area_pix(sky_map.pixel)] * len(SPOTS)


def test_a_map_in_jy_per_pixel_keeps_its_sum(tmp_path):
    axes, cards = place("CAR", 0.0, 60.0, 1.5)
    y, x = np.indices(SHAPE)
    image = 1e-7 * np.random.default_rng(1).normal(size=SHAPE)
    for a, b in SPOTS:
        shape = np.exp(-((y - a) ** 2 + (x - b) ** 2) / 20)
        image += 1e-3 * shape / shape.sum()
    sky_map = open_map(tmp_path / "m.fits", image, (1.5, 1.5), (0.0, 0.0), axes, BUNIT="Jy/pixel", **cards)
    table = find_islands(sky_map, AnnotateConfig()).sources
    bright = table["snr"] > 50
    assert table["flux_jy"][bright] == pytest.approx(np.full(len(SPOTS), 1e-3), rel=0.03)
