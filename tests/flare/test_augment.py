import numpy as np
import pytest

from astro_dist.flare.augment import KINDS, augment
from astro_dist.flare.upscale_config import AugmentConfig
from astro_dist.pictures.images import resize
from astro_dist.pictures.toy import draw_toy

PICTURE = draw_toy("galaxies", 1, 0, 64)
ORDER = AugmentConfig().kinds


def test_the_original_is_number_zero():
    assert augment(PICTURE, 1, 5, 0, ORDER) is PICTURE


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("planes", [1, 3])
def test_a_copy_is_a_function_of_seed_picture_and_number(kind, planes):
    picture = PICTURE[:planes]
    found = augment(picture, 1, 5, 1, [kind])
    assert (found.shape, found.dtype) == (picture.shape, picture.dtype)
    np.testing.assert_array_equal(found, augment(picture, 1, 5, 1, [kind]))
    assert (found != picture).any()
    # Three flips are all there are, so that some numbers give the same one.
    keys = ((2, 5, 1), (1, 6, 1), (1, 5, 2), (1, 5, 3), (3, 5, 1))
    others = [augment(picture, *key, [kind]) for key in keys]
    assert any((other != found).any() for other in others)


def test_copies_take_the_kinds_in_turn():
    kinds = ("flip", "jitter")
    for copy in (1, 2, 3, 4):
        own = (kinds[(copy - 1) % 2],)
        np.testing.assert_array_equal(augment(PICTURE, 1, 0, copy, kinds), augment(PICTURE, 1, 0, copy, own))


def test_flips_move_pixels_only():
    seen = {augment(PICTURE, 1, n, 1, ["flip"]).tobytes() for n in range(30)}
    assert len(seen) == 3
    assert PICTURE.tobytes() not in seen


@pytest.mark.parametrize("kind", KINDS)
def test_an_enlarged_picture_changes_as_the_picture_does(kind):
    """Arms of small and of enlarged pictures differ in their pixels, not in what was done to them."""
    large = resize(PICTURE, 128)
    small = augment(PICTURE, 1, 3, 1, [kind]).astype(float)
    again = resize(augment(large, 1, 3, 1, [kind]), 64).astype(float)
    assert np.abs(again - small).mean() < 3


def test_float_pictures_stay_in_their_range():
    floats = PICTURE[:1].astype(np.float32) / 127.5 - 1
    for copy in range(1, 7):
        found = augment(floats, 1, 0, copy, tuple(KINDS))
        assert found.dtype == np.float32
        assert float(np.abs(found).max()) <= 1


@pytest.mark.parametrize("kind", ["jitter", "flip_jitter"])
def test_the_brightness_of_float_pictures_alone_is_changed_and_no_value_is_lost(kind):
    """Differences keep their ratios: nothing is cut off at either end, and no contrast is stretched."""
    floats = np.linspace(-1, 0.9, 32 * 32, dtype=np.float32).reshape(1, 32, 32)
    for index in range(8):
        found = augment(floats, 1, index, 1, [kind])
        assert found.dtype == np.float32
        values = np.sort(found.ravel())
        assert float(values[-1]) <= 1
        np.testing.assert_allclose(np.diff(values), np.diff(values).mean(), rtol=1e-2)
        assert abs(values[-1] - 0.9) > 1e-3
