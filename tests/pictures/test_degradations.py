import io

import numpy as np
import pytest
from PIL import Image

from astro_dist.engine.seeds import stream
from astro_dist.pictures.degradations import degrade
from astro_dist.pictures.images import from_image, png_bytes, resize, through_images, to_image

COLOUR = np.random.default_rng(1).integers(0, 256, (3, 32, 32)).astype(np.uint8)
GREY = COLOUR[:1]
FLOATS = GREY.astype(np.float32) / 127.5 - 1


@pytest.mark.parametrize("picture", [COLOUR, GREY])
def test_bicubic_is_pillows_and_draws_nothing(picture):
    image = to_image(picture).resize((16, 16), Image.Resampling.BICUBIC)
    rng = stream(1, "x")
    np.testing.assert_array_equal(degrade(picture, 2, "bicubic", rng), from_image(image))
    assert rng.random() == stream(1, "x").random()


@pytest.mark.parametrize("picture", [COLOUR, GREY, FLOATS], ids=["colour", "grey", "float"])
@pytest.mark.parametrize("scale", [2, 4])
def test_real_is_a_function_of_the_stream(picture, scale):
    found = [degrade(picture, scale, "real", stream(1, "small", n)) for n in (0, 0, 1)]
    assert found[0].shape == (len(picture), 32 // scale, 32 // scale)
    assert found[0].dtype == picture.dtype
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()


def steepest(picture):
    return np.abs(np.diff(picture.astype(float), axis=2)).max()


def test_real_is_worse_than_bicubic():
    """A smooth picture is changed by noise and JPEG, a white square is blurred."""
    smooth = np.repeat(np.linspace(30, 220, 64).astype(np.uint8)[None, None], 64, 1).repeat(3, 0)
    best = resize(smooth, 32).astype(float)
    errors = [np.abs(degrade(smooth, 2, "real", stream(1, n)) - best).mean() for n in range(8)]
    assert min(errors) > 0
    assert np.mean(errors) > 1
    square = np.zeros((1, 64, 64), np.uint8)
    square[:, 24:40, 24:40] = 255
    slopes = [steepest(degrade(square, 2, "real", stream(2, n))) for n in range(8)]
    assert np.mean(slopes) < steepest(resize(square, 32))


def test_float_pictures_stay_in_network_range():
    found = degrade(np.ones((1, 16, 16), np.float32), 2, "real", stream(1, 0))
    assert found.dtype == np.float32
    assert float(found.max()) <= 1


def test_images_and_arrays_are_the_same_picture():
    for picture in (COLOUR, GREY):
        np.testing.assert_array_equal(from_image(to_image(picture)), picture)
        with Image.open(io.BytesIO(png_bytes(to_image(picture)))) as image:
            np.testing.assert_array_equal(from_image(image), picture)
    np.testing.assert_array_equal(through_images(FLOATS, lambda image: image), FLOATS)
