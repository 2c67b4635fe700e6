"""Headers whose slips change a map without a word from astropy: read as they are meant, or refused."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import pixel_to_skycoord

from astro_dist.engine.errors import ConfigError
from astro_dist.sky.beams import Beam
from astro_dist.sky.maps import MapsConfig, SkyMap
from astro_dist.sky.units import choose_unit, parse_unit
from astro_dist.sky.windows import Window
from tests.sky.small_maps import header_of

SHAPE, STEP = (48, 40), (2.0, 2.0)
NOISE = np.random.default_rng(6).normal(0, 1e-4, SHAPE).astype(np.float32)
BEAM = ("BMAJ", "BMIN", "BPA")


def header(drop=(), history=(), **cards):
    found = header_of(SHAPE, STEP, (150.0, -40.0), **cards)
    for key in drop:
        del found[key]
    for line in history:
        found.add_history(line)
    return found


def opened(path, cards, *others, image=NOISE, **settings):
    fits.HDUList([fits.PrimaryHDU(image, cards), *others]).writeto(path, overwrite=True)
    return SkyMap.open(path, MapsConfig(**settings))


TURN = 0.7
MATRIX = {"1_1": np.cos(TURN), "1_2": -np.sin(TURN), "2_1": np.sin(TURN), "2_2": np.cos(TURN)}
PLAIN = {f"PC{place}": value for place, value in MATRIX.items()}
TEXTS = {
    "numbers as text": ({"CRVAL1": "150.0", "CDELT2": " 5.5555555555555556D-04"}, {}),
    "a turn as text": ({"CROTA2": "30.0"}, {"CROTA2": 30.0}),
    "AIPS++ and old CASA": ({f"PC0{p[:2]}0{p[2:]}": v for p, v in MATRIX.items()}, PLAIN),
    "Wells and others": ({f"PC00{p[0]}00{p[2]}": v for p, v in MATRIX.items()}, PLAIN),
    "a stroke in RADESYS": ({"RADESYS": "FK5/J2000"}, {"RADESYS": "FK5", "EQUINOX": 2000.0}),
    "quotes in RADESYS": ({"RADESYS": "'ICRS'"}, {"RADESYS": "ICRS"}),
}


@pytest.mark.parametrize("name", TEXTS)
def test_cards_that_astropy_leaves_out_count(tmp_path, name):
    cards, meant = TEXTS[name]
    sky_map = opened(tmp_path / "m.fits", header(**cards))
    y, x = np.random.default_rng(1).uniform(0, 40, (2, 50))
    sky = pixel_to_skycoord(x, y, WCS(header(**meant))).icrs
    np.testing.assert_allclose(sky_map.sky_of(y, x), (sky.ra.deg, sky.dec.deg), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("cards", "match"),
    [
        ({"CRVAL1": "10:00:00", "CRVAL2": "-40:00:00"}, "CRVAL1 is '10:00:00', which is no number"),
        ({"CDELT1": "-2 arcsec"}, "CDELT1 is '-2 arcsec', which is no number"),
        ({"CROTA2": "unknown"}, "CROTA2 is 'unknown'"),
        ({"EPOCH": 0.0}, "EPOCH is 0, which is no year; write 2000.0 or 1950.0"),
        ({"EQUINOX": 2450000.5}, "EQUINOX is 2.45e.06, which is no year"),
        ({"CTYPE3": "STOKES", "CRVAL3": "V"}, "map of Stokes V, not I"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path, cards, match):
    with pytest.raises(ConfigError, match=match):
        opened(tmp_path / "m.fits", header(**cards))


def test_an_equinox_does_not_matter_in_icrs_and_galactic_maps(tmp_path):
    for cards in ({"RADESYS": "ICRS"}, {"CTYPE1": "GLON-SIN", "CTYPE2": "GLAT-SIN"}):
        opened(tmp_path / "m.fits", header(EPOCH=0.0, **cards))


# As PUTHEAD of AIPS writes, here with other numbers than in the map of the Crab nebula that shows its form.
PUTHEAD = """\
PUTHEAD BMAJ     =  1.00000E-03      / old
PUTHEAD BMAJ     =  2.22222E-03      / new
PUTHEAD BMIN     =  1.00000E-03      / old
PUTHEAD BMIN     =  1.66667E-03      / new
PUTHEAD BPA      =  0.00000E+00      / old
PUTHEAD BPA      =  8.00000E+01      / new""".splitlines()
CLEAN = "AIPS   CLEAN BMAJ=  1.6667E-03 BMIN=  1.6667E-03 BPA=   0.00"
HISTORIES = {
    "changed cards": (PUTHEAD, (8, 6, 80)),
    "changed cards after a beam": ([CLEAN, *PUTHEAD], (8, 6, 80)),
    "an angle changed alone": ([CLEAN.replace("BMAJ=  1.6667", "BMAJ=  2.2222"), *PUTHEAD[4:]], (8, 6, 80)),
    "a beam after changed cards": ([*PUTHEAD, CLEAN], (6, 6, 0)),
    "RSTOR, in arcsec": (["RSTOR BMAJ=   8.000 BMIN=   6.000 BPA=  80.00"], (8, 6, 80)),
    "two marks for arcsec": (["BMAJ=8.0'' BMIN=6.0'' BPA=80"], (8, 6, 80)),
}


@pytest.mark.parametrize("name", HISTORIES)
def test_changes_of_a_beam_in_history(tmp_path, name):
    lines, expected = HISTORIES[name]
    beam = opened(tmp_path / "m.fits", header(BEAM, lines)).beam
    assert (beam.major_arcsec, beam.minor_arcsec, beam.pa_deg) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    "line",
    ["CONVOL:   fwhm=10,9", "imsmooth(imagename='a', major='9arcsec')", "convolved with a 9 arcsec beam"],
)
def test_a_map_that_was_smoothed_after_its_beam_is_refused(tmp_path, line):
    beam = "RESTOR: Beam =  8.000E+00 x  6.000E+00 arcsec, pa =  1.200E+01 degrees"
    cards = header(BEAM, [beam, "made by a script", line])
    with pytest.raises(ConfigError, match=r"its HISTORY line .* words not understood; .*beam_major_arcsec"):
        opened(tmp_path / "m.fits", cards)
    assert opened(tmp_path / "m.fits", cards, beam_major_arcsec=9.0).beam == Beam(9, 9)


def test_a_plane_of_a_cube_with_the_beams_of_all_planes_has_none_of_them(tmp_path):
    columns = [
        fits.Column(key, "1E", array=values)
        for key, values in zip(BEAM, ([6, 8], [5, 7], [0, 0]), strict=True)
    ]
    table = fits.BinTableHDU.from_columns(columns, name="BEAMS")
    cards = header(BEAM, CTYPE3="FREQ", CRVAL3=1e9, CDELT3=1e6, CRPIX3=1.0)
    with pytest.raises(ConfigError, match=r"table of beams has 2 different ones.*beam_major_arcsec"):
        opened(tmp_path / "m.fits", cards, table, image=NOISE[None])
    assert opened(tmp_path / "m.fits", cards, table, image=np.stack([NOISE] * 2), plane=1).beam == Beam(8, 7)


def test_units_of_a_beam_in_brackets_count(tmp_path):
    sizes = {"BMAJ": (8.0, "[arcsec] major axis"), "BMIN": (0.1, "[arcmin]"), "BPA": 20.0}
    assert opened(tmp_path / "m.fits", header(**sizes)).beam == Beam(8, 6, 20)
    first = fits.PrimaryHDU()
    first.header.update(sizes | {"FREQ": (943.5, "[MHz] of the middle")})
    fits.HDUList([first, fits.ImageHDU(NOISE, header((*BEAM, "RESTFRQ")))]).writeto(tmp_path / "i.fits")
    inherited = SkyMap.open(tmp_path / "i.fits", MapsConfig())
    assert (inherited.beam, inherited.frequency_hz) == (Beam(8, 6, 20), 943.5e6)
    with pytest.raises(ConfigError, match=r"BPA. is no number of degrees"):
        opened(tmp_path / "m.fits", header(**sizes | {"BPA": 1e20}))


@pytest.mark.parametrize(
    "card", ["K km/s", "JY/BEAM.KM/S", "Jy/beam*Hz", "km s-1", "rad/m^2", "deg", "mag/arcsec2"]
)
def test_a_setting_makes_no_brightness_of_another_kind(card):
    with pytest.raises(ConfigError, match="its own unit"):
        choose_unit("Jy/beam", card)
    assert choose_unit("Jy/beam", "JY") == choose_unit("Jy/beam", "counts") == "Jy/beam"


def test_quantities_before_their_unit_and_square_angles():
    assert parse_unit("Tb [K]") == parse_unit("T_mb (K)") == parse_unit("K (TMB)") == parse_unit("K")
    assert parse_unit("Jy/square arcsec") == parse_unit("Jy/arcsec2")
    # Millijansky in capitals, or megajansky.
    assert parse_unit("MJY/ARCSEC2") is None


@pytest.mark.parametrize("bits", [16, 32])
def test_zeros_that_a_scale_moved_are_no_data(tmp_path, bits):
    y, x = np.indices(SHAPE)
    outside = np.hypot(y - 24, x - 20) > 18
    sky = np.where(outside, 0, NOISE) + 0.05 * ((y == 24) & (x == 20))
    low, high = float(sky.min()), float(sky.max())
    scale, zero = (high - low) / (2**bits - 10), (high + low) / 2
    image = fits.PrimaryHDU(np.round((sky - zero) / scale).astype(f"i{bits // 8}"), header())
    image.writeto(tmp_path / "m.fits")
    with fits.open(tmp_path / "m.fits", mode="update", do_not_scale_image_data=True) as hdus:
        hdus[0].header["BSCALE"], hdus[0].header["BZERO"] = scale, zero
    pixels = SkyMap.open(tmp_path / "m.fits", MapsConfig()).read(Window.of_shape(SHAPE))
    assert 0 < abs(float(np.round(-zero / scale) * scale + zero)) < 1e-5
    # A pixel of noise at the rim may have the same step.
    assert np.isnan(pixels[outside]).all()
    assert np.isnan(pixels[~outside]).sum() < 4
