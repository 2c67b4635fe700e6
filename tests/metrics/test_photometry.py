import numpy as np
import pytest

from astro_dist.metrics.photometry import flux_ratios


@pytest.fixture
def stack():
    real, mask, instances = np.zeros((2, 16, 16)), np.zeros((2, 16, 16), int), np.zeros((2, 16, 16), int)
    objects = [(0, 1, 2, 20, 2), (0, 2, 8, 10, 3), (1, 1, 2, 4, 2), (1, 2, 8, 30, 1), (1, 3, 12, 30, 2)]
    for image, number, y, snr, source_class in objects:
        part = (image, slice(y, y + 3), slice(4, 7))
        real[part], mask[part], instances[part] = snr, source_class, number
    return real, mask, instances


def test_ratios_are_of_whole_objects_in_dex(stack):
    real, mask, instances = stack
    found = flux_ratios(real * np.where(instances == 2, 10, 0.1), real, mask, instances)
    np.testing.assert_allclose(found.dex, [-1, 1, -1])
    assert found.image.tolist() == [0, 0, 1]
    assert found.source_class.tolist() == [2, 3, 2]
    assert found.real_snr.tolist() == [20, 10, 30]


def test_faint_and_spurious_objects_do_not_count_and_lost_ones_do(stack):
    real, mask, instances = stack
    found = flux_ratios(np.where(instances == 3, -1.0, real), real, mask, instances)
    assert found.dex.tolist() == [0, 0, -np.inf]
    assert len(flux_ratios(real, real, mask, instances, min_snr=15).dex) == 2


def test_missing_pixels_count_as_zero(stack):
    real, mask, instances = stack
    holed = real.copy()
    holed[0, 2] = np.nan
    found = flux_ratios(holed, real, mask, instances)
    assert found.dex[0] == pytest.approx(np.log10(2 / 3))


def test_nothing_gives_nothing():
    empty = np.zeros((3, 8, 8), int)
    assert flux_ratios(empty, empty, empty, empty).dex.shape == (0,)
