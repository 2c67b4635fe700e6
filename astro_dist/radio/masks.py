"""Samples, loss and folder of the network that draws masks.

Shape letters: as in `astro_dist.models.masks`.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from astro_dist.engine.arrays import Image
from astro_dist.models.conditions import NUM_CLASSES
from astro_dist.models.masks import (
    build_mask_denoiser,
    build_mask_scheduler,
    count_objects,
    encode_mask_condition,
    fold,
    mask_noise_shape,
    to_planes,
)
from astro_dist.models.presets import LATENT_FACTOR
from astro_dist.radio.cards import write_masks_card
from astro_dist.radio.config import MasksTrainingConfig
from astro_dist.radio.samples import GOLDEN_RATIO, Cutout, CutoutSamples
from astro_dist.sky.symmetries import apply_symmetry
from astro_dist.train.objectives import diffuse, mean_inside, to_tensors
from astro_dist.train.recipe import Figures

LEAST_VARIANCE = 0.05
"""Floor of the noise variance in the loss: without it, times with little noise would outweigh all others."""
READ_AT_ONCE = 256
"""Masks that are read together while the classes are counted."""


@dataclass(frozen=True)
class MaskBatch:
    """Planes of masks (B, K, S, S), their conditions (B, T), and noise and time as in `Batch`."""

    planes_BKSS: Image
    condition_BT: Image
    noise_BChw: Image
    time_B: Image


class MaskData(CutoutSamples):
    """Masks of real cutouts, turned. Sample n shows an object of class n modulo the number of classes.

    All classes that occur are therefore shown equally often; in the mixture of the sky, rare classes would
    hardly be learnt. The network is conditioned on the number of objects of each class, so that the mixture
    of the training does not appear in what the network draws.
    """

    @cached_property
    def pools(self) -> list[NDArray[np.int64]]:
        """Cutouts with an object of each class that occurs, one array per class; one array of all without."""
        # Read in parts: the masks of a whole store need not fit the memory.
        parts = np.array_split(self.chosen, math.ceil(len(self.chosen) / READ_AT_ONCE))
        masks = (mask for part in parts for mask in self.reader.read("mask", part))
        has = np.array([np.bincount(mask.ravel(), minlength=NUM_CLASSES)[1:] > 0 for mask in masks])
        return [self.chosen[each] for each in has.T if each.any()] or [self.chosen]

    def batch(self, first: int, count: int) -> MaskBatch:
        """Return samples ``first`` to ``first + count - 1``."""
        streams = self.streams(first, count)
        numbered = enumerate(streams, start=first)
        indices = [int(rng.choice(self.pools[n % len(self.pools)])) for n, rng in numbered]
        cutouts = self._read(indices)
        shape = mask_noise_shape(self.config.crop_pix)
        planes, counts, noise = [], [], []
        for index, rng in zip(indices, streams, strict=True):
            mask, instances = self._turn(cutouts[index], rng)
            planes.append(to_planes(mask, instances))
            counts.append(count_objects(mask, instances))
            noise.append(rng.standard_normal(shape, np.float32))
        time_B = (np.arange(first + 1, first + count + 1) * GOLDEN_RATIO % 1.0).astype(np.float32)
        condition = encode_mask_condition(np.array(counts), self.facts[indices])
        return MaskBatch(np.stack(planes), condition, np.stack(noise), time_B)

    def _turn(self, cutout: Cutout, rng: np.random.Generator) -> tuple[NDArray[Any], NDArray[Any]]:
        crop, turn = self._choose_crop(cutout, rng), int(rng.choice(cutout.symmetries))
        mask, instances = (apply_symmetry(plane[crop], turn) for plane in (cutout.mask, cutout.instances))
        return mask, instances


class MasksObjective:
    """Mean squared error of the planes, with the weight that the error of the velocity has.

    Objects weigh no more than empty sky. With a higher weight the network would draw an object wherever the
    noise leaves open whether there is one.
    """

    def __init__(self, config: MasksTrainingConfig, device: str) -> None:
        self.config = config
        self.network: Any = build_mask_denoiser(config.preset)
        self.scheduler = build_mask_scheduler()
        self.alpha_bar_T = self.scheduler.alphas_cumprod.to(device)

    def loss(self, network: nn.Module, batch: MaskBatch, device: str) -> tuple[torch.Tensor, Figures]:
        tensors = to_tensors(batch, device)
        clean_BChw = fold(tensors["planes_BKSS"])
        noisy_BChw, timestep_B, wanted = diffuse(
            self.scheduler, self.alpha_bar_T, clean_BChw, tensors["noise_BChw"], tensors["time_B"]
        )
        # The squared error of the velocity is that of the planes over the noise variance, 1 + alpha^2 /
        # sigma^2 = 1 / sigma^2: the "SNR + 1" weight of section 4 of Salimans & Ho 2022.
        variance_B11 = (1 - self.alpha_bar_T[timestep_B]).clamp(min=LEAST_VARIANCE)[:, None, None]
        output_BChw = network(noisy_BChw, timestep_B, tensors["condition_BT"])
        error_Bhw = ((output_BChw - wanted) ** 2).mean(1) / variance_B11
        # `fold` packs each square of pixels into channels; a square is on an object where any of its pixels
        # is.
        # -1 is sky in every plane.
        near_BSS = (tensors["planes_BKSS"].amax(1) > -1).float()
        near_Bhw = functional.max_pool2d(near_BSS, LATENT_FACTOR)
        return error_Bhw.mean(), {"mask_loss": mean_inside(error_Bhw, near_Bhw)}

    def publish(self, folder: Path, batches: list[MaskBatch], device: str) -> dict[str, Any]:
        self.network.save_pretrained(folder, safe_serialization=True)
        self.scheduler.save_pretrained(folder / "scheduler")
        write_masks_card(folder, self.config)
        return {}
