"""Scores of a classifier on test pictures: accuracy, F1, precision, recall, and the confusion matrix.

F1, precision and recall of several classes are averaged in two ways. *Macro* averages count each class once;
*weighted* ones count each class as often as it occurs, so that weighted recall is the accuracy. A class that
is never predicted has precision 0 and F1 0, as in scikit-learn with ``zero_division=0``. Classes that neither
occur nor are predicted are left out of macro averages.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Floats, Integers

AnyInteger = NDArray[np.integer]


def confusion(labels_N: AnyInteger, predicted_N: AnyInteger, n_classes: int) -> Integers:
    """Return the number of pictures of each true (row) and predicted (column) class, (C, C).

    Raises
    ------
    ValueError
        A class lies outside ``range(n_classes)``.
    """
    labels, predicted = np.asarray(labels_N, np.int64), np.asarray(predicted_N, np.int64)
    for classes in (labels, predicted):
        if classes.size and not 0 <= classes.min() <= classes.max() < n_classes:
            raise ValueError(f"class {classes.max()} or {classes.min()} where there are {n_classes}")
    counts = np.bincount(labels * n_classes + predicted, minlength=n_classes**2)
    return counts.reshape(n_classes, n_classes)


@dataclass(frozen=True)
class Scores:
    """The figures of one confusion matrix, each between 0 and 1; NaN without a test picture."""

    accuracy: float
    f1_macro: float
    precision_macro: float
    recall_macro: float
    f1_weighted: float
    precision_weighted: float
    recall_weighted: float


def score(counts_CC: Integers) -> Scores:
    """Return the figures of a confusion matrix (true class in rows)."""
    counts = np.asarray(counts_CC, np.float64)
    right, true, predicted = np.diagonal(counts), counts.sum(axis=1), counts.sum(axis=0)
    if not counts.sum():
        return Scores(*[float("nan")] * 7)
    by_class = np.stack([_share(2 * right, true + predicted), _share(right, predicted), _share(right, true)])
    macro = by_class[:, true + predicted > 0].mean(axis=1)
    weighted = by_class @ true / true.sum()
    return Scores(float(right.sum() / counts.sum()), *map(float, macro), *map(float, weighted))


def f1_scores(labels_N: AnyInteger, predicted_N: AnyInteger, n_classes: int) -> Floats:
    """Return a score of each picture, (N,), whose mean is the macro F1.

    F1 is no mean over pictures. Its linear approximation about the data at hand is one: F1 itself plus the
    influence of each picture (Hampel 1974), which is how far F1 changes with the picture's weight. So the
    variances of `astro_dist.metrics.gains` apply to F1 as well.
    """
    counts = confusion(labels_N, predicted_N, n_classes)
    sizes = (counts.sum(axis=1) + counts.sum(axis=0)).astype(np.float64)
    present = sizes > 0
    f1 = _share(2.0 * np.diag(counts), sizes)
    # F1 = 2 TP / (true + predicted): the derivative of the numerator, less F1 times that of the denominator.
    per_picture = _share(np.ones(n_classes), sizes) * len(labels_N) / present.sum()
    labels, predicted = np.asarray(labels_N), np.asarray(predicted_N)
    influence = 2.0 * (labels == predicted) * per_picture[labels]
    influence -= (f1 * per_picture)[labels] + (f1 * per_picture)[predicted]
    return np.asarray(f1[present].mean() + influence)


def _share(part: NDArray[np.floating], whole: NDArray[np.floating]) -> Floats:
    """Return part / whole, 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
