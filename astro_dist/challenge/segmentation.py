"""Figures of segmentation: overlap of classes, panoptic quality, and average precision of objects.

Only scored pixels count, and objects most of whose pixels are scored. Artefacts are a class of pixels but no
objects. IoU and Dice are those of all pixels of a class together. Panoptic quality is by Kirillov et al. 2019
(arXiv:1801.00868), eq. 1: objects of one class match where their IoU is above one half. Average precision is
that of COCO: the mean over IoU from 0.50 to 0.95 of the precision at 101 levels of recall, with no limit to
the number of objects.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.challenge.labels import LabelledPixels
from astro_dist.engine.arrays import Floats, Integers
from astro_dist.sky.classes import CLASS_NAMES, SourceClass

OBJECTS = (SourceClass.COMPACT, SourceClass.EXTENDED)
THRESHOLDS = np.round(np.arange(0.5, 1.0, 0.05), 2)
RECALLS = np.linspace(0, 1, 101)


def measure_segmentation(found: LabelledPixels, truth: LabelledPixels) -> dict[str, Any]:
    """Return the figures as plain numbers, None where there is nothing to compare."""
    classes = {
        name: _overlap(found.of_class(k), truth.of_class(k)) for k, name in enumerate(CLASS_NAMES) if k
    }
    pixels = [one.flat[np.isin(one.classes[one.owner], OBJECTS)] for one in (found, truth)]
    classes["any_source"] = _overlap(*(np.unique(some) for some in pixels))
    objects = {}
    for kind in OBJECTS:
        pairs = overlap_objects(found, truth, kind)
        objects[CLASS_NAMES[kind]] = {**panoptic(pairs), **precisions(pairs)}
    means = ("pq", "ap", "ap50", "ap75")
    known = {name: [one[name] for one in objects.values() if one[name] is not None] for name in means}
    mean = {name: float(np.mean(some)) if some else None for name, some in known.items()}
    return {"pixels": classes, "objects": objects, "mean": mean}


def _overlap(found: Integers, truth: Integers) -> dict[str, Any]:
    both = len(np.intersect1d(found, truth, assume_unique=True))
    either, total = len(found) + len(truth) - both, len(found) + len(truth)
    iou, dice = (
        round(part / whole, 9) if whole else None for part, whole in ((both, either), (2 * both, total))
    )
    return {"iou": iou, "dice": dice, "found_pix": len(found), "true_pix": len(truth), "both_pix": both}


class Overlaps:
    """The pairs of objects of one class that share pixels, by rising number of the found one.

    Attributes
    ----------
    n_found, n_true
        Numbers of objects.
    found, true
        Of each pair.
    iou
        Of each pair.
    scores
        Of each found object.
    """

    def __init__(
        self, n_found: int, n_true: int, found: Integers, true: Integers, iou: Floats, scores: Floats
    ) -> None:
        self.n_found, self.n_true, self.found, self.true = n_found, n_true, found, true
        self.iou, self.scores = iou, scores


def overlap_objects(found: LabelledPixels, truth: LabelledPixels, kind: int) -> Overlaps:
    """Return the overlaps of the objects of a class."""
    (one, n_one, rows), (other, n_other, _) = (_objects(labels, kind) for labels in (found, truth))
    order = np.argsort(other[0], kind="stable")
    flat, owner = other[0][order], other[1][order]
    # A pixel of the truth has one object; a found one may have several.
    place = np.searchsorted(flat, one[0])
    hit = place < len(flat)
    hit[hit] = flat[place[hit]] == one[0][hit]
    pairs, counts = np.unique(one[1][hit] * max(1, n_other) + owner[place[hit]], return_counts=True)
    a, b = pairs // max(1, n_other), pairs % max(1, n_other)
    sizes = np.bincount(one[1], minlength=n_one), np.bincount(owner, minlength=n_other)
    iou = counts / (sizes[0][a] + sizes[1][b] - counts)
    return Overlaps(n_one, n_other, a, b, iou, found.scores[rows])


def _objects(labels: LabelledPixels, kind: int) -> tuple[tuple[Integers, Integers], int, Integers]:
    counts = True if labels.counts is None else labels.counts
    rows = np.flatnonzero((labels.classes == kind) & counts)
    new = np.full(len(labels.classes), -1, np.int64)
    new[rows] = np.arange(len(rows))
    inside = new[labels.owner] >= 0
    return (labels.flat[inside], new[labels.owner[inside]]), len(rows), rows


def panoptic(pairs: Overlaps) -> dict[str, Any]:
    """Return panoptic quality, and its two factors: how well matched objects overlap, and how many match."""
    good = np.flatnonzero(pairs.iou > 0.5)
    good = good[np.lexsort((pairs.true[good], pairs.found[good], -pairs.iou[good]))]
    taken, used, total, n = set(), set(), 0.0, 0
    for pair in good.tolist():
        one, other = int(pairs.found[pair]), int(pairs.true[pair])
        if one not in used and other not in taken:
            used.add(one)
            taken.add(other)
            total, n = total + float(pairs.iou[pair]), n + 1
    weight = n + (pairs.n_found - n) / 2 + (pairs.n_true - n) / 2
    return {
        "pq": total / weight if weight else None,
        "sq": total / n if n else None,
        "rq": n / weight if weight else None,
        **{"matched": n, "found": pairs.n_found, "true": pairs.n_true},
    }


def precisions(pairs: Overlaps) -> dict[str, Any]:
    """Return the mean average precision and those at an IoU of 0.50 and 0.75."""
    if not pairs.n_true:
        return {"ap": None, "ap50": None, "ap75": None}
    each = {float(t): _average_precision(pairs, float(t)) for t in THRESHOLDS}
    return {"ap": float(np.mean([*each.values()])), "ap50": each[0.5], "ap75": each[0.75]}


def _average_precision(pairs: Overlaps, threshold: float) -> float:
    right = _match_by_score(pairs, threshold)
    if not len(right):
        return 0.0
    hits = np.cumsum(right)
    recall, precision = hits / pairs.n_true, hits / np.arange(1, len(right) + 1)
    # At every recall the best precision at that recall or beyond it.
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    place = np.searchsorted(recall, RECALLS, side="left")
    return float(np.where(place < len(right), precision[np.minimum(place, len(right) - 1)], 0).mean())


def _match_by_score(pairs: Overlaps, threshold: float) -> NDArray[np.bool_]:
    """Return which found objects, the surest first, take a true one of at least this IoU."""
    good = np.flatnonzero(pairs.iou >= threshold)
    rank = np.empty(pairs.n_found, np.int64)
    # Equal scores: the one that is handed in first.
    rank[np.argsort(-pairs.scores, kind="stable")] = np.arange(pairs.n_found)
    good = good[np.lexsort((-pairs.iou[good], rank[pairs.found[good]]))]
    right, taken = np.zeros(pairs.n_found, bool), set()
    for pair in good.tolist():
        place, true = rank[pairs.found[pair]], int(pairs.true[pair])
        if not right[place] and true not in taken:
            right[place] = True
            taken.add(true)
    return right
