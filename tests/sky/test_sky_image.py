"""FITS images of any kind as they are opened: what an extension inherits, planes, units, beams, digits."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from astro_dist.engine.errors import ConfigError
from astro_dist.sky.config import FilesConfig
from astro_dist.sky.sky_image import SkyImage
from astro_dist.sky.windows import Window
from tests.enhance.fits_images import header, sky, write


def read(image):
    return image.read(Window.of_shape(image.shape))


@pytest.mark.parametrize(
    "cards",
    [{"CD1_1": 1e-3, "CD2_2": 1e-3}, {"LONPOLE": 90.0}, {"CROTA2": 30.0}, {"LTV1": -3.0}, {"PC1_2": 0.5}],
)
def test_coordinates_of_an_empty_first_header_are_not_those_of_the_extension(tmp_path, cards):
    first = fits.PrimaryHDU(header=fits.Header({"TELESCOP": "none", "EQUINOX": 1950.0, **cards}))
    first.header["COMMENT"] = "of all images"
    own = fits.ImageHDU(sky(), header(), name="SCI")
    fits.HDUList([first, own]).writeto(tmp_path / "a.fits")
    image = SkyImage.open(tmp_path / "a.fits")
    np.testing.assert_allclose(
        image.wcs.wcs_pix2world(3, 5, 0), WCS(own.header).wcs_pix2world(3, 5, 0), rtol=1e-12
    )
    assert image.header["TELESCOP"] == "none"
    assert not set(cards) & set(image.header) - set(own.header)
    assert "of all images" in str(image.header["COMMENT"])
    assert "The image of HDU 1 SCI" in str(image.header["HISTORY"])


def test_a_plane_a_unit_and_a_value_without_data_are_those_of_the_settings(tmp_path):
    cube = np.stack([sky(seed=i) for i in range(5)])
    cube[2, 3, 4] = -999
    cards = {"CTYPE3": "FREQ", "CRVAL3": 1e9, "CDELT3": 1e8, "CRPIX3": 1.0}
    path = write(tmp_path / "a.fits", cube, unit="", beam=False, **cards)
    with pytest.raises(ConfigError, match="a cube of 5 planes"):
        SkyImage.open(path)
    said = FilesConfig(plane=2, unit="Jy/pixel", blank=-999.0, beam_major_arcsec=5.4)
    image = SkyImage.open(path, said)
    assert (image.planes, image.axes, image.kept) == (1, (1, 64, 80), "sum")
    assert (image.header["BUNIT"], image.header["BMAJ"]) == ("Jy/pixel", 5.4 / 3600)
    assert image.fwhm_pix == pytest.approx(3, rel=1e-4)
    expected = np.where(cube[2] == -999, np.nan, cube[2])
    np.testing.assert_array_equal(read(image)[0], expected)
    # Its axis begins at the plane.
    assert image.header["CRVAL3"] + (1 - image.header["CRPIX3"]) * image.header["CDELT3"] == 1.2e9


def test_beams_come_from_tables_and_history(tmp_path):
    table = Table({"BMAJ": [5.4], "BMIN": [5.4], "BPA": [0.0], "CHAN": [0], "POL": [0]})
    image = fits.PrimaryHDU(sky(), header(beam=False, CASAMBM=True))
    rows = fits.BinTableHDU(table, name="BEAMS")
    for key in ("BMAJ", "BMIN"):
        rows.columns[key].unit = "arcsec"
    fits.HDUList([image, rows]).writeto(tmp_path / "table.fits")
    found = SkyImage.open(tmp_path / "table.fits")
    assert "CASAMBM" not in found.header
    assert (found.header["BMAJ"], found.fwhm_pix) == (5.4 / 3600, pytest.approx(3, rel=1e-4))
    # Of three planes with beams of their own none is that of the image.
    several = Table(
        {"BMAJ": [5.4, 6, 7], "BMIN": [5.4, 6, 7], "BPA": [0.0] * 3, "CHAN": [0, 1, 2], "POL": [0] * 3}
    )
    cards = header(beam=False, CASAMBM=True, CTYPE3="FREQ", CRVAL3=1e9, CDELT3=1e8, CRPIX3=1.0)
    hdus = [fits.PrimaryHDU(np.stack([sky()] * 3), cards), fits.BinTableHDU(several, name="BEAMS")]
    for key in ("BMAJ", "BMIN"):
        hdus[1].columns[key].unit = "arcsec"
    fits.HDUList(hdus).writeto(tmp_path / "three.fits")
    three = SkyImage.open(tmp_path / "three.fits")
    assert three.fwhm_pix is None
    assert not {"BMAJ", "CASAMBM"} & set(three.header)
    one = SkyImage.open(tmp_path / "three.fits", FilesConfig(plane=1))
    assert one.header["BMAJ"] == pytest.approx(6 / 3600, rel=1e-12)
    line = "AIPS   CLEAN BMAJ=  1.5000E-03 BMIN=  1.5000E-03 BPA=   0.00"
    write(tmp_path / "told.fits", beam=False, HISTORY=line)
    assert SkyImage.open(tmp_path / "told.fits").fwhm_pix == pytest.approx(3, rel=1e-4)
    # Words that are not understood keep no image from being doubled.
    with fits.open(tmp_path / "told.fits", mode="update") as hdus:
        hdus[0].header.add_history("convolved with a beam of some other width")
    assert SkyImage.open(tmp_path / "told.fits").fwhm_pix is None


def test_exponents_may_be_written_with_d(tmp_path):
    path = write(tmp_path / "a.fits")
    plain = SkyImage.open(path)
    data = path.read_bytes()
    for key, text in (("CDELT1", "-5.00D-04"), ("CDELT2", "5.00D-04"), ("CRVAL1", "1.50D+02")):
        at = data.index(f"{key:<8}= ".encode())
        data = data[: at + 10] + text.rjust(20).encode() + data[at + 30 :]
    path.write_bytes(data)
    found = SkyImage.open(path)
    assert found.fwhm_pix == plain.fwhm_pix
    assert "D+02" not in found.cards
    assert found.wcs.wcs_pix2world(3, 5, 0)[0] == plain.wcs.wcs_pix2world(3, 5, 0)[0]


@pytest.mark.parametrize("dtype", ["i4", "i8"])
def test_large_integers_keep_their_digits_beside_blank(tmp_path, dtype):
    numbers = np.arange(64 * 80, dtype=dtype).reshape(64, 80) + 10**9 + 1
    numbers[2, 3] = -1
    hdu = fits.PrimaryHDU(numbers, header())
    hdu.header["BLANK"] = -1
    hdu.writeto(tmp_path / "a.fits")
    found = read(SkyImage.open(tmp_path / "a.fits"))[0]
    assert np.isnan(found[2, 3])
    found[2, 3] = -1
    np.testing.assert_array_equal(found, numbers)


def test_the_sky_must_be_first(tmp_path):
    axes = {"CTYPE1": "STOKES", "CTYPE2": "RA---TAN", "CTYPE3": "DEC--TAN", "CRVAL3": 2.0, "CDELT3": 5e-4}
    write(tmp_path / "a.fits", sky()[None].transpose(1, 2, 0).repeat(4, 2), **axes)
    with pytest.raises(ConfigError, match="its first two axes are STOKES and RA---TAN, not those of the sky"):
        SkyImage.open(tmp_path / "a.fits")


@pytest.mark.parametrize(
    ("kept", "units"),
    [
        (
            "sum",
            "Jy mJy kJy microJansky MILLIJY Jy/pixel maggies nanomaggies nmgy cps CPS counts COUNT adu DN/s",
        ),
        ("sum", "e/s E/S e- ELECTRONS photons erg/s/cm2/A W/m2 mW Lsun SFU count*s^-1 10**-17erg/s/cm2/Ang"),
        (
            "mean",
            "Jy/beam JY/BEAM K mK MJy/sr mJy/arcsec^2 mag mag/arcsec2 mag/pix counts/beam cts/s/arcmin2",
        ),
        ("mean", "km/s cm-2 rad/m2 percent Lsun/pc2 phase weight wavelength T G W/m2/sr unknown"),
    ],
)
def test_what_a_unit_makes_of_smaller_pixels(tmp_path, kept, units):
    for unit in units.split():
        path = tmp_path / "a.fits"
        path.unlink(missing_ok=True)
        assert SkyImage.open(write(path, unit=unit)).kept == kept, unit


def test_a_micro_sign_and_cards_that_nobody_reads_are_no_hindrance(tmp_path):
    path = write(tmp_path / "a.fits", unit="uJy/pix", BAZ=1.0)
    data = path.read_bytes().replace(b"'uJy/pix", b"'\xb5Jy/pix")
    at = data.index(b"BAZ     = ")
    path.write_bytes(data[: at + 10] + b"NAN + x".rjust(20) + data[at + 30 :])
    image = SkyImage.open(path)
    assert (image.kept, image.unit) == ("sum", "uJy/pix")
