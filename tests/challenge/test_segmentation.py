"""Figures of masks: perfect ones, small ones computed by hand, and COCO's against pycocotools elsewhere."""

import json

import numpy as np
import pytest
from astropy.io import fits

from astro_dist.challenge.annotations import Annotations, cut_tiles
from astro_dist.challenge.labels import LabelledPixels, is_labels
from astro_dist.challenge.score import Options
from astro_dist.challenge.segmentation import measure_segmentation
from astro_dist.challenge.validate import validate_file
from astro_dist.engine.errors import ConfigError
from astro_dist.sky.windows import Window


def labelled(*objects, scores=None):
    """Pixels of objects, each ``(class, [flat])``."""
    flat = np.concatenate([np.array(pixels, np.int64) for _, pixels in objects])
    owner = np.repeat(np.arange(len(objects)), [len(pixels) for _, pixels in objects])
    sizes = np.array([len(pixels) for _, pixels in objects], float)
    classes = np.array([kind for kind, _ in objects], np.uint8)
    return LabelledPixels(flat, owner, classes, sizes if scores is None else np.array(scores, float))


def test_the_hidden_masks_score_one(judge, folder):
    hidden = folder / "hidden"
    for figures in (
        judge.score(hidden / "mask.fits", Options(hidden / "instances.fits"))["segmentation"],
        judge.score(hidden / "coco.json")["segmentation"],
    ):
        for name in ("compact", "extended", "any_source"):
            assert figures["pixels"][name]["iou"] == figures["pixels"][name]["dice"] == 1
        for name in ("compact", "extended"):
            one = figures["objects"][name]
            assert (one["pq"], one["sq"], one["rq"], one["ap"]) == (1, 1, 1, 1)
            assert one["matched"] == one["true"] > 3
        json.dumps(figures, allow_nan=False)


def test_a_mask_alone_has_the_right_pixels_and_connected_objects(judge, folder):
    figures = judge.score(folder / "hidden/mask.fits")["segmentation"]
    assert figures["pixels"]["any_source"]["iou"] == 1
    # Sources that touch are one object here, and several in the truth.
    assert figures["objects"]["compact"]["found"] <= figures["objects"]["compact"]["true"]


def test_figures_of_a_small_case_are_those_computed_by_hand():
    truth = labelled((2, range(10)), (2, range(20, 30)), (3, range(40, 60)))
    # The first with an IoU of 8/12, the second below one half, one false, and one of the other class.
    found = labelled((2, range(2, 12)), (2, range(26, 36)), (2, range(70, 75)), (2, range(40, 60)))
    figures = measure_segmentation(found, truth)
    compact, extended = figures["objects"]["compact"], figures["objects"]["extended"]
    assert (compact["matched"], compact["found"], compact["true"]) == (1, 4, 2)
    assert compact["sq"] == pytest.approx(8 / 12)
    assert compact["pq"] == pytest.approx((8 / 12) / (1 + 3 / 2 + 1 / 2))
    assert extended["pq"] == 0
    assert extended["ap"] == 0
    pixels = figures["pixels"]["compact"]
    assert (pixels["both_pix"], pixels["found_pix"], pixels["true_pix"]) == (12, 45, 20)
    assert pixels["iou"] == pytest.approx(12 / 53)
    assert pixels["dice"] == pytest.approx(24 / 65)
    assert figures["pixels"]["any_source"]["both_pix"] == 32
    assert figures["pixels"]["spurious"]["iou"] is None


def test_average_precision_ranks_by_score():
    truth = labelled((2, range(10)), (2, range(20, 30)))
    objects = (2, range(10)), (2, range(100, 110)), (2, range(20, 30))
    sure = measure_segmentation(labelled(*objects, scores=[3, 1, 2]), truth)["objects"]["compact"]
    unsure = measure_segmentation(labelled(*objects, scores=[3, 2, 1]), truth)["objects"]["compact"]
    assert sure["ap"] == pytest.approx(1)
    # Recall up to one half at a precision of 1, beyond it at 2/3.
    assert unsure["ap"] == pytest.approx((51 * 1 + 50 * 2 / 3) / 101)


def test_empty_masks_are_no_error():
    nothing = LabelledPixels(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.uint8), np.zeros(0))
    truth = labelled((2, range(5)))
    figures = measure_segmentation(nothing, truth)
    assert figures["objects"]["compact"]["pq"] == 0
    assert figures["objects"]["extended"]["pq"] is None
    assert measure_segmentation(nothing, nothing)["mean"] == dict.fromkeys(("pq", "ap", "ap50", "ap75"))


def test_objects_mostly_outside_of_the_scored_part_are_left_out():
    one = labelled((2, range(10)), (3, range(10, 20)))
    inner = one.within(np.array([True] * 6 + [False] * 4 + [True] * 5 + [False] * 5))
    assert inner.counts.tolist() == [True, False]
    assert inner.of_class(3).tolist() == [10, 11, 12, 13, 14]
    figures = measure_segmentation(inner, inner)
    assert (figures["objects"]["compact"]["pq"], figures["objects"]["extended"]["pq"]) == (1, None)
    assert figures["pixels"]["extended"]["true_pix"] == 5


