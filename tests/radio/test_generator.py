import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel

from astro_dist.models.autoencoder import build_autoencoder, encode, load_autoencoder
from astro_dist.models.denoiser import load_denoiser
from astro_dist.models.presets import FACTS, PRESETS, find_skips
from astro_dist.radio.config import AutoencoderConfig, DiffusionConfig
from astro_dist.radio.generator import AutoencoderObjective, DiffusionObjective, latent_channels
from astro_dist.radio.samples import TrainingData


@pytest.fixture
def data(reader):
    return TrainingData(reader, DiffusionConfig(crop_pix=32), (1, "test"), 4)


@pytest.fixture
def autoencoder_folder(tmp_path):
    torch.manual_seed(0)
    build_autoencoder("tiny").save_pretrained(tmp_path / "autoencoder")
    return tmp_path / "autoencoder"


class Spy(torch.nn.Module):
    """A stand-in for the network that keeps its arguments and returns zero."""

    def forward(self, noisy, *given):
        self.noisy, self.given = noisy, given
        return torch.zeros_like(noisy)


def test_latent_channels_of_the_presets():
    assert [latent_channels(name) for name in ("tiny", "small", "improved", "paper", "code")] == [
        4,
        4,
        4,
        3,
        3,
    ]


def test_autoencoder_sees_the_wanted_share_without_noise(data):
    batch = data.batch(0, 8)

    class Echo(torch.nn.Module):
        def forward(self, u, noise):
            self.u = u
            return u, torch.tensor(2.0)

    for fraction, images in ((0.0, batch.full_BSS), (1.0, batch.source_BSS)):
        objective = AutoencoderObjective(AutoencoderConfig(crop_pix=32, source_fraction=fraction))
        echo = Echo()
        loss, figures = objective.loss(echo, batch, "cpu")
        assert np.array_equal(echo.u[:, 0].numpy(), images)
        assert float(loss) == pytest.approx(2e-3)
        assert float(figures["mask_loss"]) == 0


def test_autoencoder_publishes_latents_of_unit_deviation(data, tmp_path):
    objective = AutoencoderObjective(AutoencoderConfig(crop_pix=32))
    batches = [data.batch(0, 8), data.batch(8, 8)]
    facts = objective.publish(tmp_path, batches, "cpu")
    loaded = load_autoencoder(tmp_path)
    assert loaded.config.scaling_factor == facts["latent_scale"]
    images = torch.from_numpy(np.concatenate([b.full_BSS for b in batches]))[:, None]
    assert float(encode(loaded, images).detach().std()) == pytest.approx(1.0, abs=1e-3)
    assert "unit standard deviation" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize("target", ["source", "stamp"])
def test_diffusion_noises_the_latent_of_its_target(data, autoencoder_folder, target):
    config = DiffusionConfig(crop_pix=32, target=target, drop_peak=0)
    objective = DiffusionObjective(config, autoencoder_folder, "asinh", "cpu")
    batch, spy = data.batch(0, 8), Spy()
    loss, _ = objective.loss(spy, batch, "cpu")
    image = batch.source_BSS if target == "source" else batch.full_BSS
    latent = encode(objective.autoencoder, torch.from_numpy(image)[:, None])
    alpha = objective.scheduler.alphas_cumprod[(torch.from_numpy(batch.time_B) * 1000).long()][
        :, None, None, None
    ]
    noise = torch.from_numpy(batch.noise_BChw)
    torch.testing.assert_close(spy.noisy, alpha.sqrt() * latent + (1 - alpha).sqrt() * noise)
    velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * latent
    inside = torch.from_numpy(batch.mask_BSS > 0).float()
    weight = 1 + 4 * torch.nn.functional.max_pool2d(inside, 4)
    torch.testing.assert_close(loss, (weight * (velocity**2).mean(1)).mean())


def test_each_condition_is_dropped_on_its_own(data, autoencoder_folder):
    config = DiffusionConfig(crop_pix=32, drop_mask=0.3, drop_peak=0.5, drop_background=0.7)
    objective = DiffusionObjective(config, autoencoder_folder, "asinh", "cpu")
    batch, spy = data.batch(0, 64), Spy()
    objective.loss(spy, batch, "cpu")
    _, _, peak, _, keep_mask, keep_background, facts, keep_facts = spy.given
    assert np.array_equal(keep_mask.numpy(), batch.chance_B4[:, 0] >= 0.3)
    assert np.array_equal(keep_background.numpy(), batch.chance_B4[:, 2] >= 0.7)
    assert np.array_equal(keep_facts.numpy(), batch.chance_B4[:, 3] >= 0.1)
    assert np.array_equal(facts.numpy(), batch.facts_BF)
    shown = batch.peak_BSS.any((1, 2)) & (batch.chance_B4[:, 1] >= 0.5)
    assert np.array_equal(peak.any(-1).any(-1).numpy(), shown)
    assert 0 < shown.sum() < batch.peak_BSS.any((1, 2)).sum()


