import numpy as np
import pytest

from astro_dist.metrics.intervals import bootstrap, weighted_median


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
