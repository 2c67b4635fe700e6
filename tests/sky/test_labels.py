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
