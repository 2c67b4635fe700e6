"""Planes on the pixels of another map, beside Gaussians that are known everywhere."""

import math
from dataclasses import replace

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits

from astro_dist.engine.config import validate
from astro_dist.engine.errors import ConfigError
from astro_dist.sky.beams import Beam
from astro_dist.sky.config import MapsConfig, PlaneConfig
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.planes import open_plane
from astro_dist.sky.resample import resample
from astro_dist.sky.windows import Window
from tests.sky.point_maps import show_points, write_points
from tests.sky.small_maps import header_of

PIXEL, BEAM, PEAK = 1.5, Beam(7.5, 6.0, 25.0), 2e-3
CENTRE, SHAPE = (150.0, -30.0), (200, 210)
WINDOW = Window(60, 124, 70, 134)


POINTS = [(150.0013, -30.0017, PEAK)]
"""One, on a pixel of no map."""


def write(path, *, pixel=PIXEL, beam=BEAM, shape=SHAPE, centre=CENTRE, **given):
    return write_points(path, POINTS, shape, centre, pixel, beam=beam, **given)


def point(sky_map, window, beam):
    return show_points(sky_map, window, beam, POINTS)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return SkyMap.open(write(tmp_path_factory.mktemp("reference") / "r.fits"), MapsConfig())


def plane(path, **given):
    (one,) = open_plane(PlaneConfig(name="other", files=(str(path),), **given), path.parent)
    return one


def flux(image, sky_map, beam):
    return image.sum(dtype=float) / beam.area_pix(sky_map.pixel)


GRIDS = [(1.5 * PIXEL, 0), (0.7 * PIXEL, 0), (PIXEL, 37), (1.5 * PIXEL, 20), (0.7 * PIXEL, -63)]


@pytest.mark.parametrize(("pixel", "angle"), GRIDS)
def test_the_flux_and_peak_of_a_point_stay(reference, tmp_path, pixel, angle):
    other = plane(write(tmp_path / "o.fits", pixel=pixel, angle=angle))
    found = resample(reference, WINDOW, other)
    assert (found.dtype, found.shape) == (np.float32, WINDOW.shape)
    wanted = point(reference, WINDOW, BEAM)
    assert flux(found, reference, BEAM) == pytest.approx(flux(wanted, reference, BEAM), rel=3e-4)
    assert flux(found, reference, BEAM) == pytest.approx(PEAK, rel=3e-4)
    assert np.abs(found - wanted).max() < 5e-3 * PEAK


@pytest.mark.parametrize(("pixel", "angle"), [(PIXEL, 0), *GRIDS])
@pytest.mark.parametrize("wide", [Beam(1.6 * 7.5, 1.6 * 6.0, 25.0), Beam(12.0, 8.0, 100.0)])
def test_at_a_common_beam_the_flux_and_peak_of_a_point_stay(reference, tmp_path, pixel, angle, wide):
    other = plane(write(tmp_path / "o.fits", pixel=pixel, angle=angle))
    found = resample(reference, WINDOW, other, wide)
    wanted = point(reference, WINDOW, wide)
    assert flux(found, reference, wide) == pytest.approx(PEAK, rel=3e-4)
    assert np.abs(found - wanted).max() < 5e-3 * PEAK


@pytest.mark.parametrize("unit", ["DN", "Jy/pixel", "MJy/sr"])
@pytest.mark.parametrize(("pixel", "angle"), [*GRIDS, (0.2 * PIXEL, 12)])
def test_a_plane_without_a_beam_keeps_its_sum_on_the_sky(reference, tmp_path, unit, pixel, angle):
    shape = SHAPE if pixel > 0.5 else (600, 600)
    other = plane(write(tmp_path / "o.fits", pixel=pixel, angle=angle, unit=unit, beam=None, shape=shape))
    assert (other.beam, other.unit.name) == (None, unit)
    found = resample(reference, WINDOW, other)
    own = fits.getdata(tmp_path / "o.fits").sum(dtype=float)
    ratio = 1 if unit != "MJy/sr" else (pixel / PIXEL) ** 2
    assert np.nansum(found, dtype=float) == pytest.approx(own * ratio, rel=5e-4)


