"""The kinds of headers that telescopes and their programs write, read right or refused with a remedy.

Every map here is built by the test. The table in ``docs/maps.md`` names the writer of each kind.
"""

import gzip
from dataclasses import replace

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits

from astro_dist.engine.errors import ConfigError
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.config import MapsConfig
from astro_dist.sky.files import map_sources
from astro_dist.sky.fits_file import plane_wcs, radio_header
from astro_dist.sky.frequency import find_frequency_hz
from astro_dist.sky.map_files import UNPACKED
from astro_dist.sky.maps import SkyMap, open_maps
from astro_dist.sky.units import to_jy_beam
from astro_dist.sky.windows import Window
from tests.settings import make_run

SHAPE = (40, 48)
WHOLE = Window.of_shape(SHAPE)
BEAM, PIXEL = Beam(6, 5, 30), Pixel(1.5, 1.5)
NOISE = np.random.default_rng(5).normal(0, 1e-4, SHAPE).astype(np.float32)


def header_of(drop=(), **cards):
    header = radio_header(SHAPE, plane_wcs(SHAPE, PIXEL, 180.0, -30.0), BEAM, 1.4e9)
    for key in drop:
        del header[key]
    header.update(cards)
    return header


BARE = ("BMAJ", "BMIN", "BPA")
NO_FREQUENCY = ("RESTFRQ", "RESTFREQ")


def write(path, *hdus, raw=()):
    """Write HDUs, then replace cards of text by others of the same key, which need not be valid FITS."""
    fits.HDUList(list(hdus)).writeto(path, output_verify="silentfix", overwrite=True)
    content = path.read_bytes()
    for old, new in raw:
        assert content.count(old.encode().ljust(80)) == 1
        content = content.replace(old.encode().ljust(80), new.encode().ljust(80))
    path.write_bytes(content)
    return path


def open_map(path, **settings):
    return SkyMap.open(path, MapsConfig(**settings))


def refuse(path, match, **settings):
    with pytest.raises(ConfigError, match=match) as caught:
        open_map(path, **settings)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


# Beams


def beams_table(*rows, unit="arcsec", angle=None):
    values = list(zip(*rows, strict=True))
    columns = [
        fits.Column(
            name, form, unit={"BMAJ": unit, "BMIN": unit, "BPA": angle}.get(name), array=np.array(column)
        )
        for name, form, column in zip(("BMAJ", "BMIN", "BPA", "CHAN", "POL"), "EEEJJ", values, strict=True)
    ]
    return fits.BinTableHDU.from_columns(columns, name="BEAMS")


def test_a_table_of_one_beam_is_read(tmp_path):
    image = fits.PrimaryHDU(NOISE[None, None], header_of(BARE, CASAMBM=True))
    path = write(tmp_path / "m.fits", image, beams_table((6.0, 5.0, 30.0, 0, 0)))
    assert open_map(path).beam == BEAM
    table = beams_table((6 / 3600, 5 / 3600, 30.0, 0, 0), unit="deg")
    path = write(tmp_path / "deg.fits", fits.PrimaryHDU(NOISE, header_of(BARE, BMAJ=0.0)), table)
    assert open_map(path).beam.major_arcsec == pytest.approx(6)
    packed = tmp_path / "m.fits.gz"
    packed.write_bytes(gzip.compress((tmp_path / "m.fits").read_bytes()))
    assert open_map(packed).beam == BEAM


@pytest.mark.parametrize(("unit", "angle"), [("rad", "rad"), ("arcmin", "arcmin"), ("mas", "deg"), ("", "")])
def test_a_table_of_beams_is_read_in_its_units(tmp_path, unit, angle):
    width, turn = u.arcsec.to(unit or "arcsec"), u.deg.to(angle or "deg")
    table = beams_table((6 * width, 5 * width, 30 * turn, 0, 0), unit=unit, angle=angle)
    beam = open_map(write(tmp_path / "m.fits", fits.PrimaryHDU(NOISE, header_of(BARE)), table)).beam
    assert (beam.major_arcsec, beam.minor_arcsec, beam.pa_deg) == pytest.approx((6, 5, 30))
    table = beams_table((6, 5, 30, 0, 0), angle="km")
    path = write(tmp_path / "km.fits", fits.PrimaryHDU(NOISE, header_of(BARE)), table)
    refuse(path, r"BPA in 'km'.*maps\.beam_pa_deg")


