from dataclasses import replace

import numpy as np
import pytest

from astro_dist.engine.seeds import stream
from astro_dist.generate.conditions import Choice
from astro_dist.generate.config import GenerateConfig, GuidanceConfig
from astro_dist.generate.sampler import Sampler
from astro_dist.models.device import pin
from astro_dist.models.presets import FACTS, PRESETS, find_skips
from astro_dist.models.solvers import SolverName
from astro_dist.store.reader import StoreReader
from tests.generate import small_run

CHOICES = [Choice(0, 1, 0), Choice(1, 2, 3), Choice(2, 0, 6), Choice(4, 5, 1)]


def read(inputs, choices):
    source = small_run.open_source(StoreReader(inputs / "cutouts.zarr"))
    return source.read(range(len(choices)), choices)


def open_sampler(inputs, **settings):
    models = inputs / "models"
    settings = GenerateConfig(steps=3, **settings)
    return Sampler(models / "autoencoder", models / "diffusion", settings, "cpu", "no")


@pytest.fixture(scope="module")
def sampler(inputs):
    pin(1)
    return open_sampler(inputs)


@pytest.fixture(scope="module")
def conditions(inputs):
    return read(inputs, CHOICES)


@pytest.fixture
def noise(sampler):
    return np.stack([stream(1, i).standard_normal(sampler.noise_shape(64), np.float32) for i in range(4)])


def test_drawing_twice_gives_the_same_bits(sampler, conditions, noise):
    first = sampler.draw(conditions, noise)
    assert first.shape == (4, 64, 64)
    assert first.dtype == np.float32
    assert np.array_equal(first, sampler.draw(conditions, noise))


def test_companions_do_not_change_a_stamp(inputs, sampler, conditions, noise):
    order = [2, 3, 1, 0]
    shuffled = read(inputs, [CHOICES[i] for i in order])
    assert np.array_equal(sampler.draw(shuffled, noise[order]), sampler.draw(conditions, noise)[order])


def test_conditions_matter(inputs, sampler, conditions, noise):
    other = read(inputs, [Choice(5, 1, 0)] * 4)
    assert np.abs(sampler.draw(other, noise) - sampler.draw(conditions, noise)).max() > 1e-4


@pytest.mark.parametrize(
    ("mask", "background", "weights"),
    [
        (1.0, 1.0, {(True, True): 1.0}),
        (1.5, 1.5, {(True, True): 1.5, (False, False): -0.5}),
        (1.5, 1.0, {(True, True): 1.5, (False, True): -0.5}),
        (1.0, 2.0, {(True, True): 1.0, (False, True): 1.0, (False, False): -1.0}),
        (0.0, 1.0, {(False, True): 1.0}),
        (0.0, 0.0, {(False, False): 1.0}),
    ],
)
def test_guidance_asks_for_no_prediction_that_it_does_not_need(mask, background, weights):
    assert GuidanceConfig(mask=mask, background=background).terms == pytest.approx(weights)


def test_each_condition_is_guided_on_its_own(inputs, sampler, conditions, noise):
    pushed = [(1, 1), (2, 1), (1, 2), (2, 2), (0, 0)]
    guided = [open_sampler(inputs, guidance={"mask": m, "background": b}) for m, b in pushed]
    drawn = [each.draw(conditions, noise) for each in guided]
    assert np.array_equal(drawn[0], sampler.draw(conditions, noise))
    for i, first in enumerate(drawn):
        assert all(np.abs(first - other).max() > 1e-5 for other in drawn[:i])


def test_without_conditions_none_of_them_matters(inputs, conditions, noise):
    unled = open_sampler(inputs, guidance={"mask": 0, "background": 0})
    other = read(inputs, [Choice(5, 1, 0)] * 4)
    assert np.array_equal(unled.draw(other, noise), unled.draw(conditions, noise))


def test_the_improved_preset_draws_whole_stamps_and_depends_on_beam_and_noise(tmp_path, monkeypatch, noise):
    tiny = PRESETS["tiny"]
    conditioner = tiny.conditioner | {"facts": FACTS, "skips": find_skips((48, 64, 96), 1)}
    unet = tiny.unet | {"class_embed_type": "projection", "projection_class_embeddings_input_dim": FACTS}
    schedule = tiny.schedule | {"rescale_betas_zero_snr": True}
    arm = replace(tiny, conditioner=conditioner, unet=unet, schedule=schedule)
    monkeypatch.setitem(PRESETS, "tiny", arm)
    small_run.add_cutouts(tmp_path)
    small_run.add_models(tmp_path, target="stamp")
    given = read(tmp_path, CHOICES)
    for name in ("dpm++", "ddim", "ddpm", "heun"):
        sampler = open_sampler(tmp_path, sampler=name)
        drawn = sampler.draw(given, noise, range(4))
        assert np.isfinite(drawn).all()
        other = replace(given, facts_BF=given.facts_BF + 1)
        assert np.abs(sampler.draw(other, noise, range(4)) - drawn).max() > 1e-5


def test_eta_without_ddim_is_refused():
    with pytest.raises(ValueError, match=r"eta is for the sampler ddim, not for dpm\+\+"):
        GenerateConfig(eta=1.0)


def test_the_settings_name_all_solvers():
    assert GenerateConfig.model_fields["sampler"].annotation == SolverName
