"""Headers of other programs: spellings of the frame, negative longitudes, turned and mirrored axes."""

import numpy as np
import pytest
from astropy.io import fits

from astro_dist.engine.errors import ConfigError
from astro_dist.sky.annotate import AnnotateConfig, find_islands
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.fits_file import radio_header
from astro_dist.sky.maps import MapsConfig, SkyMap
from tests.sky.small_maps import angles_on_sky, apart, header_of, open_map

STEP = (2.0, 1.5)
ONES = np.ones((40, 50))


def frame_of(path, **cards):
    return open_map(path, ONES, STEP, (150.0, -30.0), **cards).sky_of(12.0, 7.0)


@pytest.mark.parametrize(
    ("cards", "same_as"),
    [
        *[
            ({"RADESYS": word}, {"RADESYS": "FK5"})
            for word in ("J2000", "j2000.0", "FK5 ", "fk5", "FK5 J2000")
        ],
        ({"RADECSYS": "fk5"}, {"RADESYS": "FK5"}),
        ({"EQUINOX": "J2000"}, {"RADESYS": "FK5"}),
        ({"EPOCH": 2000.0}, {"RADESYS": "FK5"}),
        ({"EPOCH": "2000.0", "RADESYS": "J2000"}, {"RADESYS": "FK5"}),
        *[({"RADESYS": word}, {"RADESYS": "ICRS"}) for word in ("icrs", "ICRF", "Icrs ")],
        ({"CTYPE1": "ra---sin", "CTYPE2": "dec--sin"}, {}),
        ({"CTYPE1": "RA---sin", "CTYPE2": "Dec--SIN"}, {}),
        *[({"RADESYS": word}, {"RADESYS": "FK4", "EQUINOX": 1950.0}) for word in ("B1950", "fk4", "B1950.0")],
        ({"EPOCH": 1950.0}, {"RADESYS": "FK4", "EQUINOX": 1950.0}),
    ],
)
def test_usual_misspellings_are_read_as_what_they_mean(tmp_path, cards, same_as):
    assert frame_of(tmp_path / "a.fits", **cards) == frame_of(tmp_path / "b.fits", **same_as)


def test_a_galactic_map_needs_no_frame(tmp_path):
    galactic = {"CTYPE1": "glon-sin", "CTYPE2": "glat-sin"}
    assert frame_of(tmp_path / "a.fits", RADESYS="J2000", **galactic) == frame_of(
        tmp_path / "b.fits", **galactic
    )
    assert frame_of(tmp_path / "a.fits", **galactic) != frame_of(tmp_path / "b.fits")


@pytest.mark.parametrize(
    ("cards", "match"),
    [
        ({"RADESYS": "GAPPT"}, "RADESYS is 'GAPPT'; ICRS, FK5 .*reproject"),
        ({"RADESYS": "J2000", "EQUINOX": 1950.0}, "RADESYS is 'J2000' and its EQUINOX 1950"),
        ({"EQUINOX": "now"}, "EQUINOX is 'now', which is no year"),
        ({"CTYPE1": "RA---XYZ", "CTYPE2": "DEC--XYZ"}, "CTYPE 'RA---XYZ' and 'DEC--XYZ'"),
        ({"CTYPE1": "RA---SIN", "CTYPE2": "GLAT-SIN"}, "not those of a map of the sky"),
        ({"CTYPE1": "ELON-SIN", "CTYPE2": "ELAT-SIN"}, "frame ELON-SIN.*reproject"),
        (
            {"CTYPE1": "DEC--SIN", "CTYPE2": "RA---SIN", "CRVAL1": -30.0, "CRVAL2": 150.0},
            "longitude and latitude; .*reproject",
        ),
        ({"CDELT1": 0.0}, "not those of a map of the sky|one direction"),
        ({"PC1_1": 1.0, "PC1_2": 1.0, "PC2_1": 1.0, "PC2_2": 1.0}, "not those of a map|one direction"),
    ],
)
def test_what_says_nothing_certain_is_refused_in_plain_words(tmp_path, cards, match):
    with pytest.raises(ConfigError, match=match) as caught:
        frame_of(tmp_path / "m.fits", **cards)
    assert "\n" not in str(caught.value)
    assert not any(word in str(caught.value) for word in ("Error", "wcs.c", "SkyCoord", "cextern"))


