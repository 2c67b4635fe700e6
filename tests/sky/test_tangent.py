"""Angles and widths on the sky against distances and position angles that astropy computes."""

import numpy as np
import pytest

from astro_dist.engine.seeds import stream
from astro_dist.sky.annotate import AnnotateConfig, find_islands
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.tangent import ellipses, local_axes, moments_of_ellipses, turn_ellipses
from tests.sky.small_maps import angles_on_sky, apart, open_map

GALACTIC = ("GLON-SIN", "GLAT-SIN")
# Name: pixel (dy, dx) arcsec, centre, kind of axes, further cards, and half the side of the field in pixels.
FIELDS = {
    # The field of configs/sumss.yaml: 12,000 x 15,000 pixels of 18.4 x 11 arcsec.
    "sumss": ((18.4, 11.0), (180.0, -30.0), ("RA---SIN", "DEC--SIN"), {}, (6000, 7500)),
    "pole": ((1.5, 1.5), (40.0, 89.9), ("RA---SIN", "DEC--SIN"), {}, (2000, 2000)),
    "galactic": ((1.5, 1.5), (0.0, 0.0), GALACTIC, {}, (2000, 2000)),
    "galactic pole": ((20.0, 14.0), (120.0, -27.0), GALACTIC, {}, (4000, 4000)),
    "FK4 turned": (
        (3.0, 2.0),
        (300.0, 60.0),
        ("RA---TAN", "DEC--TAN"),
        {"CROTA2": 40.0, "EQUINOX": 1950.0},
        (900, 900),
    ),
    "east right": ((2.0, 2.0), (10.0, -75.0), ("RA---SIN", "DEC--SIN"), {"CDELT1": 2 / 3600}, (3000, 3000)),
    "all sky": ((300.0, 300.0), (0.0, 0.0), ("RA---AIT", "DEC--AIT"), {}, (250, 500)),
}


@pytest.mark.parametrize("name", FIELDS)
def test_angles_and_widths_are_those_of_astropy(tmp_path, name):
    count = 1000
    pixel, centre, kind, cards, reach = FIELDS[name]
    sky_map = open_map(tmp_path / "m.fits", np.ones((64, 64)), pixel, centre, kind, **cards)
    rng = stream(1, name)
    y, x = (31.5 + rng.uniform(-side, side, count) for side in reach)
    # Half axes in pixels; the ratio keeps the direction of the longer one sharp.
    major, angle = rng.uniform(3, 9, count), rng.uniform(0, 180, count)
    minor = major * rng.uniform(0.2, 0.6, count)
    expected = angles_on_sky(sky_map.wcs, y, x, major, minor, angle)
    moments = moments_of_ellipses(2 * major, 2 * minor, angle)
    # From the frame (+y, -x) to (y, x).
    axes = local_axes(sky_map.sky_of, y, x) * [1, -1]
    found = ellipses(axes @ moments @ axes.swapaxes(-1, -2))
    # Full widths of Gaussians on one side, half axes of rims on the other.
    assert found[0] / 2 == pytest.approx(expected[0], rel=1e-3)
    assert found[1] / 2 == pytest.approx(expected[1], rel=1e-3)
    assert apart(found[2], expected[2]).max() < 0.1
    scale = sky_map.pixel
    in_frame = moments_of_ellipses(2 * major, 2 * minor, angle) * np.outer(
        *2 * [[scale.dy_arcsec, scale.dx_arcsec]]
    )
    turned = turn_ellipses(local_axes(sky_map.sky_of, y, x), scale, *ellipses(in_frame))
    for one, other in zip(turned[:2], found[:2], strict=True):
        assert one == pytest.approx(other, rel=1e-9)
    assert apart(turned[2], found[2]).max() < 1e-6


def test_axes_that_point_straight_and_widths_of_nothing():
    axes = np.array([np.diag([2.0, -3.0])] * 3)
    zeros, sizes = np.zeros(3), np.array([0.0, 6.0, 6.0])
    major, minor, pa = turn_ellipses(axes, Pixel(2.0, 3.0), sizes, zeros, np.array([0.0, 20.0, 179.9999]))
    assert major == pytest.approx(sizes)
    assert minor.tolist() == [0, 0, 0]
    assert pa == pytest.approx([0.0, 20.0, 179.9999])
    assert ellipses(np.zeros((0, 2, 2)))[0].shape == (0,)
    assert ellipses(-np.eye(2)[None])[2].tolist() == [0]


def test_half_of_a_pixel_at_the_rim_of_the_sky_has_no_axes(tmp_path):
    sky_map = open_map(tmp_path / "m.fits", np.ones((64, 64)), (3600.0, 3600.0), (0.0, 0.0))
    assert np.isnan(local_axes(sky_map.sky_of, [31.5], [31.5 + 180 / np.pi])).all()


@pytest.mark.parametrize(
    ("pixel", "centre", "kind"),
    [
        ((1.5, 1.5), (0.0, 0.0), GALACTIC),
        ((60.0, 60.0), (180.0, 75.0), ("RA---SIN", "DEC--SIN")),
        ((2.0, 1.2), (123.0, 89.9), ("RA---SIN", "DEC--SIN")),
    ],
)
def test_islands_have_angles_on_the_sky_and_in_the_image(tmp_path, pixel, centre, kind):
    shape, image_pa = (420, 420), 30.0
    source = Beam(12.0, 5.0, image_pa)
    y, x = np.indices(shape)
    image = np.random.default_rng(5).normal(0, 1e-4, shape)
    spots = [(60 + 100 * i, 60 + 100 * j) for i in range(4) for j in range(4)]
    for sy, sx in spots:
        image += 0.02 * source.profile(y - sy, x - sx, Pixel(1.0, 1.0))
    sky_map = open_map(tmp_path / "m.fits", image, pixel, centre, kind)
    columns = find_islands(sky_map, AnnotateConfig()).columns
    assert len(columns["island"]) == 16
    half = np.full(16, 1.0)
    _, _, expected = angles_on_sky(sky_map.wcs, columns["y"], columns["x"], half, 5 / 12 * half, 30 * half)
    assert apart(columns["pa_deg"], expected).max() < 1
    tangent = np.degrees(np.arctan2(np.sin(np.radians(30)) * pixel[1], np.cos(np.radians(30)) * pixel[0]))
    assert (
        apart(columns["image_pa_deg"], tangent if pixel[0] == pixel[1] else columns["image_pa_deg"]).max() < 1
    )
    if kind is GALACTIC:
        assert np.median(columns["pa_deg"]) == pytest.approx(151.4, abs=1)
    wide = np.abs(columns["major_arcsec"] * columns["minor_arcsec"] / (60 * np.prod(pixel)) - 1)
    assert np.median(wide) < 0.12