def test_of_several_beams_that_of_the_plane_is_read(tmp_path):
    freq = {"CTYPE3": "FREQ", "CRVAL3": 1e9, "CDELT3": 1e6, "CRPIX3": 1.0, "CUNIT3": "Hz"}
    cube = fits.PrimaryHDU(np.stack([NOISE, 2 * NOISE]), header_of(BARE, **freq))
    table = beams_table((6.0, 5.0, 30.0, 0, 0), (8.0, 7.0, 10.0, 1, 0))
    path = write(tmp_path / "m.fits", cube, table)
    second = open_map(path, plane=1)
    assert (second.beam, second.frequency_hz) == (Beam(8, 7, 10), 1.001e9)
    np.testing.assert_array_equal(second.read(WHOLE), 2 * NOISE)
    path = write(
        tmp_path / "flat.fits",
        fits.PrimaryHDU(NOISE, header_of(BARE)),
        beams_table((6.0, 5.0, 30.0, 3, 0), (8.0, 7.0, 10.0, 4, 0)),
    )
    refuse(path, r"table of beams has 2 different ones.*maps\.beam_major_arcsec")


HISTORIES = {
    "AIPS": ("AIPS   CLEAN BMAJ=  1.6667E-03 BMIN=  1.3889E-03 BPA= -40.24", (6, 5, -40.24)),
    "AIPS after an older one": (
        "AIPS   CLEAN BMAJ=  9.0E-03 BMIN=  9.0E-03 BPA=   0.00\nAIPS   CLEAN NITER=        3 PRODUCT=1\n"
        "AIPS   CLEAN BMAJ=  1.6667E-03 BMIN=  1.3889E-03 BPA=   1.00",
        (6, 5, 1),
    ),
    "AIPS glued": ("AIPS CLEAN BMAJ=1.6667E-03 BMIN=1.3889E-03 BPA=-140.24/", (6, 5, -140.24)),
    "AIPS split": ("AIPS CLEAN BMAJ=1.6667E-03 BMIN=1.3889E-03\nAIPS CLEAN BPA= -40.24", (6, 5, -40.24)),
    "AIPS split in three": (
        "AIPS CLEAN BMAJ= 1.6667D-03\nAIPS CLEAN BMIN= 1.3889D-03\nAIPS CLEAN BPA= 7.0 /",
        (6, 5, 7),
    ),
    "AIPS CONVL in arcsec": ("CONVL BMAJ=  6.0000 BMIN=  5.0000 BPA=   3.0/Output beam", (6, 5, 3)),
    "AIPS SMOTH, input and output": (
        "SMOTH  BMAJ=  4.0000 BMIN=  3.0000 BPA=  10.0 / Input beam\n"
        "SMOTH  BMAJ=  6.0000 BMIN=  5.0000 BPA=  30.0 / Output beam",
        (6, 5, 30),
    ),
    "AIPS APCLN in arcsec": ("APCLN BMAJ=   6.000 BMIN=   5.000 BPA=   3.00", (6, 5, 3)),
    "AIPS MX in arcsec": ("MX    BMAJ=   6.000 BMIN=   5.000 BPA=   3.00 / beam", (6, 5, 3)),
    "AIPS CONVL after OPCODE": ("CONVL OPCODE='GAUS' BMAJ=  6.0 BMIN=  5.0 BPA=   3.0", (6, 5, 3)),
    "CASA clean": ("> restoration: 6 by 5 (arcsec) at pa -54.7538 (deg)", (6, 5, -54.7538)),
    "CASA, continued": ("Beam used in restoration: 6.0 by 5.0 (arcsec) at\n> pa 30.5 (deg)", (6, 5, 30.5)),
    "CASA, words": ("CASA-HIST restoring beam: 6.0 arcsec 5.0 arcsec pa -40.2 deg", (6, 5, -40.2)),
    "CASA tclean": ("Beam for chan : 0 : 6 arcsec, 5 arcsec, -40.6 deg", (6, 5, -40.6)),
    "CASA parameters": ("restoringbeam=['6.0arcsec', '5.0arcsec', '30.0deg']", (6, 5, 30)),
    "widths and angle": ('Restoring beam 6.0" x 5.0" @ 30 deg', (6, 5, 30)),
    "AIPS in arcsec": ("made with bmaj=6.0arcsec bmin=5.0arcsec bpa=30deg", (6, 5, 30)),
    "AIPS in marks": ('BMAJ=6.0" BMIN=5.0" BPA=0.5rad', (6, 5, np.degrees(0.5))),
    "AIPS before other beams": (
        "AIPS   CLEAN BMAJ=  1.6667E-03 BMIN=  1.3889E-03 BPA= 12.00\nIMAGR BMAJ= 0 BMIN= 0 BPA= 0\n"
        "Cut at antenna beam 25 arcsec 25 arcsec\nbeam area 28.3 5.0 arcsec\n"
        "a copy, smoothed from beam 9 arcsec x 8 arcsec\nsmoothed from restoring beam 9 arcsec x 8 arcsec",
        (6, 5, 12),
    ),
    "MIRIAD": ("RESTOR: Beam =  6.000E+00 x  5.000E+00 arcsec, pa =  6.485E+00 degrees", (6, 5, 6.485)),
}


