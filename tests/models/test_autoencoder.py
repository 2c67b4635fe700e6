import pytest
import torch
from diffusers import AutoencoderKL

from astro_dist.engine.files import tree_digests
from astro_dist.models.autoencoder import (
    StampAutoencoder,
    build_autoencoder,
    decode,
    encode,
    load_autoencoder,
)


@pytest.fixture
def autoencoder():
    torch.manual_seed(0)
    return build_autoencoder("tiny").eval()


@pytest.mark.parametrize("shape", [(2, 1, 32, 32), (1, 1, 128, 128), (1, 1, 64, 96)])
def test_latents_are_a_quarter_of_the_image(autoencoder, shape):
    images = torch.randn(shape)
    latents = encode(autoencoder, images)
    assert latents.shape == (shape[0], 4, shape[2] // 4, shape[3] // 4)
    assert decode(autoencoder, latents).shape == images.shape


def test_the_scaling_factor_goes_in_and_comes_out(autoencoder):
    images = torch.randn(1, 1, 32, 32)
    before, image_before = encode(autoencoder, images), decode(autoencoder, encode(autoencoder, images))
    autoencoder.register_to_config(scaling_factor=1.25)
    torch.testing.assert_close(encode(autoencoder, images), 1.25 * before)
    torch.testing.assert_close(decode(autoencoder, encode(autoencoder, images)), image_before)


def test_the_image_is_decoded_in_float32_under_autocast(autoencoder):
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        image = decode(autoencoder, torch.randn(1, 4, 8, 8))
    assert image.dtype == torch.float32
    # bfloat16 has 8 significant bits. Values rounded to them would not change in a second rounding.
    assert (image.to(torch.bfloat16).float() != image).float().mean() > 0.9


def test_a_brighter_image_is_not_normalised_away(autoencoder):
    images = torch.rand(1, 1, 32, 32)
    assert not torch.allclose(encode(autoencoder, images), encode(autoencoder, 3 * images), atol=1e-2)


def test_round_trip_through_a_folder_without_network(autoencoder, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    autoencoder.register_to_config(scaling_factor=1.5)
    for name in ("a", "b"):
        autoencoder.save_pretrained(tmp_path / name, safe_serialization=True)
    assert set(tree_digests(tmp_path / "a")) == {"config.json", "diffusion_pytorch_model.safetensors"}
    assert tree_digests(tmp_path / "a") == tree_digests(tmp_path / "b")
    loaded = load_autoencoder(tmp_path / "a")
    assert isinstance(loaded, StampAutoencoder)
    assert loaded.config.scaling_factor == 1.5
    assert not loaded.training
    images = torch.randn(1, 1, 32, 32)
    assert torch.equal(encode(loaded, images), encode(autoencoder, images))


def test_a_folder_of_diffusers_own_class_loads_the_same_way(tmp_path):
    small = AutoencoderKL(in_channels=1, out_channels=1, latent_channels=3, block_out_channels=(32,))
    small.save_pretrained(tmp_path, safe_serialization=True)
    loaded = load_autoencoder(tmp_path)
    assert isinstance(loaded, AutoencoderKL)
    assert encode(loaded, torch.randn(1, 1, 16, 16)).shape[1] == 3


def test_the_call_gives_reconstruction_and_posterior(autoencoder):
    output, posterior = autoencoder(torch.randn(1, 1, 16, 16))
    assert output.shape == (1, 1, 16, 16)
    assert posterior.mean.shape == (1, 4, 4, 4)
