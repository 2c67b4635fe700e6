import numpy as np
import pytest
from scipy import linalg

from astro_dist.metrics.frechet import frechet_distance, kernel_distance, kid, polynomial_kernel


def gaussian(n, mean, covariance):
    """Return n points with exactly the given sample mean and covariance."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((n, len(mean)))
    x -= x.mean(0)
    white = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T
    return white @ np.linalg.cholesky(np.asarray(covariance)).T + mean


def test_gaussians_of_known_distance():
    """Diagonal covariances commute: the distance is |mean|^2 + the squares of differing deviations."""
    a = gaussian(50, [0, 0, 0], np.diag([1.0, 4.0, 9.0]))
    b = gaussian(80, [1, 2, 2], np.diag([4.0, 4.0, 1.0]))
    assert frechet_distance(a, b) == pytest.approx(9 + 1 + 0 + 4)


def test_correlated_gaussians_as_by_a_matrix_root():
    rng = np.random.default_rng(3)
    a, b = (rng.standard_normal((40, 6)) @ rng.standard_normal((6, 6)) for _ in range(2))
    ca, cb = np.cov(a.T), np.cov(b.T)
    root = linalg.sqrtm(ca @ cb).real
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(ca + cb - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)


def test_fewer_images_than_features():
    """The distance equals that in the subspace of the points, where covariances have full rank."""
    rng = np.random.default_rng(4)
    low = rng.standard_normal((20, 5)), rng.standard_normal((30, 5)) + 1
    basis = np.linalg.qr(rng.standard_normal((64, 5)))[0]
    assert frechet_distance(*(x @ basis.T for x in low)) == pytest.approx(frechet_distance(*low))


@pytest.mark.parametrize("features", [4, 100])
def test_a_set_is_at_no_distance_from_itself_in_any_order(features):
    rng = np.random.default_rng(5)
    a, b = rng.standard_normal((30, features)), rng.standard_normal((30, features))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    shuffled = rng.permutation(a)
    assert frechet_distance(shuffled, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(shuffled, b) == pytest.approx(frechet_distance(a, b))
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b))
    assert kid(shuffled, b) == pytest.approx(kid(a, b))


def test_weights_are_repetitions():
    rng = np.random.default_rng(6)
    a, b = rng.standard_normal((12, 3)), rng.standard_normal((15, 3)) + 0.5
    weights = rng.multinomial(12, np.full(12, 1 / 12))
    repeated = np.repeat(a, weights, axis=0)
    assert frechet_distance(a, b, weights) == pytest.approx(frechet_distance(repeated, b))
    ones = np.ones(12, int)
    kernels = [polynomial_kernel(x, y) for x, y in ((a, a), (b, b), (a, b))]
    assert kernel_distance(*kernels, ones) == pytest.approx(kid(a, b))
    # Repetition compares an image with its copies. Weights leave such pairs out.
    assert kernel_distance(*kernels, weights) < kid(repeated, b)


def test_the_kernel_distance_has_no_bias_and_the_frechet_distance_has():
    rng = np.random.default_rng(7)
    pairs = [(rng.standard_normal((16, 4)), rng.standard_normal((16, 4))) for _ in range(400)]
    kids = np.array([kid(a, b) for a, b in pairs])
    assert abs(kids.mean()) < 3 * kids.std() / 20
    assert np.mean([frechet_distance(a, b) for a, b in pairs]) > 0.3


def test_the_kernel_distance_of_shifted_points_is_its_closed_form():
    """Equal points within each set leave (k(a, a) + k(b, b) - 2 k(a, b))."""
    a, b = np.tile([1.0, 0.0], (5, 1)), np.tile([0.0, 2.0], (7, 1))
    assert kid(a, b) == pytest.approx(1.5**3 + 3**3 - 2 * 1)
