import pytest
import torch

from astro_dist.models.autoencoder import build_autoencoder
from astro_dist.models.denoiser import build_denoiser, build_scheduler
from astro_dist.models.presets import PRESETS


def count(network):
    return sum(p.numel() for p in network.parameters())


@pytest.fixture(scope="module")
def paper():
    """Both networks of the paper without their 1.8 GB of weights."""
    with torch.device("meta"):
        return build_autoencoder("paper").eval(), build_denoiser("paper").eval()


def test_paper_has_the_parameter_counts_of_radiff(paper):
    autoencoder, denoiser = paper
    assert count(autoencoder) == pytest.approx(55.3e6, rel=1e-3)
    assert count(denoiser.unet) == pytest.approx(395.0e6, rel=1e-3)


def test_paper_has_the_shapes_of_radiff(paper):
    autoencoder, denoiser = paper
    images = torch.empty(2, 1, 128, 128, device="meta")
    latents = autoencoder.encode(images).latent_dist.mean
    assert latents.shape == (2, 3, 32, 32)
    assert autoencoder.decode(latents).sample.shape == images.shape
    mask, peak = torch.empty(2, 128, 128, device="meta"), torch.empty(2, 128, 128, device="meta")
    planes, tokens = denoiser.conditioner(mask, peak, torch.empty(2, 2, 128, 128, device="meta"))
    assert planes.shape == (2, 3, 32, 32)
    assert tokens.shape == (2, 64, 512)
    times = torch.empty(2, device="meta")
    assert denoiser.predict(latents, times, planes, tokens).shape == latents.shape


def test_paper_attends_at_every_level_in_heads_of_32_channels(paper):
    unet = paper[1].unet
    for block, channels in zip(unet.down_blocks, (256, 512, 1024), strict=True):
        attention = block.attentions[0].transformer_blocks[0].attn2
        assert attention.heads == channels // 32
        assert attention.to_k.in_features == 512


def test_paper_predicts_noise_on_a_linear_schedule():
    scheduler = build_scheduler("paper")
    assert scheduler.config.prediction_type == "epsilon"
    assert float(scheduler.betas[0]) == pytest.approx(1e-4)
    assert float(scheduler.betas[-1]) == pytest.approx(2e-2)


@pytest.mark.parametrize("name", PRESETS)
def test_costs_name_the_parameters_that_are_there(name):
    with torch.device("meta"):
        autoencoder, denoiser = build_autoencoder(name), build_denoiser(name)
    costs = PRESETS[name].costs
    assert costs["autoencoder"][0] == pytest.approx(count(autoencoder), rel=0.02)
    assert costs["diffusion"][0] == pytest.approx(count(denoiser), rel=0.02)