@pytest.mark.parametrize("common", [None, Beam(2000.0, 2000.0)])
def test_a_beam_on_the_sky_has_another_shape_in_pixels_far_from_the_equator(tmp_path, common):
    """Plate carree: a degree of right ascension has as many pixels at every declination."""
    header = header_of((600, 80), (360, 360), (150.0, 0.0), ("RA---CAR", "DEC--CAR"))
    header.update({"BMAJ": 1500 / 3600, "BMIN": 1500 / 3600})
    y, x = np.indices((600, 80))
    sigma = 1500 / 360 / 2.3548
    across = (x - 39.3) * math.cos(math.radians(24.99))
    image = PEAK * np.exp(-((y - 549.4) ** 2 + across**2) / 2 / sigma**2)
    fits.writeto(tmp_path / "o.fits", (image + 1e-12).astype(np.float32), header)
    cards = header_of((64, 64), (300, 300), (150.0, 25.0))
    cards.update({"BMAJ": 1500 / 3600, "BMIN": 1500 / 3600})
    fits.writeto(tmp_path / "r.fits", np.ones((64, 64), np.float32), cards)
    own, other = SkyMap.open(tmp_path / "r.fits", MapsConfig()), plane(tmp_path / "o.fits")
    ra, dec = other.sky_map.sky_of(549.4, 39.3)
    window = Window(12, 52, 12, 52)
    wanted = show_points(own, window, common or Beam(1500.0, 1500.0), [(ra, dec, PEAK)])
    found = resample(own, window, other, common)
    assert np.abs(found - wanted).max() < 1e-2 * PEAK
    assert found.sum(dtype=float) == pytest.approx(wanted.sum(), rel=3e-3)


def test_an_elongated_beam_is_widened_across_too(reference, tmp_path):
    long, wide = Beam(40.0, 5.0, 25.0), Beam(40.0, 5.25, 25.0)
    other = plane(write(tmp_path / "o.fits", beam=long))
    found = resample(reference, WINDOW, other, wide)
    wanted = point(reference, WINDOW, wide)
    assert np.abs(found - wanted).max() < 5e-3 * PEAK
    assert np.abs(resample(reference, WINDOW, other) - wanted).max() > 3e-2 * PEAK
    # A difference in width of less than a thousandth is none.
    almost = resample(reference, WINDOW, other, Beam(40.03, 5.004, 25.0))
    np.testing.assert_array_equal(almost, resample(reference, WINDOW, other))


@pytest.mark.parametrize("unit", ["DN", "MJy/sr"])
def test_brightness_that_is_not_of_a_beam_spreads_at_a_common_beam(reference, tmp_path, unit):
    other = plane(write(tmp_path / "o.fits", pixel=0.7 * PIXEL, angle=37, unit=unit))
    wide = Beam(12.0, 9.6, 25.0)
    found = resample(reference, WINDOW, other, wide)
    area = 0.7**-2 if unit == "DN" else 1.0
    wanted = (
        point(reference, WINDOW, wide)
        * area
        * (BEAM.area_pix(reference.pixel) / wide.area_pix(reference.pixel))
    )
    assert np.abs(found - wanted).max() < 5e-3 * wanted.max()
    assert found.sum(dtype=float) == pytest.approx(wanted.sum(), rel=3e-4)


@pytest.mark.parametrize("angle", [20, 45])
def test_a_kernel_along_an_oblique_line_does_not_ring(tmp_path, angle):
    """The least common beam of two beams often needs a kernel of no width across."""
    own = Beam(4 * PIXEL, 3 * PIXEL, angle)
    across = 3 * math.hypot(1, 2 / 3)
    wide = Beam(4 * PIXEL, across * PIXEL, angle)
    path = write(tmp_path / "r.fits", beam=own)
    reference = SkyMap.open(path, MapsConfig())
    found = resample(reference, WINDOW, plane(path), wide)
    wanted = point(reference, WINDOW, wide)
    assert np.abs(found - wanted).max() < 6e-4 * PEAK
    (y, x), (ra, dec, _) = np.indices(WINDOW.shape), POINTS[0]
    place = np.ravel(reference.pixel_of(ra, dec))
    far = np.hypot(y + WINDOW.y0 - place[0], x + WINDOW.x0 - place[1]) > 10
    assert np.abs(found - wanted)[far].max() < 4e-4 * PEAK
    assert flux(found, reference, wide) == pytest.approx(PEAK, rel=1e-4)


