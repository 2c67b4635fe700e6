"""Headers that leave something open: what is assumed is said, and what cannot be assumed is refused."""

import numpy as np
import pytest
from astropy.io import fits

from astro_dist.sky.annotate import AnnotateConfig
from astro_dist.sky.beams import Beam
from astro_dist.sky.config import MapsConfig, SurveyConfig
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.stages import ANNOTATE
from astro_dist.sky.units import parse_unit
from tests.settings import make_run
from tests.sky.test_header_kinds import (
    BARE,
    NOISE,
    SHAPE,
    WHOLE,
    beams_table,
    header_of,
    open_map,
    refuse,
    write,
)


def save(path, *drop, **cards):
    return write(path, fits.PrimaryHDU(NOISE, header_of(drop, **cards)))


def notes_of_plan(tmp_path, *paths):
    files = tuple(str(path) for path in paths)
    run = make_run(tmp_path / "run", maps=MapsConfig(files=files), annotate=AnnotateConfig())
    return ANNOTATE.estimate(run).notes


def test_a_beam_without_an_angle_is_said_once_in_the_plan(tmp_path):
    paths = [save(tmp_path / f"{name}.fits", "BPA") for name in "ab"]
    assert open_map(paths[0]).beam.pa_deg == 0
    (note,) = notes_of_plan(tmp_path, *paths)
    assert note.startswith("a and 1 more: its beam of 6 x 5 arcsec has no angle (BPA): 0 is taken; ")
    assert "maps.beam_pa_deg" in note
    assert open_map(paths[0], beam_pa_deg=30.0).notes == ()
    assert open_map(save(tmp_path / "round.fits", "BPA", BMIN=6 / 3600)).notes == ()
    assert open_map(save(tmp_path / "one.fits", "BPA", "BMIN")).notes == ()
    assert notes_of_plan(tmp_path, save(tmp_path / "whole.fits")) == ()


@pytest.mark.parametrize("where", ["table", "AIPS"])
def test_other_beams_without_an_angle_are_said_too(tmp_path, where):
    image, table = fits.PrimaryHDU(NOISE, header_of(BARE)), beams_table((6.0, 5.0, 30.0, 0, 0))
    if where == "AIPS":
        image.header.add_history("AIPS   CLEAN BMAJ=  1.6667E-03 BMIN=  1.3889E-03")
        path = write(tmp_path / "m.fits", image)
    else:
        table.columns.del_col("BPA")
        path = write(tmp_path / "m.fits", image, fits.BinTableHDU.from_columns(table.columns, name="BEAMS"))
    found = open_map(path)
    assert (found.beam.minor_arcsec, found.beam.pa_deg) == (pytest.approx(5, rel=1e-4), 0)
    assert "no angle" in found.notes[0]


def test_widths_in_the_wrong_order_are_exchanged_and_said(tmp_path):
    exchanged = {"BMAJ": 5 / 3600, "BMIN": 6 / 3600, "BPA": -60.0}
    path = save(tmp_path / "m.fits", **exchanged)
    beam = open_map(path).beam
    assert (beam.major_arcsec, beam.minor_arcsec, beam.pa_deg) == pytest.approx((6, 5, 30))
    (note,) = notes_of_plan(tmp_path, path)
    assert "BMAJ of 5 arcsec is below BMIN of 6: they are exchanged, and 90 degrees are added to BPA" in note
    # The settings say what is meant, and nothing is left to say.
    settings = {"beam_major_arcsec": 6.0, "beam_minor_arcsec": 5.0}
    assert open_map(path, **settings, beam_pa_deg=30.0).notes == ()
    both = open_map(save(tmp_path / "both.fits", "BPA", BMAJ=5 / 3600, BMIN=6 / 3600))
    assert len(both.notes) == 2
    history = fits.PrimaryHDU(NOISE, header_of(BARE))
    history.header.add_history("RESTOR: Beam =  5.000E+00 x  6.000E+00 arcsec, pa =  1.000E+01 degrees")
    assert open_map(write(tmp_path / "h.fits", history)).beam == Beam(6, 5, 100)


@pytest.mark.parametrize(
    "types", [("RA", "DEC"), ("ra ", "dec"), ("GLON", "GLAT"), ("RA------", "DEC-----"), ("RA---SIN", "DEC")]
)
def test_axes_without_a_projection_are_refused(tmp_path, types):
    path = save(tmp_path / "m.fits", CTYPE1=types[0], CTYPE2=types[1])
    refuse(path, r"no projection|are not those of a map of the sky")
    if "-" not in types[0]:
        refuse(path, r"have no projection; write it into both cards, for example 'RA---SIN'.*CAR")
    for card, value in (("CTYPE1", "RA---CAR"), ("CTYPE2", "DEC--CAR")):
        fits.setval(path, card, value=value)
    assert open_map(path).shape == SHAPE


