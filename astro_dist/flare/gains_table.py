"""The figures of every set, network, level and test set, and the gains of the sets over each other.

All figures are shares between 0 and 1, not per cent.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from astro_dist.engine.arrays import Floats, Integers
from astro_dist.flare.classifiers import OWN_TEST
from astro_dist.flare.classify_config import CombineConfig
from astro_dist.flare.grid_scores import Grid, TestSet, join_tests
from astro_dist.flare.references import Pair, find_half
from astro_dist.metrics.classification import Scores, score
from astro_dist.metrics.gains import Gain, contrast, correct_family, exchange_rate, gain

FIGURES = ("accuracy", "f1_macro")
"""Figures whose gains have intervals."""
OUTSIDE, EVERYWHERE = "mean outside", "mean everywhere"
"""Means over the test sets from elsewhere, without and with the run's own."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Scored:
    """Scores of arms on one test set, or on several with equal weights."""

    network: str
    level: str
    test: str
    figure: str
    scores: Mapping[str, Floats]
    groups: Integers

    @property
    def where(self) -> Row:
        """What the scores are of, for a row of a table."""
        return {"network": self.network, "level": self.level, "test": self.test, "figure": self.figure}


def list_scored(grid: Grid, arms: Sequence[str]) -> list[Scored]:
    """Return the scores of all test sets, then the means over those from elsewhere."""
    found = []
    for figure in FIGURES:
        kinds: dict[tuple[str, str], dict[str, TestSet]] = {}
        for (network, level, test), one in grid.items():
            own = {arm: one.score(arm, figure) for arm in arms if arm in one.predicted}
            found.append(Scored(network, level, test, figure, own, one.group))
            kinds.setdefault((network, level), {})[test] = one
        for (network, level), tests in kinds.items():
            outside = [one for test, one in tests.items() if test != OWN_TEST]
            means = {OUTSIDE: outside, EVERYWHERE: list(tests.values())} if outside else {}
            for name, parts in means.items():
                present = [arm for arm in arms if all(arm in part.predicted for part in parts)]
                found.append(Scored(network, level, name, figure, *join_tests(parts, figure, present)))
    return found


def tabulate_scores(grid: Grid, arms: Sequence[str]) -> list[Row]:
    """Return a row for every set, network, level and test set: means over seeds, and their intervals."""
    rows = []
    for (network, level, test), one in grid.items():
        for arm in (arm for arm in arms if arm in one.predicted):
            counts_SCC = one.confusions(arm)
            each = [asdict(score(counts)) for counts in counts_SCC]
            means = {name: float(np.mean([s[name] for s in each])) for name in Scores.__dataclass_fields__}
            intervals = {}
            for figure in FIGURES:
                found = contrast([one.score(arm, figure)], [1.0], one.group)
                intervals[figure] = [found.low, found.high]
            row = {"arm": arm, "network": network, "level": level, "test": test, "seeds": len(each)}
            sizes = {"pictures": len(one.label), "groups": len(np.unique(one.group))}
            by_seed = [s["accuracy"] for s in each]
            confusion = counts_SCC.sum(axis=0).tolist()
            rows.append({**row, **sizes, **means, "intervals": intervals, "by_seed": by_seed})
            rows[-1]["confusion"] = confusion
    return rows


def tabulate_gains(scored: Sequence[Scored], pairs: Sequence[Pair]) -> list[Row]:
    """Return a row for every comparison; one family is all comparisons of one figure on one test set."""
    found: dict[str, tuple[Row, Gain]] = {}
    for one in scored:
        for pair in pairs:
            if pair.arm in one.scores and pair.reference in one.scores:
                own = gain(one.scores[pair.arm], one.scores[pair.reference], one.groups)
                found[str(len(found))] = {**asdict(pair), **one.where}, own
    families: dict[tuple[str, str], dict[str, Gain]] = {}
    for key, (row, own) in found.items():
        families.setdefault((row["test"], row["figure"]), {})[key] = own
    corrected = {key: g for family in families.values() for key, g in correct_family(family).items()}
    return [
        {**row, **asdict(g), "verdict": g.verdict, "detectable": g.detectable}
        for row, g in ((found[key][0], corrected[key]) for key in found)
    ]


def tabulate_headroom(scored: Sequence[Scored], pairs: Sequence[Pair], combine: CombineConfig) -> list[Row]:
    """Return a row for every reference that another set has half of the real pictures of."""
    rows = []
    for one in scored:
        for reference in dict.fromkeys(pair.reference for pair in pairs):
            half = find_half(combine, reference)
            if half is not None and {half, reference} <= one.scores.keys():
                own = gain(one.scores[reference], one.scores[half], one.groups)
                rows.append({"reference": reference, "half": half, **one.where, **asdict(own)})
    return rows


def tabulate_exchange(
    scored: Sequence[Scored], pairs: Sequence[Pair], combine: CombineConfig, real: Mapping[str, int]
) -> list[Row]:
    """Return how many further real pictures give each gain, where there is a set with half of them.

    Parameters
    ----------
    real
        Number of real pictures in each set.
    """
    rows = []
    for one in scored:
        for pair in pairs:
            half_arm = find_half(combine, pair.reference)
            if half_arm is not None and {pair.arm, pair.reference, half_arm} <= one.scores.keys():
                mixed, whole, half = (one.scores[arm] for arm in (pair.arm, pair.reference, half_arm))
                rate = exchange_rate(mixed, whole, half, one.groups, real[pair.reference])
                rows.append({**asdict(pair), **one.where, **asdict(rate), "says": rate.says})
    return rows


def to_json(value: Any) -> Any:
    """Return a value with seven digits of floats, None for NaN and ``"beyond"`` for infinity."""
    if isinstance(value, Mapping):
        return {str(key): to_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(each) for each in value]
    if isinstance(value, float):
        if math.isinf(value):
            return "beyond"
        return None if math.isnan(value) else float(f"{value:.7g}")
    return value
