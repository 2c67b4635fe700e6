"""Headers of halved pixels: coordinates beside the plain ones, and what names pixels without any."""

import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from astro_dist.engine.errors import ConfigError
from astro_dist.sky.doubled import double_header
from tests.enhance.fits_images import header

PLATE = {
    **{
        "CNPIX1": 6900,
        "CNPIX2": 7000,
        "XPIXELSZ": 25.28,
        "YPIXELSZ": 25.28,
        "PPO3": 177500.0,
        "PPO6": 177500.0,
    },
    **{
        "PLTRAH": 10,
        "PLTRAM": 0,
        "PLTRAS": 0.0,
        "PLTDECSN": "+",
        "PLTDECD": 30,
        "PLTDECM": 0,
        "PLTDECS": 0.0,
    },
    **{f"AMD{axis}{i}": 67.2 if i == 1 else 0.0 for axis in "XY" for i in range(1, 14)},
}


def second(letter="A", **cards):
    """Return a header with a second system of coordinates, of the numbers of the first."""
    found = header()
    for key in ("CTYPE", "CRVAL", "CDELT", "CRPIX"):
        for i in (1, 2):
            found[f"{key}{i}{letter}"] = found[f"{key}{i}"]
    found.update(cards)
    return found


@pytest.mark.parametrize(
    ("cards", "letter"),
    [
        (header(**PLATE), " "),
        (header(CRPIX1E=5.0, CRPIX2E=5.0, CRVAL1E=1.0, CRVAL2E=1.0), "E"),
        (second(), "A"),
        (
            second(
                CTYPE1A="RA---TPV",
                CTYPE2A="DEC--TPV",
                PV1_1A=1.0,
                PV1_5A=0.2,
                PV2_1A=1.0,
                PV2_4A=0.3,
                CROTA2=0.0,
            ),
            "A",
        ),
        (header(CTYPE1="RA---TPV", CTYPE2="DEC--TPV", PV1_1=1.0, PV1_5=2e-4, PV2_1=1.0, CROTA2=0.0), " "),
        (header(CRPIX1="30.25", CDELT1="-5.0E-4"), " "),
    ],
    ids=["plate", "linear", "second", "second bent", "bent", "quoted"],
)
@pytest.mark.filterwarnings("ignore::astropy.wcs.FITSFixedWarning")
def test_positions_stay_in_every_system(cards, letter):
    x, y = np.random.default_rng(0).uniform(-10, 90, (2, 100))
    doubled = double_header(cards)
    for key in ("CRPIX1", "CDELT1"):
        cards[key] = float(cards[key])
    before, after = WCS(cards, key=letter), WCS(doubled, key=letter)
    there = np.array(before.all_pix2world(x, y, 0))
    step = np.abs(np.array(before.all_pix2world(x + 1, y + 1, 0)) - there).min()
    assert np.abs(np.array(after.all_pix2world(2 * x + 0.5, 2 * y + 0.5, 0)) - there).max() < 1e-6 * step
    if cards["CTYPE1"].endswith("TPV"):
        # FITS has no angle beside a matrix.
        assert "CROTA2" not in doubled


def test_what_names_pixels_without_coordinates_follows():
    found = double_header(header(LTV1=-100.0, DATASEC="[1:80,5:64]", CCDSEC="[101:180,1:64]", PIXSCALE=1.8))
    # Physical pixel p = (x - LTV) / LTM: that of the first pixel's middle, x = 1, is that of x' = 1.5.
    assert [(1.5 - found[f"LTV{i}"]) / found[f"LTM{i}_{i}"] for i in (1, 2)] == [101.0, 1.0]
    assert (found["DATASEC"], found["CCDSEC"], found["PIXSCALE"]) == ("[1:160,9:128]", "[101:180,1:64]", 0.9)
    # Words in the place of a size keep no image from being doubled.
    assert double_header(header(PIXSCALE="1.8 arcsec"))["PIXSCALE"] == "1.8 arcsec"
    found = double_header(header(LTM1_1=0.5))
    assert [(1.5 - found[f"LTV{i}"]) / found[f"LTM{i}_{i}"] for i in (1, 2)] == [2.0, 1.0]


def test_history_is_broken_between_words():
    words = (
        "each 2 x 2 block of pixels has the pixel of the input as its mean and nothing is sharper than it was"
    )
    lines = list(double_header(header(), [words])["HISTORY"])
    assert len(lines) == 2
    assert " ".join(lines) == words


def test_cards_that_say_two_things_are_refused():
    same, other = header(), header()
    same.append(("CRPIX1", same["CRPIX1"]))
    assert list(double_header(same)).count("CRPIX1") == 1
    assert double_header(same)["CRPIX1"] == 2 * (same["CRPIX1"] - 0.5) + 0.5
    other.append(("CRPIX1", 44.0))
    with pytest.raises(ConfigError, match="CRPIX1 twice and not alike; take one out"):
        double_header(other)
    with pytest.raises(ConfigError, match="its CDELT1 is 'wide', which is no number"):
        double_header(header(CDELT1="wide"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert isinstance(double_header(header(axes=3, CTYPE3="FREQ-LOG")), fits.Header)
    with pytest.raises(ConfigError, match=r"distortion \(CTYPE3\) that cannot be scaled"):
        double_header(header(axes=3, CTYPE3="FREQ-TAB"))
