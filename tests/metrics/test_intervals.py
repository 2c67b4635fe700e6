import numpy as np
import pytest

from astro_dist.metrics.intervals import bootstrap, median_interval, share_interval, weighted_median


def test_the_interval_of_a_mean_is_that_of_the_central_limit():
    x = np.random.default_rng(1).normal(5, 2, 400)
    value, low, high = bootstrap(lambda w: w @ x / w.sum(), 400, np.random.default_rng(2), 2000)
    assert value == pytest.approx(x.mean())
    assert high - low == pytest.approx(2 * 1.96 * x.std() / 20, rel=0.06)
    assert low < value < high


def test_the_interval_depends_on_the_stream_alone():
    x = np.arange(20.0)
    first, again, other = (
        bootstrap(lambda w: w @ x, 20, np.random.default_rng(seed), 50) for seed in (1, 1, 2)
    )
    assert first == again != other


def test_resamples_without_a_value_are_left_out():
    value, low, high = bootstrap(lambda w: 1.0 if w[0] else float("nan"), 5, np.random.default_rng(1), 50)
    assert (value, low, high) == (1.0, 1.0, 1.0)
    assert np.isnan(bootstrap(lambda w: 1.0, 5, np.random.default_rng(1), 0)[1:]).all()


def test_a_weight_is_a_repetition():
    assert weighted_median(np.array([1.0, 2.0, 9.0]), np.array([1, 0, 3])) == 9.0
    assert np.isnan(weighted_median(np.array([]), np.array([], np.int64)))


def test_the_interval_of_a_share_is_wilsons():
    # Newcombe 1998, Statistics in Medicine 17, 857, table I: 81 of 263 and 15 of 148, method 3.
    assert share_interval(81, 263) == pytest.approx((81 / 263, 0.2553, 0.3662), abs=1e-4)
    assert share_interval(15, 148) == pytest.approx((15 / 148, 0.0624, 0.1605), abs=1e-4)
    assert share_interval(0, 20) == pytest.approx((0, 0, 0.1611), abs=1e-4)
    assert share_interval(20, 20)[1:] == pytest.approx((1 - 0.1611, 1), abs=1e-4)
    assert np.isnan(share_interval(0, 0)).all()


def test_the_interval_of_a_median_covers_it_as_often_as_it_says():
    rng = np.random.default_rng(5)
    for n in (9, 40, 301):
        ends = np.array([median_interval(rng.exponential(size=n))[1:] for _ in range(2000)])
        covered = ((ends[:, 0] <= np.log(2)) & (np.log(2) <= ends[:, 1])).mean()
        assert 0.94 < covered <= 0.99, n
    assert median_interval(np.array([3.0])) == (3, 3, 3)
    assert np.isnan(median_interval(np.zeros(0))).all()