def test_nothing_is_made_across_the_tear_of_a_map_of_the_whole_sky(tmp_path):
    """Its right ascensions run from 360 to 0 degrees, so that a window at 0 lies on both edges."""
    header = header_of((180, 360), (3600, 3600), (180.5, 0.0), ("RA---CAR", "DEC--CAR"), BUNIT="MJy/sr")
    for key in ("BMAJ", "BMIN", "BPA"):
        del header[key]
    # Brightness that rises along right ascension, from 1 to 360.
    fits.writeto(tmp_path / "o.fits", np.tile(np.arange(360.0, 0, -1), (180, 1)).astype(np.float32), header)
    cards = header_of((64, 64), (5400, 5400), (0.0, 10.0), ("RA---CAR", "DEC--CAR"))
    fits.writeto(tmp_path / "r.fits", np.ones((64, 64), np.float32), cards)
    own = SkyMap.open(tmp_path / "r.fits", MapsConfig())
    found = resample(own, Window(0, 64, 0, 64), plane(tmp_path / "o.fits"))
    ra = own.sky_of(*np.indices((64, 64)))[0]
    valid = np.isfinite(found)
    assert 0.8 < valid.mean() < 0.95
    assert np.abs(found - (ra + 0.5))[valid].max() < 0.6


def test_pixels_of_the_same_grid_are_copied_bit_for_bit(reference, tmp_path):
    # The middle moved by whole pixels, and a smaller map, so that the window reaches over its edge.
    header = fits.getheader(reference.path)
    header["CRPIX1"], header["CRPIX2"] = header["CRPIX1"] - 60, header["CRPIX2"] - 30
    header["BUNIT"] = "mJy/beam"
    image = np.random.default_rng(1).normal(size=(70, 60)).astype(np.float32)
    image[40:45, 20:29] = np.nan
    fits.writeto(tmp_path / "o.fits", image, header)
    other = plane(tmp_path / "o.fits")
    found = resample(reference, WINDOW, other)
    wanted = np.full(WINDOW.shape, np.nan, np.float32)
    wanted[:40, :50] = image[30:, 10:] * np.float32(1e-3)
    np.testing.assert_array_equal(found, wanted)
    # A plane that is at the common beam already stays as it is.
    np.testing.assert_array_equal(resample(reference, WINDOW, other, BEAM), wanted)


@pytest.mark.parametrize("common", [None, Beam(12.0, 10.0, 0.0)])
def test_no_pixel_is_made_of_one_without_data(reference, tmp_path, common):
    """Blank pixels may hold any value: what is valid does not change with it."""
    blank = np.s_[70:75, 60:100]
    path = write(tmp_path / "o.fits", pixel=1.3 * PIXEL, angle=30, shape=(100, 120), blank=blank)
    image, header = fits.getdata(path), fits.getheader(path)
    (tmp_path / "b").mkdir()
    found = [resample(reference, WINDOW, plane(path), common)]
    for value in (1.0, -3.0):
        # A region of one value alone would be taken for missing data.
        image[blank] = value * np.linspace(0.5, 1, 40)
        fits.writeto(tmp_path / "b" / "o.fits", image, header, overwrite=True)
        found.append(resample(reference, WINDOW, plane(tmp_path / "b" / "o.fits"), common))
    valid = np.isfinite(found[0])
    touched = ~valid & np.isfinite(found[1])
    assert 100 < touched.sum() < valid.size / 2
    for one in found[1:]:
        assert np.abs(one - found[0])[valid].max() < 1e-9
    assert (found[1] != found[2])[touched].mean() > 0.9
    # Not more than the kernel reaches.
    (y, x), sky = np.nonzero(touched), plane(path).sky_map
    py, _ = sky.pixel_of(*reference.sky_of(y + WINDOW.y0, x + WINDOW.x0))
    reach = 4 if common is None else 4 + 5 + math.ceil(4.5 * 10 / 2.355 / 1.95)
    assert py.min() > 70 - reach
    assert py.max() < 75 + reach


def test_a_window_beyond_a_plane_is_empty(reference, tmp_path):
    other = plane(write(tmp_path / "o.fits", pixel=1.1 * PIXEL, centre=(151.0, -31.0)))
    assert np.isnan(resample(reference, WINDOW, other)).all()
    assert np.isnan(resample(reference, WINDOW, other, Beam(12, 12))).all()


