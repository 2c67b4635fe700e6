"""The gain of one training set over another: its size, its interval, and what it is worth in real pictures.

An arm is a training set. Its classifiers, one for each seed, are scored on the same test pictures as those of
every other arm, so that a gain is a mean of differences of scores. Two things vary by chance: the test
pictures, near-duplicates of which succeed or fail together, and the trainings, which share a seed. The
variance of a mean gain is therefore estimated over groups of test pictures and over seeds at once.

The interval has two limits. It holds for other test pictures and other trainings of the same two training
sets: another draw of synthetic pictures is another arm. And with few seeds it is only about right: over 4,000
pairs of simulated arms of one distribution, at seven ratios of the spread over seeds to the spread over
groups, 91 to 97 % of the intervals of two seeds hold 0, and 94 to 97 % of those of three to five. Where a
score is right or wrong and there are 20 groups, up to 99 % do (`tests/metrics/test_gains.py`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from astro_dist.engine.arrays import Floats, Integers
from astro_dist.metrics.memorisation import NEAR_QUANTILE, nearest_distances

LEVEL = 0.95
FEW_SEEDS = 3
"""Up to so many seeds, their variance is taken from the arms and not from the differences."""
POWER = 0.8
STEPS = 200
"""Steps in which a doubling of the real pictures is searched for an exchange rate."""


@dataclass(frozen=True)
class Gain:
    """The difference of the mean scores of two arms, in the unit of the scores.

    Attributes
    ----------
    mean, low, high
        The difference and the ends of its interval; NaN ends with fewer than two groups.
    p
        Two-sided probability of a difference at least as large between arms of one distribution.
    error, freedom
        Standard error of the difference, and the degrees of freedom of its t distribution.
    seeds, groups, pictures
        The numbers of trainings of each arm, of groups of test pictures and of test pictures. With one seed
        the interval has no part for the trainings.
    p_family
        ``p`` corrected by Holm for the family of comparisons the gain belongs to; ``p`` without a family.
    """

    mean: float
    low: float
    high: float
    p: float
    error: float
    freedom: float
    seeds: int
    groups: int
    pictures: int
    p_family: float = math.nan

    @property
    def detectable(self) -> float:
        """The true gain that four of five experiments with this error would find, with p below 0.05."""
        quantiles = special.stdtrit(self.freedom, [(1 + LEVEL) / 2, POWER])
        return float(quantiles.sum() * self.error)

    @property
    def verdict(self) -> str:
        """``helps`` or ``harms`` where ``p_family`` is below 0.05, else ``undecided``."""
        p = self.p if math.isnan(self.p_family) else self.p_family
        if not p < 1 - LEVEL:
            return "undecided"
        return "helps" if self.mean > 0 else "harms"


def gain(scores_a_SN: ArrayLike, scores_b_SN: ArrayLike, groups_N: ArrayLike, level: float = LEVEL) -> Gain:
    """Return the gain of arm a over arm b.

    Parameters
    ----------
    scores_a_SN, scores_b_SN
        (S, N) a score for each seed and test picture: 1 for right and 0 for wrong, or any score whose mean is
        the figure (`astro_dist.metrics.classification.f1_scores` for F1). Row s of both arms has one seed.
    groups_N
        (N,) group of each test picture; pictures of one group are near-duplicates.
    level
        Share of the intervals that are to hold the true gain.

    Raises
    ------
    ValueError
        The shapes do not fit, or a score is not finite.
    """
    return contrast([scores_a_SN, scores_b_SN], [1.0, -1.0], groups_N, level)


def contrast(
    arms_KSN: Sequence[ArrayLike], weights_K: Sequence[float], groups_N: ArrayLike, level: float = LEVEL
) -> Gain:
    """Return a weighted sum of the mean scores of several arms with its interval; see `gain`.

    The variance is that of two crossed samples (Cameron, Gelbach & Miller 2011, eq. 2.4): over groups, plus
    over seeds, less their interaction, which both of them hold. Degrees of freedom are Satterthwaite's.
    """
    return _Arms.of(arms_KSN, groups_N).contrast(weights_K, level)


@dataclass(frozen=True)
class _Arms:
    """What each group of test pictures adds to the mean score of each arm and seed."""

    sums_KSG: Floats
    share_G: Floats
    pictures: int

    @classmethod
    def of(cls, arms_KSN: Sequence[ArrayLike], groups_N: ArrayLike) -> "_Arms":
        arms = [np.atleast_2d(np.asarray(scores, np.float64)) for scores in arms_KSN]
        groups = np.unique(np.asarray(groups_N), return_inverse=True)[1].ravel()
        _check(arms, groups)
        sums = np.stack([_sum_groups(scores, groups) for scores in arms])
        return cls(sums, np.bincount(groups) / len(groups), len(groups))

    def contrast(self, weights_K: Sequence[float], level: float = LEVEL) -> Gain:
        """Return a weighted sum of the mean scores with its interval."""
        weights = np.asarray(weights_K, np.float64)
        combined = np.tensordot(weights, self.sums_KSG, 1)
        n_seeds, n_groups = combined.shape
        mean = float(combined.sum(axis=1).mean())
        if n_groups < 2:
            nan = math.nan
            return Gain(mean, nan, nan, nan, nan, nan, n_seeds, n_groups, self.pictures)
        spread = _Spread.of(combined, self.share_G)
        if n_seeds <= FEW_SEEDS:
            spread = replace(spread, **self._spread_of_seeds(weights))
        error, freedom = spread.total(floor=float(np.mean(self.share_G**2)))
        half = float(special.stdtrit(freedom, (1 + level) / 2)) * error
        p = float(2 * special.stdtr(freedom, -abs(mean) / error))
        return Gain(mean, mean - half, mean + half, p, error, freedom, n_seeds, n_groups, self.pictures)

    def _spread_of_seeds(self, weights_K: Floats) -> dict[str, Any]:
        """Return the variances over seeds of a contrast whose arms have seeds of their own.

        Two differences say too little about their variance: 88 % of the intervals would hold the truth. The
        arms give twice as many numbers. The sum of their variances is too large only as far as a seed helps
        or harms all arms alike.
        """
        own = [_Spread.of(sums_SG, self.share_G) for sums_SG in self.sums_KSG]
        squares = weights_K**2
        return {
            "seeds": float(squares @ [spread.seeds for spread in own]),
            "both": float(squares @ [spread.both for spread in own]),
            "seeds_freedom": len(own) * (self.sums_KSG.shape[1] - 1),
        }


def _check(arms: Sequence[Floats], groups: Integers) -> None:
    shapes = {scores.shape for scores in arms}
    if len(shapes) != 1 or next(iter(shapes))[1:] != groups.shape or not groups.size:
        found = ", ".join(str(scores.shape) for scores in arms)
        raise ValueError(f"scores of shapes {found} for {groups.size} test pictures: (seeds, pictures) each")
    if not all(np.isfinite(scores).all() for scores in arms):
        raise ValueError("a score is not finite")


def _sum_groups(scores_SN: Floats, groups: Integers) -> Floats:
    """Return what each group adds to the mean score of each seed, (S, G)."""
    n_groups = int(groups.max()) + 1
    return np.stack([np.bincount(groups, row, n_groups) for row in scores_SN]) / len(groups)


@dataclass(frozen=True)
class _Spread:
    """Variances of a mean score: over groups, over seeds, and of their interaction, which is in both."""

    groups: float
    seeds: float
    both: float
    groups_freedom: float
    seeds_freedom: int

    @classmethod
    def of(cls, sums_SG: Floats, share_G: Floats) -> "_Spread":
        n_seeds, n_groups = sums_SG.shape
        off_SG = sums_SG - sums_SG.sum(axis=1).mean() * share_G
        off_S = off_SG.sum(axis=1)
        # The jackknife over groups: the mean without group g differs by this from the mean with it. Division
        # by the rest of the pictures is what keeps large groups from hiding in the mean.
        left_G = off_SG.mean(axis=0) / (1 - share_G)
        rest_SG = (off_SG - off_SG.mean(axis=0) - off_S[:, None] * share_G) / (1 - share_G)
        jackknife = (n_groups - 1) / n_groups
        pairs = max(n_seeds * (n_seeds - 1), 1)
        return cls(
            groups=float(jackknife * np.sum(left_G**2)),
            seeds=float(np.sum(off_S**2) / pairs) if n_seeds > 1 else 0.0,
            both=float(jackknife * np.sum(rest_SG**2) / pairs) if n_seeds > 1 else 0.0,
            # Kish's effective number: unequal groups count for fewer.
            groups_freedom=max(1 / float(np.sum(share_G**2)) - 1, 1.0),
            seeds_freedom=n_seeds - 1,
        )

    def total(self, floor: float) -> tuple[float, float]:
        """Return the standard error and its degrees of freedom.

        ``floor`` is the variance that one test group of other outcome has. Without it two arms that agree on
        every test picture would have an interval of no width.
        """
        groups, seeds = max(self.groups, floor), max(self.seeds - self.both, 0.0)
        doubt = groups**2 / self.groups_freedom
        if seeds:
            doubt += self.seeds**2 / self.seeds_freedom
            doubt += self.both**2 / (self.seeds_freedom * self.groups_freedom)
        return math.sqrt(groups + seeds), max((groups + seeds) ** 2 / doubt, 1.0)


def holm(p: Sequence[float]) -> list[float]:
    """Return probabilities corrected for their number by Holm's method; NaN stays NaN and is not counted.

    The chance that any of them is below a level is at most that level where no arm differs (Holm 1979).
    """
    values = np.asarray(p, np.float64)
    counted = np.flatnonzero(np.isfinite(values))
    order = counted[np.argsort(values[counted], kind="stable")]
    steps = values[order] * np.arange(len(order), 0, -1)
    corrected = np.full(len(values), np.nan)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(value) for value in corrected]


def correct_family(gains: Mapping[str, Gain]) -> dict[str, Gain]:
    """Return the gains of one family of comparisons, each with ``p_family`` set."""
    corrected = holm([found.p for found in gains.values()])
    return {
        name: replace(found, p_family=p) for (name, found), p in zip(gains.items(), corrected, strict=True)
    }


@dataclass(frozen=True)
class Exchange:
    """How many further real pictures would give the gain of an arm.

    Attributes
    ----------
    pictures, low, high
        Number of real pictures and its interval: 0 for none, infinite for more than as many again.
    real
        Number of real pictures that the arm has.
    """

    pictures: float
    low: float
    high: float
    real: int

    @property
    def says(self) -> str:
        """The rate in words, such as ``about 120 (none to beyond 445)``."""
        shown = self._word(self.pictures)
        about = f"about {shown}" if 0 < self.pictures < math.inf else shown
        if self._word(self.low) == self._word(self.high) == shown:
            return about
        return f"{about} ({self._word(self.low)} to {self._word(self.high)})"

    def _word(self, pictures: float) -> str:
        if pictures <= 0:
            return "none"
        return f"{pictures:,.0f}" if math.isfinite(pictures) else f"beyond {self.real:,}"


def exchange_rate(
    mixed_SN: ArrayLike, whole_SN: ArrayLike, half_SN: ArrayLike, groups_N: ArrayLike, real: int
) -> Exchange:
    """Return how many further real pictures would give the gain of a mixed arm over that of real ones.

    The score is taken to grow by one amount, the *headroom*, with each doubling of the real pictures, as it
    did from half of them to all. Learning curves flatten, so that the number is rather too small. It is not
    continued beyond the next doubling. The interval is Fieller's: the doublings r for which
    (mixed - whole) - r (whole - half) does not differ from 0.

    Parameters
    ----------
    mixed_SN, whole_SN, half_SN
        (S, N) scores of the mixed arm, of all real pictures and of half of them; see `gain`.
    groups_N
        (N,) group of each test picture.
    real
        Number of real pictures of the whole.
    """
    arms = _Arms.of([mixed_SN, whole_SN, half_SN], groups_N)
    found, headroom = arms.contrast([1.0, -1.0, 0.0]), arms.contrast([0.0, 1.0, -1.0])
    doublings = np.linspace(0, 1, STEPS + 1)
    tries = [arms.contrast([1.0, -1.0 - r, r]) for r in doublings]
    fits = np.array([t.low <= 0 <= t.high for t in tries])
    above = np.array([t.low > 0 for t in tries])
    # A gain that is above that of r doublings for all r is beyond them, one below it for all r is none.
    low = float(doublings[fits][0]) if fits.any() else (math.inf if above.all() else 0.0)
    high = float(doublings[fits][-1]) if fits.any() else low
    if found.mean > 0 and (fits[-1] or headroom.low <= 0 <= headroom.high):
        high = math.inf
    if found.mean <= 0:
        best, low = 0.0, 0.0
        high = math.inf if fits[-1] else high
    elif headroom.mean <= 0 or found.mean > headroom.mean:
        best = math.inf
    else:
        best = found.mean / headroom.mean
    low, high = min(low, best), max(high, best)
    pictures, low, high = (real * (2.0**r - 1) for r in (best, low, high))
    return Exchange(pictures, low, high, real)


@dataclass(frozen=True)
class Copies:
    """Which synthetic pictures are nearer to the training pictures than held-out pictures are.

    Attributes
    ----------
    found
        (N,) whether a synthetic picture is a copy by that measure.
    limit
        The distance below which a picture counts as one: a hundredth of the held-out pictures are nearer.
    """

    found: NDArray[np.bool_]
    limit: float

    @property
    def share(self) -> float:
        """The share of copies; about 0.01 where the synthetic pictures are as new as the held-out ones."""
        return float(self.found.mean())


def find_copies(
    synthetic_NF: NDArray[np.floating], training_MF: NDArray[np.floating], held_out_KF: NDArray[np.floating]
) -> Copies:
    """Find the synthetic pictures that copy a training picture, by distances between features.

    Parameters
    ----------
    synthetic_NF, training_MF, held_out_KF
        (N, F), (M, F), (K, F) features of the pictures, all of the same kind. No held-out picture may be a
        near-duplicate of a training picture.

    Raises
    ------
    ValueError
        There are no held-out pictures to compare with.
    """
    if not len(held_out_KF):
        raise ValueError("without held-out pictures no distance is small or large")
    limit = float(np.quantile(nearest_distances(held_out_KF, training_MF), NEAR_QUANTILE))
    distances = nearest_distances(synthetic_NF, training_MF)
    # Where a held-out picture is itself a copy the limit is 0, and equal pictures are still found.
    return Copies((distances < limit) | (distances == 0), limit)
