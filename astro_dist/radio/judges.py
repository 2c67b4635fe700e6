"""Samples, losses and folders of the two networks that evaluate stamps: feature encoder and segmenter.

Both networks are trained on real cutouts of the train split only. Sample n is a function of
``(seed, stage, split, n)`` and the store, as for all trainings.

Shape letters: B batch, S side of a crop in pixels, K classes, F features.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from astro_dist.engine.arrays import Image
from astro_dist.models.encoder import Byol, build_byol
from astro_dist.models.norms import settle_norms
from astro_dist.models.segmenter import build_segmenter
from astro_dist.radio.cards import write_encoder_card, write_segmenter_card
from astro_dist.radio.config import ByolConfig, SegmenterConfig
from astro_dist.radio.samples import Cutout, CutoutSamples
from astro_dist.sky.stretch import stretch
from astro_dist.sky.symmetries import apply_symmetry
from astro_dist.train.recipe import Figures


@dataclass(frozen=True)
class Views:
    """Two views of each crop, (B, S, S) float32 in network range."""

    first_BSS: Image
    second_BSS: Image


class ViewData(CutoutSamples):
    """Pairs of views that differ in place, turn, brightness and noise.

    The encoder learns to give both views of a pair the same features. Only turns and flips that keep the beam
    are used: with others the encoder would learn to ignore the orientation of the beam.
    """

    config: ByolConfig

    def batch(self, first: int, count: int) -> Views:
        """Return samples ``first`` to ``first + count - 1``."""
        streams = self.streams(first, count)
        indices = [int(rng.choice(self.chosen)) for rng in streams]
        cutouts = self._read(indices)
        pairs = [self._pair(cutouts[i], rng) for i, rng in zip(indices, streams, strict=True)]
        return Views(*(np.stack(views) for views in zip(*pairs, strict=True)))

    def _pair(self, cutout: Cutout, rng: np.random.Generator) -> tuple[Image, Image]:
        crop = self._choose_crop(cutout, rng)
        reach, room = self.config.shift_pix, cutout.mask.shape[0] - self.config.crop_pix
        shifts = rng.integers(-reach, reach + 1, 2)
        # The shifted crop is moved back into the cutout where a shift would leave the cutout.
        starts = [int(np.clip(s.start + d, 0, room)) for s, d in zip(crop, shifts, strict=True)]
        shifted = tuple(slice(start, start + self.config.crop_pix) for start in starts)
        return self._view(cutout, crop, rng), self._view(cutout, shifted, rng)

    def _view(self, cutout: Cutout, crop: tuple[slice, ...], rng: np.random.Generator) -> Image:
        # Factor and noise act on signal-to-noise; the stretch to network range comes last, as for cutouts.
        brightness = 10 ** rng.uniform(-self.config.brightness_dex, self.config.brightness_dex)
        noise = rng.uniform(0, self.config.noise_snr)
        snr = cutout.snr[crop]
        changed = brightness * snr + noise * rng.standard_normal(snr.shape, np.float32)
        u = np.where(cutout.valid[crop], stretch(changed, 0.0, 1.0, self.kind), np.float32(0.0))
        return np.ascontiguousarray(apply_symmetry(u, int(rng.choice(cutout.symmetries))), np.float32)


@dataclass(frozen=True)
class Labelled:
    """Crops in network range (B, S, S) float32 and their masks, uint8."""

    u_BSS: Image
    mask_BSS: NDArray[np.uint8]


class LabelledData(CutoutSamples):
    """Crops of real cutouts with their masks."""

    def batch(self, first: int, count: int) -> Labelled:
        """Return samples ``first`` to ``first + count - 1``."""
        streams = self.streams(first, count)
        indices = [int(rng.choice(self.chosen)) for rng in streams]
        cutouts = self._read(indices)
        images, masks = [], []
        for index, rng in zip(indices, streams, strict=True):
            cutout = cutouts[index]
            crop, turn = self._choose_crop(cutout, rng), int(rng.choice(cutout.symmetries))
            images.append(apply_symmetry(cutout.u[crop], turn))
            masks.append(apply_symmetry(cutout.mask[crop], turn))
        return Labelled(np.stack(images), np.stack(masks))


class ByolObjective:
    """BYOL: the error with which the online network predicts the target's projection of the other view.

    The loss is eq. 2 of Grill et al. 2020, summed over both assignments of the views.
    """

    def __init__(self, config: ByolConfig) -> None:
        self.config = config
        self.network: Byol = build_byol(config.preset)

    def loss(self, network: nn.Module, batch: Views, device: str) -> tuple[Tensor, Figures]:
        if self.network.training:
            # The target moves before each step: eq. 1 of Grill et al. 2020. Validation leaves the target
            # alone.
            self.network.follow(self.config.target_decay)
        first, second = (torch.from_numpy(v[:, None]).to(device) for v in (batch.first_BSS, batch.second_BSS))
        return network(first, second).mean(), {}

    def publish(self, folder: Path, batches: list[Views], device: str) -> dict[str, Any]:
        # The online network; the target, the projector and the predictor serve the training alone.
        encoder = self.network.encoder
        settle_norms(encoder, [batch.first_BSS[:, None] for batch in batches], device)
        encoder.save_pretrained(folder, safe_serialization=True)
        write_encoder_card(folder, self.config)
        features_BF = _forward(encoder, [batch.first_BSS for batch in batches], device)
        # A deviation of zero shows a collapsed encoder: all images have the same features.
        return {"features": features_BF.shape[1], "feature_std": round(float(features_BF.std(0).mean()), 6)}


class SegmenterObjective:
    """Cross-entropy of the class of each pixel, heavier on objects."""

    def __init__(self, config: SegmenterConfig) -> None:
        self.config = config
        self.network = build_segmenter(config.preset)

    def loss(self, network: nn.Module, batch: Labelled, device: str) -> tuple[Tensor, Figures]:
        mask_BSS = torch.from_numpy(batch.mask_BSS).to(device).long()
        logits_BKSS = network(torch.from_numpy(batch.u_BSS[:, None]).to(device))
        error_BSS = functional.cross_entropy(logits_BKSS, mask_BSS, reduction="none")
        inside_BSS = mask_BSS > 0
        loss = (error_BSS * (1.0 + self.config.mask_weight * inside_BSS)).mean()
        # Intersection over union of all object pixels of the batch; a pixel counts when its class is right.
        found_BSS = logits_BKSS.detach().argmax(1)
        hit, either = (found_BSS == mask_BSS) & inside_BSS, (found_BSS > 0) | inside_BSS
        return loss, {"iou": hit.sum() / either.sum().clamp(min=1)}

    def publish(self, folder: Path, batches: list[Labelled], device: str) -> dict[str, Any]:
        settle_norms(self.network, [batch.u_BSS[:, None] for batch in batches], device)
        self.network.save_pretrained(folder, safe_serialization=True)
        write_segmenter_card(folder, self.config)
        return {}


@torch.no_grad()
def _forward(network: nn.Module, batches: list[Image], device: str) -> Tensor:
    return torch.cat([network(torch.from_numpy(u_BSS[:, None]).to(device)).cpu() for u_BSS in batches])
