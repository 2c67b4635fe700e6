import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from astro_dist.models.denoiser import load_scheduler
from astro_dist.models.masks import fold, from_planes, load_mask_denoiser
from astro_dist.train import loop, stages
from astro_dist.train.config import MasksTrainingConfig
from astro_dist.train.masks import MaskData, MasksObjective

CONFIG = MasksTrainingConfig(crop_pix=32)


@pytest.fixture
def data(reader):
    return MaskData(reader, CONFIG, (1, "masks"), 0)


def test_a_sample_belongs_to_its_index(data):
    whole, part = data.batch(0, 8), data.batch(5, 3)
    for name in ("planes_BKSS", "told_BT", "noise_BChw", "time_B"):
        assert np.array_equal(getattr(whole, name)[5:], getattr(part, name))


def test_what_is_told_is_true(data):
    batch = data.batch(0, 16)
    highest = [int(from_planes(planes, 1)[0].max()) for planes in batch.planes_BKSS]
    assert np.array_equal(batch.told_BT[:, :4], np.eye(4)[highest])
    assert {0, 2} == set(highest)
    assert np.array_equal(batch.told_BT[:, 4:], np.tile(data.facts[0], (16, 1)))


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


def test_the_stage_trains_and_publishes(toy_run):
    run = toy_run("masks", steps=40, lr=3e-3)
    facts = loop.train(run)
    curve = (run.root / "logs/masks.curve.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in curve]
    assert losses[-1] < losses[0]
    assert stages.MASKS.finish(run, {"train": facts})["steps"] == 40
    assert load_mask_denoiser(run.output).config.unet["block_out_channels"]
    assert load_scheduler(run.output).config.prediction_type == "sample"
    assert "load_mask_denoiser" in (run.output / "README.md").read_text()