@pytest.mark.parametrize("kind", HISTORIES)
def test_beams_in_history(tmp_path, kind):
    text, expected = HISTORIES[kind]
    header = header_of(BARE)
    for line in ("made long ago", *text.split("\n"), "primary beam: 30 arcmin", "written by FITTP"):
        header.add_history(line)
    beam = open_map(write(tmp_path / "m.fits", fits.PrimaryHDU(NOISE, header))).beam
    found = beam.major_arcsec, beam.minor_arcsec, beam.pa_deg
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    "line",
    [
        *("AIPS CLEAN BMAJ= see log", "RESTOR: Beam = unknown", "restoration: failed", "beam = large"),
        *("Cut at antenna beam 25 arcsec 25 arcsec", "beam area 28.3 5.0 arcsec", "IMAGR BMAJ= 0 BMIN= 0"),
        "smoothed from beam 6 arcsec x 5 arcsec",
    ],
)
def test_a_history_line_like_a_beam_is_named(tmp_path, line):
    header = header_of(BARE)
    header.add_history(line)
    path = write(tmp_path / "m.fits", fits.PrimaryHDU(NOISE, header))
    refuse(path, rf"HISTORY line '{line}' is not understood; .*maps\.beam_major_arcsec")


@pytest.mark.parametrize("line", ["restoring beam 6 x 5 arcsec, turned by 30", "BMAJ=6furlong BMIN=5furlong"])
def test_a_history_line_of_which_a_part_is_not_understood_is_refused(tmp_path, line):
    header = header_of(BARE)
    header.add_history(line)
    path = write(tmp_path / "m.fits", fits.PrimaryHDU(NOISE, header))
    refuse(path, r"maps\.beam_")
    assert open_map(path, beam_major_arcsec=6.0, beam_minor_arcsec=5.0, beam_pa_deg=9.0).beam == Beam(6, 5, 9)


def test_obit_names_its_beam_otherwise(tmp_path):
    cards = {"CLEANBMJ": 6 / 3600, "CLEANBMN": 5 / 3600, "CLEANBPA": 12.0}
    beam = open_map(write(tmp_path / "m.fits", fits.PrimaryHDU(NOISE, header_of(BARE, **cards)))).beam
    assert (beam.major_arcsec, beam.minor_arcsec, beam.pa_deg) == pytest.approx((6, 5, 12))


@pytest.mark.parametrize("angle", ["nan", "-NaN", "inf", "'nan     '"])
def test_a_round_beam_needs_no_angle_and_another_says_so(tmp_path, angle):
    raw = [("BPA     =                 77.0", f"BPA     = {angle:>20}")]
    round_beam = fits.PrimaryHDU(NOISE, header_of(BARE, BMAJ=6 / 3600, BMIN=6 / 3600))
    round_beam.header["BPA"] = 77.0
    write(tmp_path / "m.fits", round_beam, raw=raw)
    assert open_map(tmp_path / "m.fits").beam.pa_deg == 0
    long_beam = fits.PrimaryHDU(NOISE, header_of(BARE, BMAJ=6 / 3600, BMIN=5 / 3600))
    long_beam.header["BPA"] = 77.0
    path = write(tmp_path / "long.fits", long_beam, raw=raw)
    refuse(path, r"angle of its beam .* maps\.beam_pa_deg")
    assert open_map(path, beam_pa_deg=12.0).beam.pa_deg == 12


