"""Tile-compressed images: the pixels that were given, in other people's programs too, and the same bytes."""

import numpy as np
import pytest
from astropy.io import fits

from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.fits_file import plane_wcs, radio_header, verify_fits
from astro_dist.sky.fits_packed import write_packed
from astro_dist.sky.labels import Plane
from astro_dist.sky.windows import Window

SHAPE = (37, 53)


def image_of(dtype):
    rng = np.random.default_rng(1)
    image = (rng.integers(0, 200, SHAPE) * (rng.random(SHAPE) > 0.9)).astype(dtype)
    if dtype == "f4":
        image[3, 4] = np.nan
    if dtype == "i4":
        image[5, 6] = 2**31 - 1
    return image


def write(path, image):
    header = radio_header(
        SHAPE, plane_wcs(SHAPE, Pixel(2, 2), 10, -30), Beam(6, 6), 1.4e9, unit="", dtype=image.dtype
    )
    write_packed(path, header, SHAPE, image.dtype.str[1:], [image[:10], image[10:11], image[11:]])
    return path


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4"])
def test_the_pixels_come_back(tmp_path, dtype):
    image = image_of(dtype)
    path = write(tmp_path / "image.fits", image)
    with fits.open(path, checksum=True) as hdus:
        hdus.verify("exception")
        assert np.array_equal(hdus[1].data, image, equal_nan=dtype == "f4")
        assert hdus[1].data.dtype.newbyteorder("=") == image.dtype
        assert hdus[1].header["CTYPE1"] == "RA---SIN"
    assert verify_fits(path) == ([], [])
    window = Window(5, 20, 7, 30)
    assert np.array_equal(Plane.open(path, 1).read_labels(window), np.nan_to_num(image[window.slices]))


def test_made_again_it_has_the_same_bytes(tmp_path):
    image = image_of("i4")
    assert write(tmp_path / "a.fits", image).read_bytes() == write(tmp_path / "b.fits", image).read_bytes()


def test_a_changed_byte_is_found(tmp_path):
    path = write(tmp_path / "image.fits", image_of("i4"))
    content = bytearray(path.read_bytes())
    content[-3000] ^= 1
    path.write_bytes(content)
    faults, _ = verify_fits(path)
    assert len(faults) == 1


@pytest.mark.parametrize(
    "rows", [[np.zeros((36, 53), "u1")], [np.zeros((38, 53), "u1")], [np.zeros((37, 5), "u1")]]
)
def test_other_rows_are_a_fault(tmp_path, rows):
    header = radio_header(SHAPE, plane_wcs(SHAPE, Pixel(2, 2), 10, -30), unit="", dtype="u1")
    with pytest.raises(ValueError, match="rows"):
        write_packed(tmp_path / "image.fits", header, SHAPE, "u1", rows)
    assert list(tmp_path.iterdir()) == []
