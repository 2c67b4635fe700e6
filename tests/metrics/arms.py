"""Pairs of arms of one distribution, and the share of intervals that hold the true gain, which is 0."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from astro_dist.metrics.gains import gain

RANGE = (0.92, 0.98)


@dataclass(frozen=True)
class World:
    """Standard deviations of the parts of a score, in units of that of a whole group.

    A score is 1 where the sum of its parts is above 0: the difficulty of the group, which all arms meet, what
    an arm makes of the group, what a training makes of it, how good a training is, and the single picture.
    """

    seeds: int = 5
    groups: int = 60
    largest: int = 6
    difficulty: float = 2.0
    arm: float = 0.6
    training: float = 0.4
    seed: float = 0.1
    picture: float = 0.2

    def draw_groups(self, rng):
        """The group of each test picture; sizes are even between 1 and the largest."""
        return np.repeat(np.arange(self.groups), rng.integers(1, self.largest + 1, self.groups))

    def draw_pair(self, rng, groups, continuous=False):
        """Two arms of one distribution: scores (seeds, pictures) of each."""
        n, g = rng.standard_normal, self.groups
        shared = self.difficulty * n(g) + 1.0
        arms = []
        for _ in range(2):
            parts = (
                shared + self.arm * n(g) + self.training * n((self.seeds, g)) + self.seed * n((self.seeds, 1))
            )
            score = parts[:, groups] + self.picture * n((self.seeds, len(groups)))
            arms.append(score if continuous else (score > 0).astype(float))
        return arms


def as_is(a, b, groups):
    return a, b, groups


def without_groups(a, b, groups):
    """Every picture for itself, as if no two were alike."""
    return a, b, np.arange(len(groups))


def unpaired(a, b, groups):
    """Arm b on its pictures in another order: the means stay, the pairs of pictures are lost."""
    order = np.random.default_rng(0).permutation(len(groups))
    return a, b[:, order], groups


def count_held(pairs, change=as_is):
    """Return how many intervals hold 0, and how many pairs there are."""
    found = [gain(*change(*pair)) for pair in pairs]
    return sum(g.low <= 0 <= g.high for g in found), len(found)


def simulate(world, n_pairs, key=0, **how):
    rng = np.random.default_rng(key)
    for _ in range(n_pairs):
        groups = world.draw_groups(rng)
        a, b = world.draw_pair(rng, groups, **how)
        yield a, b, groups


def is_calibrated(held, pairs, within=RANGE):
    """Whether so many of so many pairs are what a share within a range gives, but once in 200 times.

    With few pairs the bounds are wide: 20 pairs cannot tell 92 from 85 %.
    """
    low = stats.binom.ppf(0.0025, pairs, within[0])
    high = stats.binom.ppf(0.9975, pairs, within[1])
    return low <= held <= high