@pytest.mark.parametrize("width", ["0.0", "nan", "-1.0", "'6 asec  '", "T"])
def test_a_width_that_says_nothing_has_a_remedy(tmp_path, width):
    hdu = fits.PrimaryHDU(NOISE, header_of(BARE))
    hdu.header["BMAJ"] = 77.0
    path = write(tmp_path / "m.fits", hdu, raw=[("BMAJ    =                 77.0", f"BMAJ    = {width:>20}")])
    refuse(path, r"beam .*BMAJ is .*maps\.beam_major_arcsec, maps\.beam_minor_arcsec")
    assert open_map(path, beam_major_arcsec=6.0).beam == Beam(6, 6)


# Frequencies

LINE, SPEED = 1.42e9, 3e5 / 299792458


@pytest.mark.parametrize(
    ("cards", "expected"),
    [
        # One channel cut out of a cube keeps the reference pixel of the cube.
        ({"CTYPE3": "FREQ", "CRVAL3": 1.4e9, "CRPIX3": -33.0, "CDELT3": 1e6}, 1.434e9),
        ({"CTYPE4": "FREQ", "CRVAL4": 144.0, "CRPIX4": 3.0, "CDELT4": 0.5, "CUNIT4": "MHz"}, 143e6),
        ({"CTYPE3": "STOKES", "CRVAL3": 1.0, "CTYPE4": "freq-lsr", "CRVAL4": 1.4, "CUNIT4": "GHz"}, 1.4e9),
        ({"CTYPE3": "SPECLNMF", "CRVAL3": 1.28e9, "CRPIX3": 1.0, "CDELT3": 8e8}, 1.28e9),
        ({"CTYPE3": "FREQ", "CRVAL3": 1.0e9, "CD3_3": 1e6, "CRPIX3": 0.0}, 1.001e9),
        (
            {"CTYPE3": "FREQ", "CRVAL3": 1.4e9, "CRPIX3": -33.0, "CDELT3": 1.0, "PC3_3": 1e6, "CUNIT3": "Hz"},
            1.434e9,
        ),
        ({"CTYPE3": "FREQ", "CRVAL3": 1.4e9, "CRPIX3": -33.0, "CDELT3": 1.0, "CD3_3": 1e6}, 1.434e9),
        ({"RESTFRQ": 1.42e9}, 1.42e9),
        ({"RESTFREQ": 1.42e9}, 1.42e9),
        ({"FREQ": 2.0e8}, 2.0e8),
        ({"FREQ": (888.5, "[MHz] centre")}, 888.5e6),
        ({"OBSFREQ": "843 MHz"}, 843e6),
        (
            {"CTYPE3": "VRAD", "CRVAL3": 3e5, "CUNIT3": "m/s", "RESTFRQ": 1.42e9},
            LINE * (1 - SPEED),
        ),
        (
            {"CTYPE3": "VOPT", "CRVAL3": 300.0, "CUNIT3": "km/s", "RESTFRQ": 1.42e9},
            LINE / (1 + SPEED),
        ),
        (
            {"CTYPE3": "VELO-LSR", "CRVAL3": 3e5, "RESTFREQ": 1.42e9, "VELREF": 257},
            LINE * (1 - SPEED),
        ),
        (
            {"CTYPE3": "VELO-HEL", "CRVAL3": 3e5, "RESTFREQ": 1.42e9, "VELREF": 2},
            LINE / (1 + SPEED),
        ),
        (
            {"CTYPE3": "VOPT", "CRVAL3": 3e5, "CUNIT3": "m/s", "RESTWAV": 299792458 / LINE},
            LINE / (1 + SPEED),
        ),
        ({"CTYPE3": "VOPT", "CRVAL3": 3e5, "CUNIT3": "m/s", "RESTWAV": 0.0}, None),
        ({"CTYPE3": "WAVE", "CRVAL3": 21.0, "CUNIT3": "cm"}, 299792458 / 0.21),
        # Not in the unit that the header says, or of no meaning: another card, or none.
        ({"CTYPE3": "FREQ", "CRVAL3": 843.0, "RESTFRQ": 8.43e8}, 8.43e8),
        ({"CTYPE3": "FREQ", "CRVAL3": 0.0}, None),
        ({"CTYPE3": "VRAD", "CRVAL3": 3e5, "CUNIT3": "m/s"}, None),
        ({"RESTFRQ": "unknown"}, None),
        ({}, None),
    ],
)
def test_frequencies_of_axes_and_cards(cards, expected):
    found = find_frequency_hz(header_of(NO_FREQUENCY, **cards))
    assert found == (None if expected is None else pytest.approx(expected, rel=1e-9))


