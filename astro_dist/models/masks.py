"""Masks as smooth planes, and the diffusion model that draws them.

A class map has hard edges, which a diffusion model draws badly. The model therefore works on one plane per
class, with the signed distance to the edge of the nearest object of that class in units of `REACH_PIX`,
clipped to 1 (deep inside) and -1 (far away); the edge is at 0. ``to_planes`` and ``from_planes`` invert each
other except for the row of pixels between two objects that touch.

API: ``build_mask_denoiser(preset)``, ``load_mask_denoiser(folder)`` -> `MaskDenoiser`; the folder also has
``scheduler/``, see `astro_dist.models.denoiser.load_scheduler`.

The condition of the model is the number of objects of each class and the facts of the sky
(`encode_mask_condition`), so the caller decides the mixture of classes.

Shape letters: B batch, K the three classes of objects, S side in pixels, C h w folded planes, T numbers of
the condition, F facts.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from astro_dist.engine.arrays import Image
from astro_dist.models.conditions import NUM_CLASSES
from astro_dist.models.diffusers_types import (
    ConfigMixin,
    DPMSolverMultistepScheduler,
    ModelMixin,
    UNet2DModel,
    register_to_config,
)
from astro_dist.models.presets import FACTS, LATENT_FACTOR, PRESETS

REACH_PIX = 4.0
"""Distance from an edge, in pixels, at which the planes are clipped."""
CONDITION_SIZE = NUM_CLASSES - 1 + FACTS
"""Numbers T of the condition."""
_EIGHT_NEIGHBOURS = np.ones((3, 3), bool)


def to_planes(mask: NDArray[np.uint8], instances: NDArray[np.integer]) -> Image:
    """Return the planes (K, S, S) float32 of a mask.

    Pixels of an object that touch another object count as sky, so that `from_planes` finds two objects.
    """
    planes = np.full((NUM_CLASSES - 1, *mask.shape), -1.0, np.float32)
    numbers = instances.astype(np.int32)
    # A pixel is whole if the 3 x 3 pixels around it hold no other object's number.
    highest = ndimage.maximum_filter(numbers, footprint=_EIGHT_NEIGHBOURS)
    # In the minimum the sky has the highest number, so only other objects lower it.
    lowest = ndimage.minimum_filter(np.where(numbers, numbers, 1 << 30), footprint=_EIGHT_NEIGHBOURS)
    whole = (highest == numbers) & (lowest == numbers)
    for plane, source_class in zip(planes, range(1, NUM_CLASSES), strict=True):
        # A mask without instances cannot show where objects touch and is taken as it is.
        inside = (mask == source_class) & (whole if numbers.any() else True)
        if not inside.any():
            continue
        # Outside the box, within reach of no object, the plane stays at -1.
        box = tuple(
            slice(max(0, side.start - int(REACH_PIX) - 1), side.stop + int(REACH_PIX) + 1)
            for side in ndimage.find_objects(inside.view(np.uint8))[0]
        )
        # A rim of sky gives an edge to an object that fills the box. Edges lie between pixels, hence 0.5.
        padded = np.pad(inside[box], 1)
        outwards, inwards = (ndimage.distance_transform_edt(area) for area in (~padded, padded))
        distance = np.where(padded, inwards - 0.5, 0.5 - outwards)[1:-1, 1:-1]
        plane[box] = np.clip(distance / REACH_PIX, -1, 1)
    return planes


def from_planes(planes_KSS: Image, least_pix: int = 4) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Return the mask and the instances (S, S) of planes.

    Pixels above 0 that touch by a side or a corner form an object. Its class is that of most of its pixels.
    Objects of fewer than ``least_pix`` pixels are left out.
    """
    classes = np.where(planes_KSS.max(0) > 0, planes_KSS.argmax(0) + 1, 0)
    # All classes together: a few pixels of another class must not cut an object in two.
    labels, count = ndimage.label(classes > 0, structure=_EIGHT_NEIGHBOURS)
    votes = np.zeros((count + 1, NUM_CLASSES), np.int64)
    np.add.at(votes, (labels.ravel(), classes.ravel()), 1)
    kept = votes.sum(1) >= least_pix
    # Label 0 is the sky. The numbers below have no gaps: a gap would be an object without pixels.
    kept[0] = False
    numbers = np.where(kept, np.cumsum(kept), 0)
    winners = np.where(kept, votes.argmax(1), 0)
    return winners[labels].astype(np.uint8), numbers[labels].astype(np.uint16)


