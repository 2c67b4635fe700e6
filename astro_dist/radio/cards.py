"""Model cards: a description of each folder of weights, without date, host or path."""

from pathlib import Path

from astro_dist.radio.config import (
    AutoencoderConfig,
    ByolConfig,
    DiffusionConfig,
    MasksTrainingConfig,
    SegmenterConfig,
)
from astro_dist.train.config import TrainingConfig

_FACTS = """\
* preset {preset}, {steps} steps of {batch_size} crops of {crop_pix} x {crop_pix} pixels
* learning rate {lr:g}, moving average of the weights {ema_decay:g}, precision {precision}
"""

_AUTOENCODER = """\
---
library_name: diffusers
tags: [astro_dist, radio-astronomy, autoencoder]
---
# KL autoencoder of radio cutouts

Maps one-channel images in network range (stretched signal-to-noise) to latents of a quarter of the
size and back. Trained by astro_dist on cutouts with and without their noise.

{facts}* loss: L1 with weight 1 + {mask_weight:g} on objects, KL per number of the latent times {kl_weight:g}
* latents times `scaling_factor` {scale:g} have unit standard deviation

Load: `astro_dist.models.autoencoder.load_autoencoder(folder)`.
"""

_DIFFUSION = """\
---
library_name: diffusers
tags: [astro_dist, radio-astronomy, latent-diffusion]
---
# Latent diffusion of radio stamps

Draws stamps from a class mask, the brightness of each object and a background. It works on the
latents of the autoencoder it was trained with, and on no others. Target: {target} ({meaning}).

{facts}* loss: squared error with weight 1 + {mask_weight:g} under objects
* dropped per sample: mask {drop_mask:g}, brightness {drop_peak:g}, background {drop_background:g}

`unet/` and `scheduler/` load in plain diffusers; with the conditions:
`astro_dist.models.denoiser.load_denoiser(folder)`.
"""

_MASKS = """\
---
library_name: diffusers
tags: [astro_dist, radio-astronomy, diffusion, masks]
---
# Diffusion of radio masks

Draws class masks with their objects, told how many of each class there are, and beam, noise and survey.
Trained on the masks of the train split, turned, each class as often as any other.

{facts}* loss: squared error of the planes, as a velocity's

Load: `astro_dist.models.masks.load_mask_denoiser(folder)`.
"""

_ENCODER = """\
---
library_name: diffusers
tags: [astro_dist, radio-astronomy, byol, features]
---
# Feature encoder of radio cutouts

A ResNet that learnt without labels (BYOL) from the train split of real cutouts: images in network
range to features in which `astro-dist evaluate` measures distances between sets of images.

{facts}* views differ by up to {shift_pix} pixels, {brightness_dex:g} dex of brightness, {noise_snr:g} sigma
  of white noise, and turns and flips that keep the beam

Distances in the features of different trainings cannot be compared. Load:
`astro_dist.models.encoder.load_encoder(folder)`.
"""

_SEGMENTER = """\
---
library_name: diffusers
tags: [astro_dist, radio-astronomy, segmentation]
---
# Segmenter of radio cutouts

A Tiramisu (FC-DenseNet) from images in network range to background, spurious, compact or extended per
pixel, trained on the train split of real cutouts and their masks, and on nothing generated.

{facts}* loss: cross-entropy with weight 1 + {mask_weight:g} on objects

Load: `astro_dist.models.segmenter.load_segmenter(folder)`.
"""

_MEANINGS = {"source": "objects on an empty sky", "stamp": "objects, noise and artefacts"}


def write_autoencoder_card(folder: Path, config: AutoencoderConfig, scale: float) -> None:
    """Write ``README.md`` beside the weights of an autoencoder."""
    text = _AUTOENCODER.format(facts=_facts(config), scale=scale, **config.model_dump())
    (folder / "README.md").write_text(text)


def write_diffusion_card(folder: Path, config: DiffusionConfig) -> None:
    """Write ``README.md`` beside the parts of a diffusion model."""
    meaning = _MEANINGS[config.target]
    text = _DIFFUSION.format(facts=_facts(config), meaning=meaning, **config.model_dump())
    (folder / "README.md").write_text(text)


def write_masks_card(folder: Path, config: MasksTrainingConfig) -> None:
    """Write ``README.md`` beside the weights of the model that draws masks."""
    (folder / "README.md").write_text(_MASKS.format(facts=_facts(config), **config.model_dump()))


def write_encoder_card(folder: Path, config: ByolConfig) -> None:
    """Write ``README.md`` beside the weights of a feature encoder."""
    (folder / "README.md").write_text(_ENCODER.format(facts=_facts(config), **config.model_dump()))


def write_segmenter_card(folder: Path, config: SegmenterConfig) -> None:
    """Write ``README.md`` beside the weights of a segmenter."""
    (folder / "README.md").write_text(_SEGMENTER.format(facts=_facts(config), **config.model_dump()))


def _facts(config: TrainingConfig) -> str:
    facts = _FACTS.format(**config.model_dump())
    if config.start_from is None:
        return facts
    # Without steps the settings describe a training that did not take place.
    if config.steps == 0:
        return f"* preset {config.preset}, the weights of `{config.start_from}` as they are\n"
    return f"* begun with the weights of `{config.start_from}`\n{facts}"