def test_without_a_frequency_only_kelvin_is_refused(tmp_path):
    path = write(tmp_path / "m.fits", fits.PrimaryHDU(NOISE, header_of(NO_FREQUENCY)))
    assert open_map(path).frequency_hz is None
    path = write(tmp_path / "k.fits", fits.PrimaryHDU(NOISE, header_of(NO_FREQUENCY, BUNIT="K")))
    refuse(path, r"its unit is K .* maps\.frequency_hz")
    assert open_map(path, frequency_hz=1.4e9).to_jy_beam == pytest.approx(4.811e-5, rel=1e-3)


# Units

KELVIN = (1 * u.K).to_value(
    u.Jy / u.beam,
    u.brightness_temperature(1.4e9 * u.Hz, np.pi / (4 * np.log(2)) * 30 * u.arcsec**2),
)
PER_PIXEL = BEAM.area_pix(PIXEL)
PER_SR = (PER_PIXEL * 2.25 * u.arcsec**2).to_value(u.sr)


@pytest.mark.parametrize(
    ("factor", "spellings"),
    [
        (1, "Jy/beam;JY/BEAM ;jy beam-1;Jy.beam**-1;beam-1 Jy;Jy/bm;Jy/B;JANSKY/BEAM;Jy beam^-1;Jy / beam"),
        (1e-3, "mJy/beam;MJY/BEAM;mJy/bm;mJy beam-1;beam^-1 mJy;mJy per beam;milliJy/beam"),
        (1e-6, "uJy/beam;UJY/BEAM;\u00b5Jy/beam;\u03bcJy/beam;muJy/beam;microJy/beam"),
        (1e-6, r"\mu Jy/beam;\mu Jy beam^{-1};beam-1 muJy"),
        (1, "Jy/clean_beam;Jy/clean beam;Jy clean_beam-1"),
        (1e-9, "nJy/beam"),
        (KELVIN, "K;K (Tb);KELVIN;Kelvin;Kelvins;K_RJ"),
        (KELVIN * 1e-3, "mK;MK;mK (Tb)"),
        (PER_PIXEL, "Jy/pixel;JY/PIXEL;Jy/pix;Jy pix-1"),
        (PER_PIXEL * 1e-3, "mJy/pixel;MJY/PIXEL"),
        (PER_SR, "Jy/sr;JY/SR;Jy sr-1;Jy sr^-1"),
        (PER_SR * 1e6, "MJy/sr;MJY/SR;MJy sr-1;sr-1 MJy"),
        (PER_SR * 1e-3, "mJy/sr"),
        (PER_PIXEL * 2.25, "Jy/arcsec^2;Jy arcsec-2;JY/ARCSEC2;Jy/(arcsec**2)"),
    ],
)
def test_units_of_any_spelling(factor, spellings):
    for text in spellings.split(";"):
        assert to_jy_beam(text, BEAM, PIXEL, 1.4e9) == pytest.approx(factor, rel=1e-12), text


@pytest.mark.parametrize("text", ["counts", "Jy", "Jy/beam/Hz", "Jy/beam km/s", "B", "M", "Jy/", "W/m2"])
def test_units_that_are_no_brightness_are_refused(text):
    with pytest.raises(ConfigError, match=r"is not known; convert the map or give maps\.unit"):
        to_jy_beam(text, BEAM, PIXEL, 1.4e9)


def test_a_unit_setting_fills_in_and_contradicts_nothing(tmp_path):
    hdu = fits.PrimaryHDU(NOISE, header_of(BUNIT="K"))
    refuse(
        write(tmp_path / "k.fits", hdu),
        r"maps\.unit is Jy/beam and its own unit \(BUNIT\) is K",
        unit="Jy/beam",
    )
    assert open_map(tmp_path / "k.fits", unit="Kelvin").to_jy_beam == pytest.approx(KELVIN)
    hdu = fits.PrimaryHDU(NOISE, header_of(BUNIT="MJY/BEAM"))
    refuse(write(tmp_path / "mjy.fits", hdu), "its own unit", unit="Jy/beam")
    hdu = fits.PrimaryHDU(NOISE, header_of(BUNIT="UNCALIB"))
    assert open_map(write(tmp_path / "u.fits", hdu), unit="mJy/beam").to_jy_beam == 1e-3
    raw = [("BUNIT   = 'XY      '", "BUNIT   = Jy/beam")]
    path = write(
        tmp_path / "bare.fits", fits.PrimaryHDU(NOISE, header_of(BTYPE="I", BUNIT=("XY", ""))), raw=raw
    )
    assert open_map(path).to_jy_beam == 1