def count_objects(mask: NDArray[np.uint8], instances: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the number of objects of each class, (K,)."""
    classes = np.zeros(int(instances.max(initial=0)) + 1, np.uint8)
    # An object whose pixels have several classes counts for the highest.
    np.maximum.at(classes, instances.ravel(), mask.ravel())
    return np.bincount(classes[1:], minlength=NUM_CLASSES)[1:]


def encode_mask_condition(counts_BK: NDArray[np.integer], facts_BF: Image) -> Image:
    """Return the condition (B, T) float32 of masks.

    Parameters
    ----------
    counts_BK
        Number of objects of each class; the condition holds ``log2(1 + n)``.
    facts_BF
        Beam, noise and survey, see `astro_dist.store.facts`.
    """
    # A logarithm brings tens of objects near the size of the facts, which are about one.
    return np.concatenate([np.log2(1 + counts_BK), facts_BF], axis=1, dtype=np.float32)


def fold(planes_BKSS: Tensor) -> Tensor:
    """Return the folded planes (B, C, h, w) on which the network works.

    A value of 0 is empty sky, 1 is deep inside an object.

    The scale matters because the pixels of an object have nearly equal values. At a height of 2 a large
    object would stand out of all but the strongest noise, and the first step or two of the sampler would
    settle it.
    """
    return functional.pixel_unshuffle((planes_BKSS + 1) / 2, LATENT_FACTOR)


def unfold(folded_BChw: Tensor) -> Tensor:
    """Return the planes (B, K, S, S) of folded planes, the inverse of `fold`."""
    return 2 * functional.pixel_shuffle(folded_BChw, LATENT_FACTOR) - 1


class MaskDenoiser(ModelMixin, ConfigMixin):
    """A U-Net over folded planes whose condition is added to the embedding of the time.

    Parameters
    ----------
    unet
        Arguments of a `UNet2DModel` without its channels in and out.
    """

    @register_to_config
    def __init__(self, unet: dict[str, Any]) -> None:
        super().__init__()
        channels = (NUM_CLASSES - 1) * LATENT_FACTOR**2
        # "identity": the condition is already a vector of the size of the time's embedding.
        self.drawer = UNet2DModel(
            **unet, in_channels=channels, out_channels=channels, class_embed_type="identity"
        )
        # The attribute names a key of published weights.
        self.told_in = nn.Linear(CONDITION_SIZE, 4 * unet["block_out_channels"][0])

    def forward(self, noisy_BChw: Tensor, timestep: Tensor, condition_BT: Tensor) -> Tensor:
        """Return the prediction of the folded planes without noise, (B, C, h, w) float32."""
        output: Tensor = self.drawer(noisy_BChw, timestep, self.told_in(condition_BT)).sample
        return output.float()


def mask_noise_shape(size_pix: int) -> tuple[int, int, int]:
    """Return the shape (C, h, w) of the noise from which a mask is drawn."""
    side = size_pix // LATENT_FACTOR
    return (NUM_CLASSES - 1) * LATENT_FACTOR**2, side, side


def build_mask_denoiser(preset: str) -> MaskDenoiser:
    """Return an untrained mask model of a preset."""
    return MaskDenoiser(PRESETS[preset].masks)


def build_mask_scheduler() -> DPMSolverMultistepScheduler:
    """Return the noise schedule of masks.

    The network predicts the planes and not the noise. Planes vary little, whereas the noise of a pixel of the
    folded planes is 48 independent numbers (16 pixels of 3 planes), too many for the narrow layers of a small
    network.
    """
    return DPMSolverMultistepScheduler(
        num_train_timesteps=1000,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="sample",
        timestep_spacing="trailing",
        use_lu_lambdas=False,
    )


def load_mask_denoiser(folder: Path) -> MaskDenoiser:
    """Load a mask model from its folder, without any download."""
    return MaskDenoiser.from_pretrained(folder, use_safetensors=True, local_files_only=True).eval()
