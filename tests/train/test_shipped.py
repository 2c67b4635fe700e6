"""The weights of the package: small, useful, and with the figures of their card."""

import json

import numpy as np
import pytest
import torch

from astro_dist.engine.config import load_yaml
from astro_dist.engine.origins import read_origins
from astro_dist.generate.masks import MaskDrawer
from astro_dist.models.autoencoder import decode, encode, load_autoencoder
from astro_dist.models.denoiser import build_denoiser, load_denoiser
from astro_dist.models.masks import encode_mask_condition, from_planes, mask_noise_shape
from astro_dist.models.presets import FACTS
from astro_dist.radio.pipeline import RADIO
from astro_dist.radio.trainings import RECIPES
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.stretch import stretch, unstretch
from astro_dist.train.start import SHIPPED, find_start, start_files
from tests.end_to_end.conftest import ROOT

WEIGHTS = "diffusion_pytorch_model.safetensors"
# Those of the radio pipeline have an autoencoder.
NAMES = sorted(path.name for path in SHIPPED.iterdir() if (path / "autoencoder").is_dir())
HEADLINES = {
    ("segmentation_ratio", "generated"): 3,
    ("island_ratio", "generated"): 3,
    ("flux_bias_dex", "generated"): 3,
    ("ssim", "generated"): 3,
    ("frechet", "real"): 2,
    ("frechet", "generated"): 2,
}


def test_the_quick_start_uses_them():
    config = RADIO.resolve(load_yaml(ROOT / "configs" / "quickstart.yaml"))
    for section in (config.autoencoder, config.diffusion):
        assert section.start_from in NAMES
        assert section.steps == 0


@pytest.mark.parametrize("name", NAMES)
def test_they_are_safetensors_of_at_most_30_mb(name):
    files = [path for path in (SHIPPED / name).glob("*/**/*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".safetensors"}
    assert sum(path.stat().st_size for path in files) < 30e6


@pytest.mark.parametrize("name", NAMES)
def test_the_card_has_the_measured_figures_and_the_terms(name):
    card = (SHIPPED / name / "README.md").read_text()
    figures = json.loads((SHIPPED / name / "metrics.json").read_text())["figures"]
    values = {(f["name"], f["row"]): f["value"] for f in figures}
    for key, digits in HEADLINES.items():
        assert f"{values[key]:.{digits}f}" in card, key
    for word in ("FIRST", "SUMSS", "SCORPIO", "non-commercial", "## Limits"):
        assert word in card


@pytest.mark.parametrize("name", NAMES)
def test_the_card_and_the_statement_for_programs_have_the_same_terms(name):
    card = (SHIPPED / name / "README.md").read_text()
    for recipe in RECIPES.values():
        if (SHIPPED / name / recipe.name).is_dir():
            assert SHIPPED / name / "origins.json" in start_files(recipe, name)
    for origin in read_origins(SHIPPED / name / "diffusion"):
        (row,) = [line for line in card.splitlines() if line.startswith(f"| {origin.name},")]
        assert row.endswith(f"| {origin.terms}. {origin.cite} |")


def test_a_source_keeps_its_flux_through_the_autoencoder():
    autoencoder = load_autoencoder(find_start(RECIPES["autoencoder"], "small"))
    y, x = np.mgrid[:128, :128]
    noise = np.random.default_rng(2).normal(0, 0.3, (128, 128))
    snr = sum(60 * np.exp(-((y - c) ** 2 + (x - c - 4) ** 2) / (2 * 1.6**2)) for c in (30, 64, 96)) + noise
    u = torch.from_numpy(stretch(snr.astype(np.float32), 0.0, 1.0, "asinh"))
    with torch.no_grad():
        back = unstretch(
            decode(autoencoder, encode(autoencoder, u[None, None]))[0, 0].numpy(), 0.0, 1.0, "asinh"
        )
    for c in (30, 64, 96):
        box = (slice(c - 5, c + 6), slice(c - 1, c + 10))
        assert back[box].sum() == pytest.approx(snr[box].sum(), rel=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_the_denoiser_is_that_of_the_preset_of_its_name(name):
    loaded, fresh = load_denoiser(find_start(RECIPES["diffusion"], name)), build_denoiser(name)
    fresh.load_state_dict(loaded.float().state_dict())
    assert loaded.config.target == "source"


def test_told_works_on_the_latents_of_small_and_uses_what_it_is_told():
    small, told = (SHIPPED / name / "autoencoder" / WEIGHTS for name in ("small", "told"))
    assert small.read_bytes() == told.read_bytes()
    denoiser = load_denoiser(find_start(RECIPES["diffusion"], "told")).float().eval()
    rng = torch.Generator().manual_seed(1)
    latent, mask = torch.randn(1, 4, 32, 32, generator=rng), torch.zeros(1, 128, 128, dtype=torch.int64)
    mask[:, 54:74, 40:90] = int(SourceClass.EXTENDED)
    sky = torch.zeros(1, 2, 128, 128)
    facts = torch.zeros(2, 1, FACTS)
    facts[:, :, 0] = torch.tensor([[-0.4], [0.4]])
    with torch.no_grad():
        narrow, wide = (
            denoiser(latent, torch.tensor([500]), mask, (mask > 0).float() * 3, sky, facts_BF=one)
            for one in facts
        )
    assert float((narrow - wide).abs().max()) > 0.05 * float(narrow.abs().max())


@pytest.mark.parametrize("wanted", ["SPURIOUS", "COMPACT", "EXTENDED"])
def test_masks_of_a_class_are_drawn_on_condition(wanted):
    """The conditions have the beam and the noise of FIRST."""
    drawer = MaskDrawer(find_start(RECIPES["masks"], "small"), 10, "cpu", "no")
    counts = np.zeros((8, len(SourceClass) - 1), int)
    counts[:, SourceClass[wanted] - 1] = 3
    facts = np.tile(np.float32([-0.415, 0, 0, -0.81, -0.27, 0]), (8, 1))
    streams = [np.random.default_rng(i) for i in range(8)]
    noise = np.stack([rng.standard_normal(mask_noise_shape(128), np.float32) for rng in streams])
    masks = [from_planes(planes)[0] for planes in drawer.draw(encode_mask_condition(counts, facts), noise)]
    assert sum(SourceClass[wanted] in mask for mask in masks) >= 5
    others = set(SourceClass) - {SourceClass[wanted], SourceClass.BACKGROUND}
    assert all(sum(other in mask for mask in masks) <= 4 for other in others)
