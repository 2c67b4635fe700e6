import math

import numpy as np
import pytest

from astro_dist.metrics.segmentation import (
    Overlap,
    add_noise,
    count_classes,
    image_scores,
    label_islands,
    overlap_many,
    overlap_masks,
)
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.classes import SourceClass


def blank():
    return np.zeros((32, 32), np.float32)


def test_islands_need_a_seed_and_join_over_corners():
    snr = blank()
    snr[4:6, 4:6] = 4.0
    snr[10, 10], snr[11, 11], snr[12, 11] = 6.0, 3.5, 2.9
    snr[20, 20] = np.nan
    islands = label_islands(snr)
    assert islands.max() == 1
    assert sorted(map(tuple, np.argwhere(islands))) == [(10, 10), (11, 11)]


def test_overlap_of_classes_counts_islands_where_they_lie():
    snr, mask = blank(), np.zeros((32, 32), np.uint8)
    mask[4:8, 4:8] = SourceClass.COMPACT
    mask[20:26, 20:26] = SourceClass.EXTENDED
    snr[4:8, 5:9] = 9.0
    snr[20:26, 20:23] = 9.0
    snr[15, 2] = 9.0
    parts = overlap_masks(snr, mask)
    assert parts["compact"] == Overlap(12, 20)
    assert parts["extended"] == Overlap(18, 36)
    assert parts["spurious"] == Overlap(0, 0)
    assert parts["all"] == Overlap(30, 20 + 36 + 1)
    assert math.isnan(parts["spurious"].iou)
    assert parts["compact"].iou == 0.6


def test_a_stack_is_the_sum_of_its_images_in_any_order():
    rng = np.random.default_rng(1)
    snr = rng.normal(0, 3, (4, 32, 32)).astype(np.float32)
    mask = rng.integers(0, 4, (4, 32, 32)).astype(np.uint8)
    assert overlap_many(snr, mask) == overlap_many(snr[::-1], mask[::-1])
    assert overlap_many(snr[:0], mask[:0])["all"] == Overlap()


def test_noise_at_assembly_has_unit_rms_and_belongs_to_its_key():
    beam, pixel = Beam(7.2, 7.2), Pixel(1.8, 1.8)
    stamp = np.zeros((128, 128), np.float32)
    one, two = (add_noise(stamp, stamp, beam, pixel, 1, ("probe", key)) for key in (1, 2))
    assert one.std() == pytest.approx(1, abs=0.1)
    assert abs(np.corrcoef(one.ravel(), two.ravel())[0, 1]) < 0.1
    assert np.array_equal(one, add_noise(stamp, stamp, beam, pixel, 1, ("probe", 1)))


def test_added_noise_fills_up_to_one_sigma():
    taper = np.zeros((128, 128), np.float32)
    taper[:64] = 1
    noisy = add_noise(taper * 7, taper, Beam(7.2, 7.2), Pixel(1.8, 1.8), 1, ("probe",))
    assert (noisy[:64] == 7).all()
    assert noisy[64:].std() == pytest.approx(1, abs=0.1)


def test_counts_of_classes_are_of_the_pixels_of_each_image():
    mask = np.zeros((2, 8, 8), np.uint8)
    mask[0, :2], mask[0, 4] = 2, 3
    found = np.roll(mask, 1, axis=1)
    counts = count_classes(found, mask)
    assert counts[0].tolist() == [[0, 0], [8, 24], [0, 16]]
    assert not counts[1].any()
    assert np.array_equal(count_classes(mask, mask)[0, 1], [16, 16])


def test_the_score_is_a_mean_over_present_classes():
    counts = np.array([[[0, 0], [8, 16], [0, 4]], [[0, 0], [0, 0], [0, 0]], [[0, 0], [0, 0], [3, 3]]])
    np.testing.assert_array_equal(image_scores(counts), [0.25, np.nan, 1.0])
