"""Linear heads on frozen features of real pictures: the 1,797 digits that come with scikit-learn.

The features of an arm are a fixed random layer. Half of the digits are a pool that training sets are drawn
from; test pictures are drawn from the other half, each with noisy copies of itself as its group. Some have a
wrong label, so that all arms are wrong there: real test sets hold such pictures, and pairs cancel them.
"""

from functools import cache

import numpy as np
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

CLASSES = 10
FEATURES = 48
RIDGE = 3.0
WRONG = 0.3
NOISE = 0.03


@cache
def digits():
    """Pixels (N, 64) between 0 and 1, and labels, of the pool and of the test half."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    half = len(order) // 2
    pictures, labels = data.data / 16, data.target
    return (pictures[order[:half]], labels[order[:half]]), (pictures[order[half:]], labels[order[half:]])


def draw_layer(rng, features=FEATURES):
    return rng.standard_normal((65, features)) / 4


def see(pictures, layer):
    """The frozen features (N, F + 1) of pictures, with a column of ones."""
    x = np.maximum(np.hstack([pictures - 0.3, np.ones((len(pictures), 1))]) @ layer, 0)
    return np.hstack([x, np.ones((len(x), 1))])


def draw_test(rng, groups=80, size=6, wrong=WRONG):
    """Pictures, labels and groups of a test set with near-duplicates."""
    pictures, labels = digits()[1]
    chosen = rng.choice(len(labels), groups, replace=False)
    group = np.repeat(np.arange(groups), size)
    noise = NOISE * rng.standard_normal((len(group), 64))
    noise[::size] = 0
    given = np.where(rng.random(groups) < wrong, (labels[chosen] + 1) % CLASSES, labels[chosen])
    return pictures[chosen][group] + noise, given[group], group


def draw_rows(rng, n):
    """n pictures of the pool, by chance, with their labels."""
    pictures, labels = digits()[0]
    rows = rng.choice(len(labels), n, replace=False)
    return pictures[rows], labels[rows]


def score_head(training, test, layer):
    """1 for each test picture that a ridge regression on one-hot labels, in closed form, is right on."""
    (pictures, labels), (shown, given, _) = training, test
    x, y = see(pictures, layer), np.eye(CLASSES)[labels] - 1 / CLASSES
    weights = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ y)
    return (np.argmax(see(shown, layer) @ weights, axis=1) == given).astype(float)


# Threads that share such small matrices take longer than one alone.
@threadpool_limits.wrap(limits=1)
def score_arm(trainings, test, layer):
    """Scores (seeds, pictures), one head for each training set of the arm."""
    return np.stack([score_head(training, test, layer) for training in trainings])


def draw_pair(rng, seeds=2, n=300):
    """Scores of two arms of one distribution, and the groups of the test pictures."""
    test = draw_test(rng)
    arms = [score_arm([draw_rows(rng, n) for _ in range(seeds)], test, draw_layer(rng)) for _ in range(2)]
    return *arms, test[2]