# Which image


def preview():
    return fits.PrimaryHDU(np.zeros((64, 64), np.uint8))


def test_the_one_image_with_a_sky_is_taken(tmp_path):
    path = write(tmp_path / "m.fits", preview(), fits.ImageHDU(NOISE, header_of(), name="SCI"))
    np.testing.assert_array_equal(open_map(path).read(WHOLE), NOISE)
    weight = header_of(BUNIT="")
    path = write(
        tmp_path / "w.fits",
        fits.PrimaryHDU(),
        fits.ImageHDU(NOISE + 1, weight, name="WEIGHT"),
        fits.CompImageHDU(NOISE, header_of(), name="IMAGE", quantize_level=0, compression_type="GZIP_1"),
    )
    np.testing.assert_array_equal(open_map(path).read(WHOLE), NOISE)
    np.testing.assert_array_equal(open_map(path, hdu="weight", unit="Jy/beam").read(WHOLE), NOISE + 1)


def test_several_maps_in_a_file_are_listed_and_chosen(tmp_path):
    path = write(
        tmp_path / "m.fits",
        fits.PrimaryHDU(NOISE, header_of()),
        fits.ImageHDU(NOISE + 1, header_of(), name="RMS"),
    )
    refuse(path, r"several maps: HDU 0 40 x 48 Jy/beam; HDU 1 RMS 40 x 48 Jy/beam; .*maps\.hdu")
    np.testing.assert_array_equal(open_map(path, hdu=0).read(WHOLE), NOISE)
    np.testing.assert_array_equal(open_map(path, hdu="rms").read(WHOLE), NOISE + 1)
    refuse(path, r"maps\.hdu: SCI is none of its images \(HDU 0", hdu="SCI")
    refuse(path, r"maps\.hdu: 7", hdu=7)


def test_an_extension_inherits_what_it_lacks(tmp_path):
    lacking = (*BARE, "BUNIT", *NO_FREQUENCY)
    first = fits.PrimaryHDU()
    first.header.update({key: header_of()[key] for key in lacking})
    whole = open_map(write(tmp_path / "whole.fits", fits.PrimaryHDU(NOISE, header_of())))
    for inherit in ({"INHERIT": True}, {}):
        image = fits.ImageHDU(NOISE, header_of(lacking, **inherit))
        found = open_map(write(tmp_path / "m.fits", first, image))
        assert (found.beam, found.to_jy_beam, found.frequency_hz) == (whole.beam, 1, 1.4e9)
    image = fits.ImageHDU(NOISE, header_of(lacking, INHERIT=False))
    refuse(write(tmp_path / "not.fits", first, image), "no beam")
    history = fits.PrimaryHDU()
    history.header.add_history(HISTORIES["MIRIAD"][0])
    path = write(tmp_path / "h.fits", history, fits.ImageHDU(NOISE, header_of(BARE)))
    assert open_map(path).beam == Beam(6, 5, 6.485)


FREQ = {"CTYPE3": "FREQ", "CRVAL3": 1.28e9, "CDELT3": 1e7, "CRPIX3": 1.0, "CUNIT3": "Hz"}
STOKES = {"CTYPE4": "STOKES", "CRVAL4": 1.0, "CDELT4": 1.0, "CRPIX4": 1.0}