def test_the_pixels_do_not_depend_on_the_window(reference, tmp_path):
    one = plane(write(tmp_path / "o.fits", pixel=1.5 * PIXEL, angle=20))
    fine = plane(write(tmp_path / "f.fits", pixel=0.2 * PIXEL, unit="DN", beam=None, shape=(600, 600)))
    parts = [replace(WINDOW, y1=72), replace(WINDOW, y0=72)]
    for other, common in ((one, None), (one, Beam(12, 10)), (fine, None)):
        whole = resample(reference, WINDOW, other, common)
        halves = np.concatenate([resample(reference, part, other, common) for part in parts])
        np.testing.assert_allclose(halves, whole, rtol=1e-5, atol=2e-4 * np.nanmax(whole))


def test_a_beam_in_another_frame_is_turned(tmp_path):
    """A map in galactic coordinates: its BPA counts from galactic north."""
    reference = SkyMap.open(write(tmp_path / "r.fits"), MapsConfig())
    header = header_of((160, 160), (PIXEL, PIXEL), (260.1, 19.5), ("GLON-SIN", "GLAT-SIN"), BPA=40.0)
    header.update({"BMAJ": 9.0 / 3600, "BMIN": 5.0 / 3600})
    there = SkyCoord(*POINTS[0][:2], unit="deg").galactic
    header["CRVAL1"], header["CRVAL2"] = there.l.deg, there.b.deg
    fits.writeto(tmp_path / "g.fits", np.zeros((160, 160), np.float32), header)
    other = plane(tmp_path / "g.fits")
    image = point(other.sky_map, Window(0, 160, 0, 160), other.beam)
    fits.writeto(tmp_path / "g.fits", image.astype(np.float32), header, overwrite=True)
    found = resample(reference, WINDOW, plane(tmp_path / "g.fits"), Beam(12.0, 9.0, 60.0))
    wanted = point(reference, WINDOW, Beam(12.0, 9.0, 60.0))
    assert np.abs(found - wanted).max() < 5e-3 * PEAK


@pytest.mark.parametrize(
    ("cards", "match"),
    [
        ({"BUNIT": "Jy/beam"}, "there is no beam"),
        ({"BUNIT": "mag"}, "'mag' is a logarithm"),
        ({"BUNIT": ""}, r"no unit \(BUNIT\)"),
        ({"BUNIT": "MJy/sr", "CTYPE1": "LINEAR"}, "not those of a map of the sky"),
    ],
)
def test_a_plane_that_cannot_be_used_is_refused_by_name(tmp_path, cards, match):
    header = header_of((60, 60), (1.5, 1.5), CENTRE)
    del header["BMAJ"], header["BMIN"], header["BPA"]
    header.update(cards)
    fits.writeto(tmp_path / "o.fits", np.zeros((60, 60), np.float32), header)
    with pytest.raises(ConfigError, match=f"cutouts.planes other: .*o.fits: .*{match}"):
        plane(tmp_path / "o.fits")


def test_maps_of_one_plane_share_their_unit(tmp_path):
    for name, unit in (("a", "MJy/sr"), ("b", "DN")):
        write(tmp_path / f"{name}.fits", unit=unit, beam=None)
    with pytest.raises(ConfigError, match=r"other: .*a.fits is in MJy/sr and .*b.fits in DN"):
        open_plane(PlaneConfig(name="other", files=(str(tmp_path / "?.fits"),)), tmp_path)


@pytest.mark.parametrize(
    ("given", "match"), [({"name": "W1"}, "must match"), ({"name": "w1"}, "needs files")]
)
def test_an_entry_that_cannot_be_is_refused(given, match):
    with pytest.raises(ConfigError, match=match):
        validate(PlaneConfig, given)


def test_values_no_radio_sky_has_are_values_of_other_units(tmp_path):
    header = header_of((60, 60), (1.5, 1.5), CENTRE, BUNIT="Jy/sr")
    image = np.full((60, 60), 3e9, np.float32)
    image[5, 5] = np.inf
    fits.writeto(tmp_path / "o.fits", image, header)
    found = plane(tmp_path / "o.fits").sky_map.read(Window(0, 60, 0, 60))
    assert np.isnan(found[5, 5])
    assert set(np.unique(found[np.isfinite(found)])) == {np.float32(3e9)}