def test_every_part_of_the_improved_arm_learns(data, autoencoder_folder, tmp_path, monkeypatch):
    tiny = PRESETS["tiny"]
    conditioner = tiny.conditioner | {"facts": FACTS, "skips": find_skips((48, 64, 96), 1)}
    unet = tiny.unet | {"class_embed_type": "projection", "projection_class_embeddings_input_dim": FACTS}
    monkeypatch.setitem(PRESETS, "tiny", replace(tiny, conditioner=conditioner, unet=unet))
    config = DiffusionConfig(crop_pix=32, target="stamp", drop_facts=0.5, drop_mask=0.5)
    objective = DiffusionObjective(config, autoencoder_folder, "asinh", "cpu")
    torch.nn.init.normal_(objective.network.unet.conv_out.weight)
    objective.loss(objective.network, data.batch(0, 8), "cpu")[0].backward()
    without = {name for name, p in objective.network.named_parameters() if p.grad is None or not p.grad.any()}
    # Parameters behind heads that begin as zero have no gradient in the first step.
    assert {name for name in without if "injector.heads" in name or "facts" in name} == set()
    objective.publish(tmp_path / "out", [], "cpu")
    assert load_denoiser(tmp_path / "out").conditioner.injector is not None


def test_a_batch_may_lose_its_background_together(data, autoencoder_folder):
    config = DiffusionConfig(crop_pix=32, drop_background=0.5, drop_together=True)
    objective, spy, seen = DiffusionObjective(config, autoencoder_folder, "asinh", "cpu"), Spy(), set()
    for first in range(0, 40, 4):
        objective.loss(spy, data.batch(first, 4), "cpu")
        (kept,) = set(spy.given[5].tolist())
        seen.add(kept)
    assert seen == {False, True}


def test_the_paper_predicts_noise(data, autoencoder_folder, monkeypatch):
    objective = DiffusionObjective(DiffusionConfig(crop_pix=32), autoencoder_folder, "asinh", "cpu")
    objective.scheduler.register_to_config(prediction_type="epsilon")
    batch, spy = data.batch(0, 4), Spy()
    objective.config = DiffusionConfig(crop_pix=32, mask_weight=0)
    loss, _ = objective.loss(spy, batch, "cpu")
    assert float(loss) == pytest.approx(float((batch.noise_BChw**2).mean()), rel=1e-5)


def test_diffusion_publishes_diffusers_layout(autoencoder_folder, tmp_path):
    objective = DiffusionObjective(DiffusionConfig(target="stamp"), autoencoder_folder, "tanh", "cpu")
    objective.publish(tmp_path / "out", [], "cpu")
    names = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    weights = "diffusion_pytorch_model.safetensors"
    assert names == {
        "README.md",
        "conditioner/config.json",
        f"conditioner/{weights}",
        "latents.json",
        "scheduler/scheduler_config.json",
        "unet/config.json",
        f"unet/{weights}",
    }
    assert json.loads((tmp_path / "out/conditioner/config.json").read_text())["target"] == "stamp"
    assert load_denoiser(tmp_path / "out").config.stretch == "tanh"
    UNet2DConditionModel.from_pretrained(tmp_path / "out/unet", local_files_only=True)


def test_cached_latents_are_those_of_whole_cutouts(reader, autoencoder_folder, monkeypatch):
    config = DiffusionConfig(crop_pix=32, cache_latents=True)
    objective = DiffusionObjective(config, autoencoder_folder, "asinh", "cpu")
    batch, tensors = TrainingData(reader, config, (1, "test"), 4).batch(0, 12), {}
    tensors = {"whole_BSS": torch.from_numpy(batch.whole_BSS), "origin_B4": torch.from_numpy(batch.origin_B4)}
    with torch.no_grad():
        whole = encode(objective.autoencoder, tensors["whole_BSS"][:, None])
    once = objective._encode(tensors)
    for row, (_, _, y, x) in enumerate(batch.origin_B4):
        assert torch.allclose(once[row], whole[row, :, y : y + 8, x : x + 8], atol=1e-5)
    known = {(cutout, turn) for cutout, turn, _, _ in batch.origin_B4.tolist()}
    assert objective.latents.keys() == known
    monkeypatch.setattr(objective, "autoencoder", None)
    assert torch.equal(objective._encode(tensors), once)
