"""Masks of the mask model, each a function of the stamp's index."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits

from astro_dist.engine.ledger import Published
from astro_dist.engine.manifest import write_config
from astro_dist.engine.work import for_stage
from astro_dist.generate.conditions import Choice
from astro_dist.generate.config import MasksConfig
from astro_dist.generate.masks import join_pieces
from astro_dist.generate.stage import GENERATE
from astro_dist.generate.stamps import StampMaker
from astro_dist.models.masks import build_mask_denoiser, build_mask_scheduler, count_objects
from astro_dist.radio.pipeline import RADIO, RadioConfig
from tests.generate import small_run
from tests.generate.test_determinism import STAMPS, regroup

ROOT = Path(__file__).parents[2]
MODEL = {"model": True, "steps": 3}


@pytest.fixture
def maker(root):
    torch.manual_seed(6)
    folder = root / "models" / "masks"
    network = build_mask_denoiser("tiny")
    # An untrained model draws empty masks. Random biases lift some planes over the edge of an object.
    torch.nn.init.normal_(network.drawer.conv_out.bias, std=2)
    network.save_pretrained(folder)
    build_mask_scheduler().save_pretrained(folder / "scheduler")
    return StampMaker(for_stage(small_run.make_runner(root, masks=MODEL).run, GENERATE, "f" * 64))


def test_a_drawn_mask_belongs_to_its_stamp(maker):
    drawn = maker.draw(range(4))
    assert drawn.mask.any()
    assert not np.array_equal(drawn.mask[0], drawn.mask[1])
    stored = maker.reader.read("mask", [choice.donor for choice in drawn.choices])
    assert not any(np.array_equal(a, b) for a, b in zip(drawn.mask, stored, strict=True))
    regroup(maker, [maker.draw([i]) for i in range(STAMPS)], np.random.default_rng(2))


def test_objects_have_one_class_and_one_brightness(maker):
    choices = [maker.source.choose(i) for i in range(4)]
    mask, instances, peak = maker.source.masks.read(range(4), choices)
    for one, numbers, bright in zip(mask, instances, peak, strict=True):
        assert ((numbers > 0) == (one > 0)).all()
        assert ((bright > 0) == (one > 0)).all()
        for number in range(1, numbers.max() + 1):
            assert len(np.unique(one[numbers == number])) == 1
            assert len(np.unique(bright[numbers == number])) == 1


def test_the_condition_holds_the_donors_numbers_of_objects(maker, monkeypatch):
    conditions = []
    source = maker.source.masks
    shown = lambda given, noise: conditions.append(given) or -np.ones((len(given), 3, 64, 64), np.float32)  # noqa: E731
    monkeypatch.setattr(source.drawer, "draw", shown)
    donors = [int(maker.donors.pools[name][0]) for name in ("compact", "extended")]
    mask, _, peak = source.read([0, 1], [Choice(donor, 0, 0) for donor in donors])
    pairs = zip(*(maker.reader.read(name, donors) for name in ("mask", "instances")), strict=True)
    counts = [count_objects(*pair) for pair in pairs]
    assert counts[1][2] > counts[0][2] == 0
    assert np.array_equal(conditions[0][:, :3], np.log2(1 + np.array(counts)).astype(np.float32))
    assert not mask.any()
    assert not peak.any()


def test_the_mask_model_is_trained_only_if_it_draws_masks():
    for model in (False, True):
        config = RadioConfig.model_validate({"generate": {"masks": {"model": model}}})
        assert ("masks" in [stage.name for stage in RADIO.choose(config)]) == model


def test_labels_and_a_model_exclude_each_other():
    with pytest.raises(ValueError, match="leave one of the two out"):
        MasksConfig(model=True, labels="labels.fits")


def test_weights_that_were_not_published_are_refused(maker):
    run = maker.run
    run.ledger.publish("masks", Published("f" * 64, {}, "models/masks", {"other": "0"}, {}, True))
    with pytest.raises(Exception, match="models/masks is not what masks published"):
        GENERATE.open(run)


def test_the_recipe_draws_the_masks_of_stamps(maker, tmp_path, monkeypatch):
    settings = {"masks": MODEL, "micro_batch": 4, "accept": small_run.ANYTHING}
    write_config(maker.run.root, RADIO.resolve({"seed": 11, "generate": settings}), print)
    monkeypatch.setattr(sys, "argv", ["", str(maker.run.root), "6", str(tmp_path / "masks.fits")])
    runpy.run_path(str(ROOT / "jobs" / "draw_masks.py"))
    with fits.open(tmp_path / "masks.fits") as hdus:
        classes, objects = (hdu.data for hdu in hdus)
    assert classes.shape == objects.shape == (6, 64, 64)
    assert np.array_equal(classes > 0, objects > 0)
    choices = [maker.source.choose(i) for i in range(4)]
    assert np.array_equal(classes[:4], maker.source.masks.read(range(4), choices)[0])


@pytest.mark.parametrize(("count", "reason"), [("0", "0 masks in"), ("1", "in a new file")])
def test_the_recipe_overwrites_nothing_and_draws_a_mask_at_least(
    tmp_path, monkeypatch, capsys, count, reason
):
    target = tmp_path / "mine.fits"
    target.write_text("mine")
    monkeypatch.setattr(sys, "argv", ["", str(tmp_path), count, str(target)])
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(str(ROOT / "jobs" / "draw_masks.py"))
    assert reason in capsys.readouterr().err
    assert target.read_text() == "mine"


def test_pieces_that_the_model_draws_apart_are_the_objects_that_were_asked_for():
    mask, instances = np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint16)
    # Two lobes, a compact source nearer to one of them than the other lobe, and a third extended piece.
    for number, (kind, y, x) in enumerate(((3, 5, 5), (2, 9, 5), (3, 5, 15), (3, 30, 30)), start=1):
        mask[y : y + 3, x : x + 3], instances[y : y + 3, x : x + 3] = kind, number
    joined = join_pieces(mask, instances, 2)
    assert [joined[y, x] for y, x in ((5, 5), (9, 5), (5, 15), (30, 30))] == [1, 2, 1, 3]
    assert np.array_equal(joined > 0, instances > 0)
    assert np.unique(join_pieces(mask, instances, 1)).tolist() == [0, 1, 2]
    for enough in (0, 3, 7):
        assert np.array_equal(join_pieces(mask, instances, enough), instances)
