import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from astro_dist.generate.masks import MaskDrawer
from astro_dist.models.denoiser import load_scheduler
from astro_dist.models.masks import (
    count_objects,
    encode_mask_condition,
    fold,
    from_planes,
    load_mask_denoiser,
    mask_noise_shape,
)
from astro_dist.radio.config import MasksTrainingConfig
from astro_dist.radio.masks import MaskData, MasksObjective
from astro_dist.radio.trainings import MASKS
from astro_dist.train import loop

CONFIG = MasksTrainingConfig(crop_pix=32)
WHOLE = MasksTrainingConfig(crop_pix=48)


def paint_rare_classes(reader):
    """Two dots in every cutout, a disc in one of them, and a streak in another."""
    y, x = np.mgrid[:48, :48]
    mask, instances = reader.arrays["mask"], reader.arrays["instances"]
    mask[:], instances[:] = 0, 0
    shapes = [(2, (y - 10) ** 2 + (x - cx) ** 2 < 25) for cx in (10, 36)]
    for i in range(reader.count):
        rare = {
            0: [(3, (y - 32) ** 2 + (x - 24) ** 2 < 120)],
            1: [(1, (abs(y - 30) < 3) & (abs(x - 24) < 16))],
        }
        for number, (source_class, inside) in enumerate(shapes + rare.get(i, []), start=1):
            mask[i][inside], instances[i][inside] = source_class, number


@pytest.fixture
def data(reader):
    return MaskData(reader, CONFIG, (1, "masks"))


def test_a_sample_belongs_to_its_index(data):
    whole, part = data.batch(0, 8), data.batch(5, 3)
    for name in ("planes_BKSS", "condition_BT", "noise_BChw", "time_B"):
        assert np.array_equal(getattr(whole, name)[5:], getattr(part, name))


def test_conditions_are_the_counts_of_the_planes(data):
    batch = data.batch(0, 16)
    counts = np.array([count_objects(*from_planes(planes, 1)) for planes in batch.planes_BKSS])
    assert np.array_equal(batch.condition_BT[:, :3], np.log2(1 + counts).astype(np.float32))
    assert {0, 1, 2} == set(counts[:, 1])
    assert np.array_equal(batch.condition_BT[:, 3:], np.tile(data.facts[0], (16, 1)))


def test_rare_classes_are_shown_as_often_as_others(reader):
    paint_rare_classes(reader)
    condition_BT = MaskData(reader, WHOLE, (1, "masks")).batch(0, 30).condition_BT
    assert ((condition_BT[:, :3] > 0).sum(0) >= 10).all()


def test_the_loss_is_zero_for_the_true_planes_and_counts_most_where_there_is_little_noise(data):
    objective = MasksObjective(CONFIG, "cpu")
    losses = []
    for time in (0.001, 0.5, 0.999):
        batch = replace(data.batch(0, 8), time_B=np.full(8, time, np.float32))
        clean = fold(torch.from_numpy(batch.planes_BKSS))
        assert float(objective.loss(lambda *given, x=clean: x, batch, "cpu")[0]) == 0
        losses.append(float(objective.loss(lambda *given, x=clean: x + 0.1, batch, "cpu")[0]))
    assert losses == sorted(losses, reverse=True)
    assert losses[0] == pytest.approx(20 * losses[-1], rel=1e-3)


def test_the_stage_trains_and_publishes(toy_cell):
    cell = toy_cell("masks", steps=40, lr=3e-3)
    facts = loop.train(cell)
    curve = (cell.run.root / "logs/masks.curve.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in curve]
    assert losses[-1] < losses[0]
    assert MASKS.finish(cell.run, {"train": facts})["steps"] == 40
    assert load_mask_denoiser(cell.output).config.unet["block_out_channels"]
    assert load_scheduler(cell.output).config.prediction_type == "sample"
    assert "load_mask_denoiser" in (cell.output / "README.md").read_text()


def test_masks_are_drawn_as_conditioned(toy_cell, reader, monkeypatch):
    monkeypatch.setattr(loop, "VALIDATION_SAMPLES", 8)
    paint_rare_classes(reader)
    cell = toy_cell("masks", steps=100, batch_size=8, lr=4e-3, crop_pix=48, ema_decay=0.9)
    loop.train(cell)
    wanted = np.repeat([[0, 2, 0], [1, 2, 0], [0, 2, 1]], 8, axis=0)
    facts = MaskData(reader, WHOLE, (1, "masks")).facts[:1]
    noise = np.random.default_rng(1).standard_normal((len(wanted), *mask_noise_shape(48)), np.float32)
    drawer = MaskDrawer(cell.output, 10, "cpu", "no")
    planes = drawer.draw(encode_mask_condition(wanted, np.repeat(facts, len(wanted), axis=0)), noise)
    drawn = np.array([count_objects(*from_planes(one)) for one in planes])
    assert ((drawn > 0) == (wanted > 0)).mean(0).min() > 0.8, drawn