@pytest.mark.parametrize("crval", [-164.181, -0.02, 359.99, 540.0])
def test_right_ascensions_are_never_negative(tmp_path, crval):
    y, x = np.indices(ONES.shape)
    image = np.random.default_rng(2).normal(0, 1e-4, ONES.shape)
    image += 0.01 * Beam(6.0, 6.0).profile(y - 20, x - 30, Pixel(*STEP))
    found = open_map(tmp_path / "a.fits", image, STEP, (crval, -30.0))
    plain = open_map(tmp_path / "b.fits", image, STEP, (crval % 360, -30.0))
    ra, dec = found.sky_of(y, x)
    assert (ra >= 0).all()
    assert (ra < 360).all()
    np.testing.assert_allclose([ra, dec], plain.sky_of(y, x), atol=1e-10)
    np.testing.assert_allclose(found.pixel_of(ra, dec), (y, x), atol=1e-6)
    np.testing.assert_allclose(found.pixel_of(ra - 360, dec), (y, x), atol=1e-6)
    islands = find_islands(found, AnnotateConfig()).columns
    assert islands["ra_deg"][0] == pytest.approx(float(plain.sky_of(20.0, 30.0)[0]), abs=1e-3)


TURNED = {
    "CROTA2": {"CROTA2": 30.0},
    "quarter": {"PC1_1": 0.0, "PC1_2": -1.0, "PC2_1": 1.0, "PC2_2": 0.0},
    "upside down": {"CROTA2": 170.0},
    "east right": {"CDELT1": STEP[1] / 3600},
    "south up": {"CDELT2": -STEP[0] / 3600},
    "slightly": {"CROTA2": 2.0},
}


@pytest.mark.parametrize("name", TURNED)
def test_turned_and_mirrored_maps_are_read(tmp_path, name):
    """A source of the beam's shape at 25 degrees east of north is that in any image, and so is BPA."""
    step, centre = 2.0, (150.0, -30.0)
    cards = {"CDELT1": -step / 3600, "CDELT2": step / 3600, "BMAJ": 16 / 3600, "BMIN": 8 / 3600, "BPA": 25.0}
    turned = {
        key: np.sign(v) * step / 3600 if key.startswith("CDELT") else v for key, v in TURNED[name].items()
    }
    blank = open_map(tmp_path / "m.fits", np.ones((120, 120)), (step, step), centre, **cards | turned)
    assert (blank.pixel.dy_arcsec, blank.pixel.dx_arcsec) == pytest.approx((step, step))
    # The direction of the beam's longer axis in the image, by astropy.
    widths = np.array([blank.beam.major_arcsec, blank.beam.minor_arcsec]) / step
    _, _, pa = angles_on_sky(blank.wcs, [59.5], [59.5], *widths[:, None], np.array([blank.beam.pa_deg]))
    assert apart(pa, 25.0) < 0.05
    y, x = np.indices((120, 120))
    image = np.random.default_rng(4).normal(0, 1e-4, (120, 120))
    image += 0.05 * blank.beam.profile(y - 60, x - 50, blank.pixel)
    sky_map = open_map(tmp_path / "m.fits", image, (step, step), centre, **cards | turned)
    row = {key: value[0] for key, value in find_islands(sky_map, AnnotateConfig()).columns.items()}
    assert apart(row["pa_deg"], 25.0) < 1
    assert apart(row["image_pa_deg"], blank.beam.pa_deg) < 1
    assert row["major_arcsec"] == pytest.approx(16, rel=0.03)
    assert row["flux_jy"] == pytest.approx(0.05, rel=0.02)


@pytest.mark.parametrize("name", TURNED)
def test_a_field_on_a_turned_map_states_the_same_sky_and_beam(tmp_path, name):
    cards = {"BMAJ": 16 / 3600, "BMIN": 8 / 3600, "BPA": 25.0} | TURNED[name]
    real = open_map(tmp_path / "m.fits", np.ones((120, 100)), STEP, (150.0, 60.0), **cards)
    header = radio_header(real.shape, real.wcs, real.beam)
    assert header["BPA"] % 180 == pytest.approx(25.0)
    fits.writeto(tmp_path / "field.fits", np.ones(real.shape, np.float32), header)
    field = SkyMap.open(tmp_path / "field.fits", MapsConfig())
    y, x = np.indices(real.shape)
    np.testing.assert_allclose(field.sky_of(y, x), real.sky_of(y, x), atol=1e-10)
    assert field.beam.pa_deg % 180 == pytest.approx(real.beam.pa_deg % 180)
    assert field.pixel.dy_arcsec == pytest.approx(real.pixel.dy_arcsec)


def test_a_straight_map_keeps_its_numbers(tmp_path):
    header = header_of((40, 50), STEP, (150.0, -30.0), BPA=190.0, BMAJ=0.005, BMIN=0.004, CROTA2=0.0)
    fits.writeto(tmp_path / "m.fits", ONES.astype(np.float32), header)
    sky_map = SkyMap.open(tmp_path / "m.fits", MapsConfig())
    assert sky_map.beam == Beam(0.005 * 3600, 0.004 * 3600, 190.0)
