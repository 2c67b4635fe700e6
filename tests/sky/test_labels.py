"""Label images: the pixels, the objects and the windows round them."""

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.seeds import stream
from astro_dist.sky import labels
from astro_dist.sky.labels import Labels, Plane
from astro_dist.sky.windows import Window

WHOLE = Window(0, 40, 0, 30)


def read(folder, mask, numbers=None):
    fits.writeto(folder / "mask.fits", mask.astype(np.uint8), overwrite=True)
    if numbers is None:
        return Labels.read(Plane.open(folder / "mask.fits", 8))
    fits.writeto(folder / "numbers.fits", numbers.astype(np.int32), overwrite=True)
    return Labels.read(Plane.open(folder / "mask.fits", 8), Plane.open(folder / "numbers.fits", 8))


@given(st.integers(0, 10_000))
def test_connected_pixels_of_a_class_are_an_object(tmp_path_factory, seed):
    mask = stream(seed).choice(4, (40, 30), p=[0.8, 0.05, 0.1, 0.05])
    found = read(tmp_path_factory.mktemp("labels"), mask)
    parts = [ndimage.label(mask == c, np.ones((3, 3)))[0] for c in (1, 2, 3)]
    assert len(found.boxes) == sum(part.max() for part in parts)
    painted, numbers, items = found.paint(WHOLE)
    assert np.array_equal(painted, mask)
    assert np.array_equal(items, np.arange(len(found.boxes)))
    for c, part in zip((1, 2, 3), parts, strict=True):
        pairs = {*zip(part[mask == c], numbers[mask == c], strict=True)}
        assert len(pairs) == part.max()
    for item, box in enumerate(found.boxes):
        y, x = np.nonzero(numbers == item + 1)
        assert box.tolist() == [y.min(), y.max() + 1, x.min(), x.max() + 1]
        assert found.sizes[item] == len(y)


def test_numbers_join_what_does_not_touch_and_the_rest_is_connected(tmp_path, monkeypatch):
    monkeypatch.setattr(labels, "BAND_ROWS", 7)
    mask, numbers = np.zeros((2, 40, 30), np.int32)
    mask[4:9, 5:8], numbers[4:9, 5:8] = 2, 70_000
    mask[20:22, 5:8], numbers[20:22, 5:8] = 3, 70_000
    mask[9:12, 8:9] = 2
    found = read(tmp_path, mask, numbers)
    assert found.classes.tolist() == [3, 2]
    assert found.sizes.tolist() == [21, 3]
    painted, local, items = found.paint(Window(8, 16, 4, 12))
    assert np.array_equal(painted, mask[8:16, 4:12])
    assert items.tolist() == [0, 1]
    assert set(local[painted > 0]) == {1, 2}
    assert found.corners(8).tolist() == [[9, 2], [6, 4]]
    assert found.corners(30)[:, 1].tolist() == [0, 0]
    numbers[4, 5] = -1
    with pytest.raises(ConfigError, match="negative"):
        read(tmp_path, mask, numbers)


LARGE = (20_000_000, 20_000_001)


@pytest.mark.parametrize("dtype", ["int32", "uint32", "int64", "uint64", "float64"])
@pytest.mark.parametrize("packed", [False, True])
def test_large_numbers_of_objects_are_read_with_all_their_digits(tmp_path, dtype, packed):
    mask, numbers = np.zeros((2, 40, 30), np.int64)
    mask[4:12, 5:8] = 2
    numbers[4:8, 5:8], numbers[8:12, 5:8] = LARGE
    found = []
    for name, plane in (("mask", mask), ("numbers", numbers)):
        path, values = tmp_path / f"{name}.fits", plane.astype(dtype)
        # astropy 7 packs unsigned 64-bit numbers with 2^63 too much: what is stored, and its zero, are given.
        stored = packed and dtype == "uint64"
        if stored:
            values = (values ^ np.uint64(1 << 63)).view(np.int64)
        hdu = fits.ImageHDU(values)
        if packed:
            hdu = fits.CompImageHDU(hdu.data, compression_type="GZIP_1", quantize_level=0)
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
        if stored:
            with fits.open(path, mode="update", disable_image_compression=True) as file:
                file[1].header["BZERO"] = 1 << 63
        found.append(Plane.open(path, 8))
    assert np.array_equal(found[1].read_numbers(WHOLE), numbers)
    assert Labels.read(*found).sizes.tolist() == [12, 12]


@pytest.mark.parametrize(
    ("value", "dtype", "match"),
    [
        (2**63 + 5, np.uint64, r"numbers above 9223372036854775807"),
        (20_000_000, np.float32, "from 16777216 on as floating-point numbers of 32 bits"),
        (2**53, np.float64, "floating-point numbers of 64 bits"),
        (np.inf, np.float32, "floating-point"),
        (1.5, np.float32, "not whole"),
    ],
)
def test_numbers_of_objects_that_cannot_be_held_are_refused(tmp_path, value, dtype, match):
    plane = np.zeros((40, 30), dtype)
    plane[3, 4] = value
    fits.writeto(tmp_path / "numbers.fits", plane)
    with pytest.raises(ConfigError, match=match) as caught:
        Plane.open(tmp_path / "numbers.fits", 8).read_numbers(WHOLE)
    assert str(tmp_path / "numbers.fits") in str(caught.value)


@pytest.mark.parametrize("packed", [False, True])
def test_the_integer_of_no_data_is_background(tmp_path, packed):
    plane = np.zeros((40, 30), np.int32)
    plane[3:5, 4], plane[9, 9] = 2, -999
    hdu = fits.CompImageHDU(plane) if packed else fits.ImageHDU(plane)
    hdu.header["BLANK"] = -999
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(tmp_path / "mask.fits")
    assert Labels.read(Plane.open(tmp_path / "mask.fits", 8)).sizes.tolist() == [2]
