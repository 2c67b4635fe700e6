"""The predictions of all cells of a grid, as scores of arms on the same test pictures."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from astro_dist.engine.arrays import Floats, Integers
from astro_dist.engine.errors import IntegrityError
from astro_dist.metrics.classification import confusion, f1_scores
from astro_dist.sky.tables import read_table_file

PREDICTIONS = "predictions.parquet"


class CellName(NamedTuple):
    """The parts of the name of a cell: set, network, level of the classes, seed."""

    arm: str
    network: str
    level: str
    seed: int

    @classmethod
    def parse(cls, name: str) -> "CellName":
        """Return the parts of ``ARM__NETWORK__LEVEL__sSEED``."""
        arm, network, level, seed = name.split("__")
        return cls(arm, network, level, int(seed.removeprefix("s")))


@dataclass(frozen=True)
class TestSet:
    """The pictures of a test set at one level of classes, and what the networks of one kind made of them.

    Attributes
    ----------
    index, group, label
        (N,) position, group of near-duplicates, class.
    classes
        Number of classes.
    predicted
        Most probable class (S, N) by arm, a row for each seed.
    """

    # pytest would take the class for a test.
    __test__ = False
    index: Integers
    group: Integers
    label: Integers
    classes: int
    predicted: Mapping[str, Integers]

    def score(self, arm: str, figure: str) -> Floats:
        """Return a score (S, N) for each seed and picture, whose mean is accuracy or macro F1."""
        predicted_SN = self.predicted[arm]
        if figure == "accuracy":
            return (predicted_SN == self.label).astype(np.float64)
        return np.stack([f1_scores(self.label, row, self.classes) for row in predicted_SN])

    def confusions(self, arm: str) -> Integers:
        """Return the confusion matrix of each seed, (S, K, K)."""
        return np.stack([confusion(self.label, row, self.classes) for row in self.predicted[arm]])


Grid = dict[tuple[str, str, str], TestSet]
"""Test sets by network, level and name of the test set."""


def read_grid(folder: Path, cells: list[str]) -> Grid:
    """Return all predictions of a grid.

    Parameters
    ----------
    folder
        The product ``classifiers``.
    cells
        Names of the cells.

    Raises
    ------
    IntegrityError
        A file is damaged, or cells of one network and level were tested on other pictures.
    """
    found: dict[tuple[str, str, str], list[tuple[CellName, TestSet]]] = {}
    for name in sorted(cells, key=lambda text: CellName.parse(text)[::-1]):
        cell = CellName.parse(name)
        for test, one in _read_cell(folder / name / PREDICTIONS, cell.arm).items():
            found.setdefault((cell.network, cell.level, test), []).append((cell, one))
    return {key: _join(folder, parts) for key, parts in found.items()}


def _read_cell(path: Path, arm: str) -> dict[str, TestSet]:
    table = read_table_file(path).combine_chunks()
    names = np.array(table["test"].to_pylist(), str)
    lists = table["probabilities"].combine_chunks()
    offsets, values = lists.offsets.to_numpy(), lists.values.to_numpy()
    columns = {name: table[name].to_numpy().astype(np.int64) for name in ("index", "group", "label")}
    tests = {}
    # In the order of the file, where the run's own test pictures come first.
    for test in dict.fromkeys(names.tolist()):
        rows = np.flatnonzero(names == test)
        classes = int(offsets[rows[0] + 1] - offsets[rows[0]])
        probabilities_NK = values[offsets[rows[0]] : offsets[rows[-1] + 1]].reshape(len(rows), classes)
        own = {name: column[rows] for name, column in columns.items()}
        tests[test] = TestSet(**own, classes=classes, predicted={arm: probabilities_NK.argmax(1)[None]})
    return tests


def _join(folder: Path, parts: list[tuple[CellName, TestSet]]) -> TestSet:
    first, rows = parts[0][1], dict[str, list[Integers]]()
    for cell, one in parts:
        same = (np.array_equal(getattr(one, k), getattr(first, k)) for k in ("index", "group", "label"))
        if not all(same) or one.classes != first.classes:
            raise IntegrityError(
                f"{folder}: the cells {'__'.join(map(str, parts[0][0][:3]))} and "
                f"{'__'.join(map(str, cell[:3]))} were tested on other pictures; `--redo classify`"
            )
        rows.setdefault(cell.arm, []).append(one.predicted[cell.arm][0])
    predicted = {arm: np.stack(seeds) for arm, seeds in rows.items()}
    return TestSet(first.index, first.group, first.label, first.classes, predicted)


def join_tests(tests: list[TestSet], figure: str, arms: list[str]) -> tuple[dict[str, Floats], Integers]:
    """Return scores by arm and groups of several test sets, such that each set has the same weight.

    The mean of the scores is then the mean of the sets' own means, whatever their sizes.
    """
    total = sum(len(test.label) for test in tests)
    weights = [total / (len(tests) * len(test.label)) for test in tests]
    scores = {
        arm: np.concatenate([w * t.score(arm, figure) for w, t in zip(weights, tests, strict=True)], axis=1)
        for arm in arms
    }
    groups, first = [], 0
    for test in tests:
        own = np.unique(test.group, return_inverse=True)[1].ravel()
        groups.append(first + own)
        first += int(own.max()) + 1
    return scores, np.concatenate(groups)
