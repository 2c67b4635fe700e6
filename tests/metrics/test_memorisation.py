import numpy as np
import pytest

from astro_dist.metrics.memorisation import distance_ratio, nearest_distances, share_too_near

RNG = np.random.default_rng(1)
TRAIN, HELD_OUT, NEW = (RNG.standard_normal((n, 8)) for n in (300, 200, 200))


def test_distances_are_those_of_all_pairs():
    brute = np.linalg.norm(NEW[:, None] - TRAIN, axis=-1).min(1)
    np.testing.assert_allclose(nearest_distances(NEW, TRAIN), brute)
    np.testing.assert_allclose(nearest_distances(NEW, RNG.permutation(TRAIN)), brute)


def test_a_copy_is_at_distance_zero():
    far = TRAIN.astype(np.float32) + 100
    assert not nearest_distances(far, far).any()


def test_new_images_are_as_far_as_held_out_ones_and_copies_are_not():
    held_out, new = (nearest_distances(x, TRAIN) for x in (HELD_OUT, NEW))
    copies = nearest_distances(TRAIN[:200] + 0.1 * NEW, TRAIN)
    assert distance_ratio(new, held_out) == pytest.approx(1, abs=0.1)
    assert share_too_near(new, held_out) < 0.05
    assert distance_ratio(copies, held_out) < 0.25
    assert share_too_near(copies, held_out) > 0.95


def test_weights_are_repetitions():
    a, b = np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 4.0])
    assert distance_ratio(a, b, np.array([0, 0, 3])) == 0.75