@pytest.mark.parametrize("kind", [fits.PrimaryHDU, fits.CompImageHDU])
def test_a_plane_of_a_cube_is_chosen(tmp_path, kind):
    cube = np.stack([NOISE * (i + 1) for i in range(4)]).reshape(2, 2, *SHAPE)
    options = {"quantize_level": 0, "compression_type": "GZIP_1"} if kind is fits.CompImageHDU else {}
    hdu = kind(cube, header_of(**FREQ, **STOKES), **options)
    path = write(tmp_path / "m.fits", *([hdu] if kind is fits.PrimaryHDU else [fits.PrimaryHDU(), hdu]))
    refuse(path, r"FREQ \(2, 1\.28e\+09 to 1\.29e\+09 Hz\) and STOKES \(2: I, Q\).*maps\.plane: \[0, 0\]")
    found = open_map(path, plane=(1, 0))
    assert found.frequency_hz == 1.29e9
    np.testing.assert_array_equal(found.read(Window(3, 9, 5, 20)), cube[0, 1, 3:9, 5:20])
    refuse(path, r"Stokes Q, not I.*maps\.stokes: Q", plane=(0, 1))
    np.testing.assert_array_equal(open_map(path, plane=(0, 1), stokes="Q").read(WHOLE), cube[1, 0])
    refuse(path, r"maps\.plane: 2 is none of its planes along FREQ", plane=(2, 0))
    refuse(path, "maps.plane has 1 numbers", plane=1)
    flat = write(tmp_path / "flat.fits", fits.PrimaryHDU(NOISE, header_of()))
    refuse(flat, r"it has one plane.*leave maps\.plane out", plane=1)
    assert open_map(flat, plane=0).shape == SHAPE


def test_a_stokes_parameter_other_than_i_is_said(tmp_path):
    header = header_of(**FREQ, **{**STOKES, "CRVAL4": 4.0})
    path = write(tmp_path / "v.fits", fits.PrimaryHDU(NOISE[None, None], header))
    refuse(path, r"Stokes V, not I; .*maps\.stokes: V")
    assert open_map(path, stokes="V").shape == SHAPE
    # The SKA's data models write the parameter into CRPIX.
    header = header_of(CTYPE3="STOKES", CRVAL3=1.0, CRPIX3=-1.0, CDELT3=1.0)
    refuse(write(tmp_path / "u.fits", fits.PrimaryHDU(NOISE[None], header)), "Stokes U")
    header = header_of(CTYPE3="STOKES", CRVAL3=-5.0, CRPIX3=1.0, CDELT3=-1.0)
    refuse(write(tmp_path / "xx.fits", fits.PrimaryHDU(NOISE[None], header)), "Stokes XX")


@pytest.mark.parametrize(
    "cards",
    [
        {**FREQ, **STOKES, "CDELT4": 0.0},
        {**FREQ, "CDELT3": 0.0, **STOKES},
        {"CTYPE3": "FREQ", "CUNIT3": "parsec", "CRVAL3": 1.4e9, **STOKES},
        {**FREQ, "RESTFRQ": -1.0, "SPECSYS": "NOWHERE"},
        {**FREQ, "CTYPE4": "LINEAR-X", "CUNIT4": "????"},
    ],
)
def test_only_the_celestial_axes_must_be_right(tmp_path, cards):
    path = write(tmp_path / "m.fits", fits.PrimaryHDU(NOISE[None, None], header_of(**cards)))
    ra, dec = open_map(path).sky_of(19.5, 23.5)
    assert (ra, dec) == pytest.approx((180, -30))


def test_axes_that_are_declared_without_pixels_are_read(tmp_path):
    # Montage keeps the cards of axes that it has dropped.
    path = write(tmp_path / "m.fits", fits.PrimaryHDU(NOISE, header_of(NO_FREQUENCY, **FREQ, **STOKES)))
    assert open_map(path).frequency_hz == 1.28e9


# Pixels without data


def test_blank_of_a_float_image_means_no_data(tmp_path):
    image = NOISE.copy()
    image[:6] = -9.223372e18
    path = write(tmp_path / "m.fits", fits.PrimaryHDU(image, header_of()))
    with pytest.raises(ConfigError, match=r"m\.fits: it holds -9\.22337e\+18 Jy/beam.*maps\.blank") as caught:
        open_map(path).read(WHOLE)
    named = float(str(caught.value).partition("maps.blank: ")[2].partition(",")[0])
    expected = np.where(image < -1, np.nan, image)
    np.testing.assert_array_equal(open_map(path, blank=named).read(WHOLE), expected)
    # Written over another card, since astropy refuses to write the card itself.
    raw = [("SPECSYS = 'TOPOCENT'", "BLANK   =        -9.223372E+18")]
    path = write(tmp_path / "b.fits", fits.PrimaryHDU(image, header_of()), raw=raw)
    np.testing.assert_array_equal(open_map(path).read(WHOLE), expected)
    image[:6] = -999
    path = write(tmp_path / "c.fits", fits.PrimaryHDU(image, header_of(BUNIT="mJy/beam")))
    assert np.isnan(open_map(path, blank=-999.0).read(WHOLE)).sum() == 6 * SHAPE[1]