@pytest.mark.parametrize(
    ("cards", "name"),
    [
        ({"STOKES": "V"}, "V"),
        ({"STOKES": 4}, "V"),
        ({"POL": "Stokes Q"}, "Q"),
        ({"BTYPE": "Stokes U"}, "U"),
        ({"BTYPE": "STOKES_V"}, "V"),
        *(({"STOKES": "'V'"}, "V"), ({"POLTYPE": "V"}, "V"), ({"POL": "RCP"}, "RR"), ({"POL": "lcp"}, "LL")),
        ({"CTYPE3": "POLARIZATION", "CRVAL3": 4.0, "CRPIX3": 1.0, "CDELT3": 1.0}, "V"),
        *(({"STOKES": "P"}, "p"), ({"STOKES": "PI"}, "pi"), ({"STOKES": "Pangle"}, "pangle")),
        ({"BTYPE": "fractional_polarization"}, "fractional_polarization"),
        ({"POL": "XX"}, "XX"),
        ({"BTYPE": "Linear polarized intensity"}, "linear polarized intensity"),
        ({"BTYPE": "polarized_intensity"}, "polarized_intensity"),
    ],
)
def test_a_stokes_parameter_in_a_card_is_said(tmp_path, cards, name):
    path = save(tmp_path / "m.fits", **cards)
    wanted = name if name.isupper() else "any"
    refuse(path, rf"Stokes {name}, not I; .*maps\.stokes: {wanted}")
    assert open_map(path, stokes=wanted).shape == SHAPE
    assert SkyMap.open(path, SurveyConfig(background_only=True)).shape == SHAPE


def test_cards_that_say_i_or_several_or_nothing_are_no_other_parameter(tmp_path):
    for i, cards in enumerate(
        (
            {"STOKES": "I"},
            {"STOKES": 1, "BTYPE": "Intensity"},
            {"POL": "IQUV"},
            {"STOKES": "I,Q,U,V"},
            {"BTYPE": "Brightness"},
            # The axis is what the pixels are; the card may be that of the cube they are from.
            {"CTYPE3": "STOKES", "CRVAL3": 1.0, "CRPIX3": 1.0, "CDELT3": 1.0, "STOKES": "V"},
        )
    ):
        assert open_map(save(tmp_path / f"{i}.fits", **cards)).notes == ()
    assert open_map(save(tmp_path / "v.fits", STOKES="V"), stokes="V").shape == SHAPE
    refuse(save(tmp_path / "i.fits", STOKES="I"), "Stokes I, not V", stokes="V")


@pytest.mark.parametrize(
    ("factor", "spellings"),
    [
        (1e-6, r"$\mu$Jy/beam;$\mu$Jy beam$^{-1}$;$\mathrm{\mu Jy/beam}$;$\upmu$Jy/beam;micro-Jy/beam"),
        (
            1e-6,
            "\u00b5Jy beam\u207b\u00b9;\u03bcJy\u00b7beam\u207b\u00b9;ujy/beam;10**-6 Jy/beam;1e-6 Jy/beam",
        ),
        (1e-3, r"\mathrm{mJy\,beam^{-1}};${\rm mJy}~{\rm beam}^{-1}$;mJy" + "\xa0beam\u22121;mjy/beam"),
        (1e-3, "10^-3 Jy/beam;0.001*Jy/beam;10**(-3) Jy/beam"),
        (
            1,
            r"Jy\,beam$^{-1}$;jy/beam;Jy/synthesized beam;Jy beam\u207b\u00b9".replace(r"\u207b\u00b9", "-1"),
        ),
    ],
)
def test_units_as_latex_and_unicode_write_them(factor, spellings):
    for text in spellings.split(";"):
        found = parse_unit(text)
        assert found is not None, text
        assert (found[0], str(found[1])) == (pytest.approx(factor), "Jy / beam"), text


@pytest.mark.parametrize("text", ["mjy/sr", "0 Jy/beam", "1e999 Jy/beam", "3 4 Jy/beam", "12"])
def test_units_that_may_mean_two_things_or_nothing_are_not_known(text):
    assert parse_unit(text) is None


@pytest.mark.parametrize("micro", ["\u00b5".encode(), "\u03bc".encode(), "\u00b5".encode("latin-1") + b" "])
def test_a_micro_sign_that_fits_does_not_allow_is_read(tmp_path, micro):
    path = save(tmp_path / "m.fits", BUNIT="??Jy/beam")
    content = path.read_bytes()
    assert content.count(b"'??Jy/beam'") == 1
    path.write_bytes(content.replace(b"??Jy/beam", micro + b"Jy/beam"))
    found = open_map(path)
    assert found.to_jy_beam == 1e-6
    assert np.isfinite(found.read(WHOLE)).all()
    refuse(path, r"its own unit \(BUNIT\) is u *Jy/beam", unit="Jy/beam")
