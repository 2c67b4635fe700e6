import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, UNet2DConditionModel

from astro_dist.engine.files import tree_digests
from astro_dist.models.denoiser import (
    CONDITIONERS,
    build_denoiser,
    build_scheduler,
    load_denoiser,
    load_scheduler,
    save_denoiser,
)


@pytest.fixture(scope="module")
def denoiser():
    torch.manual_seed(0)
    return build_denoiser("tiny", target="stamp", stretch="tanh").eval()


def inputs(batch=2, side=64):
    mask = torch.zeros(batch, side, side, dtype=torch.uint8)
    mask[:, 8:14, 8:14] = 2
    background = torch.randn(batch, 2, side, side)
    return torch.randn(batch, 4, side // 4, side // 4), torch.tensor([5, 900]), mask, mask * 0.5, background


def test_prediction_has_the_shape_of_the_latent(denoiser):
    arguments = inputs()
    output = denoiser(*arguments)
    assert output.shape == arguments[0].shape
    assert output.dtype == torch.float32


@torch.no_grad()
def test_every_input_matters(denoiser):
    latent, times, mask, peak, background = inputs()
    output = denoiser(latent, times, mask, peak, background)
    keep_not = torch.tensor([False, False])
    for changed in (
        (latent, times.flip(0), mask, peak, background),
        (latent, times, mask * 0, peak, background),
        (latent, times, mask, peak * 2, background),
        (latent, times, mask, peak, background + 1),
        (latent, times, mask, peak, background, keep_not, None),
        (latent, times, mask, peak, background, None, keep_not),
    ):
        assert not torch.equal(denoiser(*changed), output)


@torch.no_grad()
def test_encoding_the_conditions_once_gives_the_same_bits(denoiser):
    latent, times, *conditions = inputs()
    encoded = denoiser.conditioner(*conditions)
    assert torch.equal(denoiser.predict(latent, times, encoded), denoiser(latent, times, *conditions))


@torch.no_grad()
def test_round_trip_through_a_folder_without_network(denoiser, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("a", "b"):
        save_denoiser(denoiser, build_scheduler("tiny"), tmp_path / name)
    assert tree_digests(tmp_path / "a") == tree_digests(tmp_path / "b")
    loaded = load_denoiser(tmp_path / "a")
    assert (loaded.config.target, loaded.config.stretch) == ("stamp", "tanh")
    assert loaded.latent_channels == 4
    arguments = inputs()
    assert torch.equal(loaded(*arguments), denoiser(*arguments))


@torch.no_grad()
def test_unet_and_schedule_load_in_plain_diffusers(denoiser, tmp_path):
    save_denoiser(denoiser, build_scheduler("tiny"), tmp_path)
    unet = UNet2DConditionModel.from_pretrained(tmp_path / "unet", local_files_only=True)
    assert unet.config.cross_attention_dim == 64
    scheduler = DPMSolverMultistepScheduler.from_pretrained(tmp_path / "scheduler")
    assert scheduler.config.prediction_type == "v_prediction"


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
def test_the_sampler_of_the_docstring_ends_in_finite_latents(denoiser, tmp_path):
    save_denoiser(denoiser, build_scheduler("tiny"), tmp_path)
    scheduler = load_scheduler(tmp_path)
    scheduler.set_timesteps(3)
    latent, _, *conditions = inputs(side=32)
    for time in scheduler.timesteps:
        latent = scheduler.step(denoiser(latent, time.expand(2), *conditions), time, latent).prev_sample
    assert latent.isfinite().all()


@pytest.mark.parametrize(
    ("preset", "target", "in_place"),
    [("tiny", "stamp", True), ("tiny", "source", False), ("code", "stamp", None)],
)
def test_only_models_that_draw_the_sky_have_it_in_place(preset, target, in_place, monkeypatch):
    monkeypatch.setattr(
        "astro_dist.models.denoiser.UNet2DConditionModel", lambda **sizes: torch.nn.Identity()
    )
    monkeypatch.setitem(CONDITIONERS, "CodeConditionEncoder", lambda **arguments: torch.nn.Identity())
    conditioner = build_denoiser(preset, target).conditioner
    assert (conditioner.config.sky_in_place if in_place is not None else None) is in_place