def test_objects_across_tiles_are_one_with_their_number(judge, folder, tmp_path):
    about = json.loads((folder / "hidden/coco.json").read_text())
    parts = [one for one in about["annotations"] if one["object"]]
    assert len(parts) > len({one["object"] for one in parts})
    for one in about["annotations"]:
        one["object"] = 0
    (tmp_path / "cut.json").write_text(json.dumps(about))
    cut = judge.score(tmp_path / "cut.json")["segmentation"]
    assert cut["pixels"]["any_source"]["iou"] == 1
    assert sum(one["found"] for one in cut["objects"].values()) > len({one["object"] for one in parts}) / 2
    assert cut["mean"]["pq"] < 1


def test_annotations_give_back_the_pixels_of_their_tiles(judge, tmp_path):
    rng = np.random.default_rng(6)
    shape = judge.about.shape
    instances = np.kron(rng.integers(0, 4, (50, 46)), np.ones((8, 10), int)).astype(np.int32)
    assert instances.shape == shape
    mask = np.array([0, 2, 3, 2], np.uint8)[instances]
    mask[:30, :30], instances[:30, :30] = 1, 0
    made = Annotations({1: 2, 2: 3, 3: 2})
    for tile in cut_tiles(Window.of_shape(shape), 64):
        made.add(tile, mask[tile.slices], instances[tile.slices])
    path = tmp_path / "c.json"
    path.write_text(json.dumps(made.document("test")))
    read = LabelledPixels.of_coco(path, judge.about)
    for kind in (1, 2, 3):
        assert np.array_equal(read.of_class(kind), np.flatnonzero(mask.ravel() == kind))
    assert sum(one["area"] for one in made.annotations) == np.count_nonzero(mask)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image_id": 99}, "annotation 1 has an image or a category that is not listed"),
        ({"segmentation": None}, "annotation 1: it has no segmentation"),
        (
            {"segmentation": {"size": [4, 4], "counts": "11"}},
            r"annotation 1: its runs are of an image of \[4, 4\]",
        ),
        ({"category_id": "x"}, "annotation 1 has an image or a category"),
    ],
)
def test_bad_coco_is_one_line(judge, tmp_path, change, said):
    about = {
        "images": [{"id": 1, "y0": 0, "x0": 0, "height": 8, "width": 8}],
        "categories": [{"id": 2, "name": "compact"}],
        "annotations": [{"image_id": 1, "category_id": 2, "segmentation": [[0, 0, 3, 0, 3, 3]], **change}],
    }
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(about))
    with pytest.raises(ConfigError, match=said):
        LabelledPixels.of_coco(path, judge.about)
    about["images"][0] |= {"y0": 10**6}
    path.write_text(json.dumps(about))
    with pytest.raises(ConfigError, match="is no tile of the field"):
        LabelledPixels.of_coco(path, judge.about)
    path.write_text("[1]")
    with pytest.raises(ConfigError, match="a JSON mapping is needed"):
        LabelledPixels.of_coco(path, judge.about)
    path.write_text("{}")
    with pytest.raises(ConfigError, match="not as COCO has it"):
        LabelledPixels.of_coco(path, judge.about)


def test_a_mask_of_another_size_or_with_other_labels_is_refused(judge, tmp_path):
    path = tmp_path / "m.fits"
    fits.PrimaryHDU(np.zeros((10, 10), np.uint8)).writeto(path)
    assert is_labels(path)
    with pytest.raises(ConfigError, match="10 x 10 pixels, the field 400 x 460; label every pixel"):
        judge.score(path)
    fits.PrimaryHDU(np.full(judge.about.shape, 9, np.uint8)).writeto(path, overwrite=True)
    # There is no setting that would name it.
    said = "label 9; known are 0 background, .* 3 extended: write one of spurious, compact, extended$"
    with pytest.raises(ConfigError, match=said):
        judge.score(path)


def test_a_mask_of_nothing_but_ones_is_refused(judge, folder, tmp_path):
    """Ones are artefacts here: a mask of sources and the rest would score nothing and say nothing."""
    found, path = fits.getdata(folder / "hidden/mask.fits"), tmp_path / "binary.fits"
    for kind in (np.uint8, np.float32):
        fits.PrimaryHDU((found > 0).astype(kind)).writeto(path, overwrite=True)
        with pytest.raises(ConfigError, match=r"binary\.fits has no label but 1, .*; write 2"):
            judge.score(path)
    faults, _ = validate_file(path, judge.about, judge.field)
    assert next(faults.lines()).startswith("the file: ")
    # As the line says: sources whose class is not known are compact ones.
    fits.PrimaryHDU(2 * (found > 1).astype(np.uint8)).writeto(path, overwrite=True)
    assert judge.score(path)["segmentation"]["pixels"]["any_source"]["iou"] == 1
