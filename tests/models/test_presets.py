import pytest
import torch

from astro_dist.models.autoencoder import build_autoencoder
from astro_dist.models.denoiser import build_denoiser, build_scheduler
from astro_dist.models.presets import FACTS, PRESETS


def count(network):
    return sum(p.numel() for p in network.parameters())


@pytest.fixture(scope="module", params=["paper", "code"])
def radiff(request):
    """Both networks of a preset without their 1.8 GB of weights."""
    with torch.device("meta"):
        return request.param, build_autoencoder(request.param).eval(), build_denoiser(request.param).eval()


def test_paper_and_code_have_the_parameter_counts_of_radiff(radiff):
    _, autoencoder, denoiser = radiff
    assert count(autoencoder) == pytest.approx(55.3e6, rel=1e-3)
    assert count(denoiser.unet) == pytest.approx(395.0e6, rel=1e-3)


def test_paper_and_code_have_the_shapes_of_radiff(radiff):
    name, autoencoder, denoiser = radiff
    images = torch.empty(2, 1, 128, 128, device="meta")
    latents = autoencoder.encode(images).latent_dist.mean
    assert latents.shape == (2, 3, 32, 32)
    assert autoencoder.decode(latents).sample.shape == images.shape
    mask, peak = torch.empty(2, 128, 128, device="meta"), torch.empty(2, 128, 128, device="meta")
    encoded = denoiser.conditioner(mask, peak, torch.empty(2, 2, 128, 128, device="meta"))
    assert encoded.planes_BMhw.shape == (2, 3, 32, 32)
    assert encoded.tokens_BTD.shape == (2, {"paper": 64, "code": 1}[name], 512)
    assert (denoiser.unet.config.in_channels, denoiser.unet.config.out_channels) == (6, 3)
    times = torch.empty(2, device="meta")
    assert denoiser.predict(latents, times, encoded).shape == latents.shape


def test_paper_and_code_attend_at_every_level_in_heads_of_32_channels(radiff):
    unet = radiff[2].unet
    for block, channels in zip(unet.down_blocks, (256, 512, 1024), strict=True):
        attention = block.attentions[0].transformer_blocks[0].attn2
        assert attention.heads == channels // 32
        assert attention.to_k.in_features == 512


def test_improved_fits_a_gpu_and_has_the_facts_as_a_condition():
    with torch.device("meta"):
        denoiser = build_denoiser("improved").eval()
    assert 60e6 < count(denoiser) < 120e6
    planes = torch.empty(2, 128, 128, device="meta")
    encoded = denoiser.conditioner(planes, planes, torch.empty(2, 2, 128, 128, device="meta"))
    assert encoded.facts_BF.shape == (2, FACTS)
    latents = torch.empty(2, 4, 32, 32, device="meta")
    assert denoiser.predict(latents, torch.empty(2, device="meta"), encoded).shape == latents.shape


@pytest.mark.parametrize("name", ["tiny", "small", "improved"])
def test_training_ends_in_the_pure_noise_that_sampling_begins_with(name):
    assert float(build_scheduler(name).alphas_cumprod[-1]) < 1e-7


def test_paper_predicts_noise_on_a_linear_schedule():
    scheduler = build_scheduler("paper")
    assert scheduler.config.prediction_type == "epsilon"
    assert float(scheduler.betas[0]) == pytest.approx(1e-4)
    assert float(scheduler.betas[-1]) == pytest.approx(2e-2)


def test_code_predicts_noise_on_its_scaled_linear_schedule():
    """The last step of the schedule keeps 2.6 % of the signal, but sampling begins with pure noise."""
    scheduler = build_scheduler("code")
    assert scheduler.config.prediction_type == "epsilon"
    assert float(scheduler.betas[0]) == pytest.approx(1.5e-3)
    assert float(scheduler.betas[-1]) == pytest.approx(1.55e-2)
    assert float(scheduler.alphas_cumprod[-1].sqrt()) == pytest.approx(0.026, abs=5e-4)


@pytest.mark.parametrize("name", PRESETS)
def test_costs_name_the_parameters_that_are_there(name):
    with torch.device("meta"):
        autoencoder, denoiser = build_autoencoder(name), build_denoiser(name)
    costs = PRESETS[name].costs
    assert costs["autoencoder"][0] == pytest.approx(count(autoencoder), rel=0.02)
    assert costs["diffusion"][0] == pytest.approx(count(denoiser), rel=0.02)