@pytest.mark.parametrize("unit", ["Jy/beam", "K"])
def test_a_border_of_zeros_holds_no_data(tmp_path, unit):
    image = NOISE.copy()
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    outside = np.hypot(y - 20, x - 24) > 18
    image[outside] = 0
    image[20, 20:25] = 0
    path = write(tmp_path / "m.fits", fits.PrimaryHDU(image, header_of(BUNIT=unit)))
    sky_map = open_map(path)
    read = sky_map.read(WHOLE)
    np.testing.assert_array_equal(np.isnan(read), outside)
    for height in (1, 7, 16):
        rows = [sky_map.read(Window(y0, min(y0 + height, 40), 0, 48)) for y0 in range(0, 40, height)]
        np.testing.assert_array_equal(np.concatenate(rows), read)
    np.testing.assert_array_equal(sky_map.read(Window(18, 23, 21, 30)), read[18:23, 21:30])


# Names and lists


def test_a_file_of_exactly_that_name_wins_over_a_pattern(tmp_path):
    hdu = fits.PrimaryHDU(NOISE, header_of())
    odd = tmp_path / "field[1]"
    odd.mkdir()
    (tmp_path / "mosaic1+2.fits").touch()
    names = [
        write(tmp_path / "mosaic[1]+2.fits", hdu),
        write(odd / "a.fits", hdu),
        write(odd / "b.fits", hdu),
    ]

    def sources(*files):
        return map_sources(make_run(tmp_path, maps=MapsConfig(files=files)))

    assert sources(str(names[0])) == names[:1]
    assert sources(f"{odd}/*.fits") == names[1:]
    assert sources(f"{tmp_path}/mosaic[0-9]+2.fits") == [tmp_path / "mosaic1+2.fits"]


def test_maps_of_one_name_take_their_folders_name(tmp_path):
    hdu = fits.PrimaryHDU(NOISE, header_of())
    for part in ("a/P10", "a/P11", "b/P10", "c"):
        (tmp_path / part).mkdir(parents=True)
        write(tmp_path / part / ("mosaic.fits" if part != "c" else "other.fits"), hdu)
    run = make_run(tmp_path, maps=MapsConfig(files=(f"{tmp_path}/a/*/mosaic.fits", f"{tmp_path}/c/*.fits")))
    assert [one.name for one in open_maps(run)] == ["P10-mosaic", "P11-mosaic", "other"]
    run = make_run(tmp_path, maps=MapsConfig(files=(f"{tmp_path}/*/*/mosaic.fits",)))
    assert [one.name for one in open_maps(run)] == ["a-P10-mosaic", "P11-mosaic", "b-P10-mosaic"]


def test_one_text_stands_for_a_list(tmp_path):
    assert MapsConfig.model_validate({"files": "m.fits"}).files == ("m.fits",)
    more = [{"survey": "B", "files": "b.fits"}]
    assert MapsConfig.model_validate({"files": "m.fits", "more": more}).more[0].files == ("b.fits",)


def test_a_packed_file_is_unpacked_once(tmp_path, monkeypatch):
    plain = write(tmp_path / "plain.fits", fits.PrimaryHDU(NOISE, header_of()))
    packed = tmp_path / "m.fits.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    root = tmp_path / "run"
    (sky_map,) = open_maps(make_run(root, maps=MapsConfig(files=(str(packed),))))
    assert not (root / UNPACKED).exists()
    np.testing.assert_array_equal(sky_map.read(WHOLE), NOISE)
    (copy,) = (root / UNPACKED).glob("*.fits")
    assert copy.read_bytes() == plain.read_bytes()
    before = copy.stat().st_mtime_ns
    np.testing.assert_array_equal(sky_map.read(Window(30, 40, 0, 48)), NOISE[30:])
    assert copy.stat().st_mtime_ns == before
    # Without a run's folder the file is read as it is.
    np.testing.assert_array_equal(replace(sky_map, unpacked=None).read(WHOLE), NOISE)
