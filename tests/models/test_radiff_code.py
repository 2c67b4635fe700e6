import pytest
import torch
from diffusers import AutoencoderKL

from astro_dist.models import denoiser
from astro_dist.models.presets import PRESETS
from astro_dist.models.radiff_code import CodeConditionEncoder

AUTOENCODER = PRESETS["code"].autoencoder | {"block_out_channels": (8, 8, 8), "norm_num_groups": 4}


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return CodeConditionEncoder(AUTOENCODER, token_dim=16).eval()


def conditions(batch=2, side=32):
    mask = torch.zeros(batch, side, side, dtype=torch.uint8)
    mask[:, 4:9, 4:9] = 2
    return mask, torch.zeros(batch, side, side), torch.randn(batch, 2, side, side)


@torch.no_grad()
def test_the_mask_is_encoded_as_an_image_of_class_numbers(encoder):
    mask, peak, background = conditions()
    encoder.adopt(AutoencoderKL(**AUTOENCODER))
    planes = encoder(mask, peak, background).planes_BMhw
    assert torch.equal(planes, encoder.mask_encoder.encode(mask[:, None].float()).latent_dist.mode())
    assert planes.shape == (2, 3, 8, 8)
    assert not any(p.requires_grad for p in encoder.mask_encoder.parameters())


@torch.no_grad()
@pytest.mark.parametrize("side", [32, 64, 128])
def test_the_background_is_one_token(encoder, side):
    assert encoder(*conditions(side=side)).tokens_BTD.shape == (2, 1, 16)


@torch.no_grad()
def test_each_condition_has_its_null(encoder):
    first, second = torch.tensor([True, False]), torch.tensor([False, True])
    planes, tokens, *_ = encoder(*conditions(), first, second)
    assert not planes[1].any()
    assert planes[0].any()
    assert not tokens[0].any()
    assert tokens[1].any()


@torch.no_grad()
def test_it_comes_back_from_its_folder(encoder, tmp_path):
    unet = denoiser.build_denoiser("tiny").unet
    denoiser.save_denoiser(denoiser.Denoiser(unet, encoder), denoiser.build_scheduler("code"), tmp_path)
    loaded = denoiser.load_denoiser(tmp_path).conditioner
    given = conditions()
    assert torch.equal(loaded(*given).planes_BMhw, encoder(*given).planes_BMhw)
    assert loaded.config.target == "stamp"
