"""Run lengths and average precision beside pycocotools, the program that COCO's files are for."""

import contextlib
import io
import warnings

import numpy as np
import pytest

from astro_dist.challenge.annotations import Annotations
from astro_dist.challenge.labels import LabelledPixels
from astro_dist.challenge.segmentation import measure_segmentation
from astro_dist.sky.coco import encode_runs, fill_segmentation
from astro_dist.sky.windows import Window

SHAPE = (90, 110)


@pytest.fixture(scope="module")
def tools():
    try:
        from pycocotools import coco, cocoeval, mask
    except ImportError:
        pytest.skip("pycocotools is not installed; pip install -e '.[interop]'")
    return {"mask": mask, "COCO": coco.COCO, "COCOeval": cocoeval.COCOeval}


def masks(rng):
    """Yield empty, full, single and random masks."""
    yield np.zeros(SHAPE, np.uint8)
    yield np.ones(SHAPE, np.uint8)
    for place in ((0, 0), (-1, -1), (0, -1), (45, 50)):
        one = np.zeros(SHAPE, np.uint8)
        one[place] = 1
        yield one
    for share in (0.001, 0.05, 0.5, 0.97):
        yield (rng.random(SHAPE) < share).astype(np.uint8)


def runs_of(image):
    x, y = np.nonzero(image.T)
    return {"size": list(image.shape), "counts": encode_runs(x * image.shape[0] + y, image.size)}


def test_run_lengths_are_those_of_pycocotools(tools):
    for image in masks(np.random.default_rng(2)):
        theirs = tools["mask"].encode(np.asfortranarray(image))
        assert runs_of(image)["counts"] == theirs["counts"].decode()
        # It knows nothing of numpy 2's way to copy.
        with warnings.catch_warnings(action="ignore"):
            assert np.array_equal(tools["mask"].decode(runs_of(image)), image)


def test_run_lengths_come_back():
    for image in masks(np.random.default_rng(3)):
        spots = fill_segmentation(runs_of(image), SHAPE)
        back = np.zeros(SHAPE, np.uint8)
        back[spots.y, spots.x] = 1
        assert np.array_equal(back, image)


def draw(rng, n, shifts):
    """Return instances of blobs, moved by up to some pixels."""
    instances = np.zeros(SHAPE, np.int32)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    for i in range(n):
        cy, cx = 8 + 16 * (i // 6), 9 + 18 * (i % 6)
        dy, dx = rng.integers(-shifts, shifts + 1, 2)
        instances[(y - cy - dy) ** 2 + (x - cx - dx) ** 2 < (3 + i % 4) ** 2] = i + 1
    return instances


def test_average_precision_is_that_of_pycocotools(tools):
    rng = np.random.default_rng(4)
    classes = {i + 1: 2 + i % 2 for i in range(30)}
    true, found = draw(rng, 30, 0), draw(rng, 28, 2)
    documents, labels = [], []
    for instances in (true, found):
        made = Annotations(classes)
        kinds = np.array([0, *classes.values()], np.uint8)
        made.add(Window.of_shape(SHAPE), kinds[instances], instances)
        documents.append(made.document("test"))
    scores = rng.permutation(len(documents[1]["annotations"])) / 100
    for one, score in zip(documents[1]["annotations"], scores, strict=True):
        one["score"] = float(score)
    for instances, document in zip((true, found), documents, strict=True):
        flat = np.flatnonzero(instances)
        numbers = [one["object"] for one in document["annotations"]]
        owner = np.array([numbers.index(n) for n in instances.ravel()[flat]])
        kind = np.array([one["category_id"] for one in document["annotations"]], np.uint8)
        sure = np.array([one.get("score", 0.0) for one in document["annotations"]])
        labels.append(LabelledPixels(flat, owner, kind, sure))
    ours = measure_segmentation(labels[1], labels[0])
    with contextlib.redirect_stdout(io.StringIO()):
        coco = tools["COCO"]()
        coco.dataset = documents[0]
        coco.createIndex()
        results = coco.loadRes(documents[1]["annotations"])
        evaluation = tools["COCOeval"](coco, results, "segm")
        evaluation.params.catIds = [2, 3]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert 0.1 < ours["mean"]["ap"] < 0.95
    for name, value in zip(("ap", "ap50", "ap75"), evaluation.stats[:3], strict=True):
        assert ours["mean"][name] == pytest.approx(value, abs=1e-9), name
