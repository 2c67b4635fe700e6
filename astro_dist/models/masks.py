"""Masks as smooth planes, and the network that draws them.

A class map has hard edges, which a diffusion model draws badly. It is therefore told and drawn as one plane
per class with the signed distance to the edge of the nearest object of that class, in units of `REACH_PIX`
and clipped there: 1 deep inside, -1 far away, 0 at the edge. ``to_planes`` and ``from_planes`` invert each
other but for the row of pixels between two objects that touch.

API: ``build_mask_denoiser(preset)``, ``load_mask_denoiser(folder)`` -> `MaskDenoiser`; the folder also has
``scheduler/``, see `astro_dist.models.denoiser.load_scheduler`.

The network is told how many objects of each class there are: what mixture comes out is a matter of asking.

Shape letters: B batch, K the three classes of objects, S side in pixels, C h w folded planes, T numbers told.
"""

from pathlib import Path
from typing import Any

import numpy as np
from diffusers import ConfigMixin, DPMSolverMultistepScheduler, ModelMixin, UNet2DModel
from diffusers.configuration_utils import register_to_config
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from astro_dist.models.conditions import NUM_CLASSES
from astro_dist.models.presets import FACTS, LATENT_FACTOR, PRESETS

REACH_PIX = 4.0
CONDITION_SIZE = NUM_CLASSES - 1 + FACTS
_EIGHT_NEIGHBOURS = np.ones((3, 3), bool)
Image = NDArray[np.float32]


def to_planes(mask: NDArray[np.uint8], instances: NDArray[np.integer]) -> Image:
    """Return the planes (K, S, S) float32 of a mask; pixels of an object beside another's are left out."""
    planes = np.full((NUM_CLASSES - 1, *mask.shape), -1.0, np.float32)
    numbers = instances.astype(np.int32)
    highest = ndimage.maximum_filter(numbers, footprint=_EIGHT_NEIGHBOURS)
    lowest = ndimage.minimum_filter(np.where(numbers, numbers, 1 << 30), footprint=_EIGHT_NEIGHBOURS)
    whole = (highest == numbers) & (lowest == numbers)
    for plane, source_class in zip(planes, range(1, NUM_CLASSES), strict=True):
        inside = (mask == source_class) & (whole if numbers.any() else True)
        if not inside.any():
            continue
        box = tuple(
            slice(max(0, side.start - int(REACH_PIX) - 1), side.stop + int(REACH_PIX) + 1)
            for side in ndimage.find_objects(inside.view(np.uint8))[0]
        )
        # A rim of sky, so that an object over all of the box has an edge; 0.5: edges lie between pixels.
        padded = np.pad(inside[box], 1)
        outwards, inwards = (ndimage.distance_transform_edt(area) for area in (~padded, padded))
        distance = np.where(padded, inwards - 0.5, 0.5 - outwards)[1:-1, 1:-1]
        plane[box] = np.clip(distance / REACH_PIX, -1, 1)
    return planes


def from_planes(planes_KSS: Image, least_pix: int = 4) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Return mask and instances of planes.

    Connected pixels are an object, whose class is that of most of them; what has fewer than ``least_pix``
    pixels is left out.
    """
    classes = np.where(planes_KSS.max(0) > 0, planes_KSS.argmax(0) + 1, 0)
    labels, count = ndimage.label(classes > 0, structure=_EIGHT_NEIGHBOURS)
    votes = np.zeros((count + 1, NUM_CLASSES), np.int64)
    np.add.at(votes, (labels.ravel(), classes.ravel()), 1)
    kept = votes.sum(1) >= least_pix
    kept[0] = False
    numbers = np.where(kept, np.cumsum(kept), 0)
    winners = np.where(kept, votes.argmax(1), 0)
    return winners[labels].astype(np.uint8), numbers[labels].astype(np.uint16)


def count_objects(mask: NDArray[np.uint8], instances: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the number of objects of each class, (K,)."""
    classes = np.zeros(int(instances.max(initial=0)) + 1, np.uint8)
    np.maximum.at(classes, instances.ravel(), mask.ravel())
    return np.bincount(classes[1:], minlength=NUM_CLASSES)[1:]


def encode_mask_condition(counts_BK: NDArray[np.integer], facts_BF: Image) -> Image:
    """Return what the network is told, (B, T): how many objects of each class, and the facts of its sky."""
    return np.concatenate([np.log2(1 + counts_BK), facts_BF], axis=1, dtype=np.float32)


def fold(planes_BKSS: Tensor) -> Tensor:
    """Return planes as the network sees them (B, C, h, w): 0 is empty sky, 1 deep inside an object.

    The scale matters: neighbours say the same, so that a large object of height 2 would stand out of all
    but the last of the noise, and be decided upon in the first step or two of the sampler.
    """
    return functional.pixel_unshuffle((planes_BKSS + 1) / 2, LATENT_FACTOR)


def unfold(folded_BChw: Tensor) -> Tensor:
    """Invert `fold`."""
    return 2 * functional.pixel_shuffle(folded_BChw, LATENT_FACTOR) - 1


class MaskDenoiser(ModelMixin, ConfigMixin):
    """A U-Net over folded planes that is told numbers of objects and facts along with the time.

    Parameters
    ----------
    unet
        Arguments of a `UNet2DModel`, but for its channels in and out.
    """

    @register_to_config
    def __init__(self, unet: dict[str, Any]) -> None:
        super().__init__()
        channels = (NUM_CLASSES - 1) * LATENT_FACTOR**2
        self.drawer = UNet2DModel(
            **unet, in_channels=channels, out_channels=channels, class_embed_type="identity"
        )
        self.told_in = nn.Linear(CONDITION_SIZE, 4 * unet["block_out_channels"][0])

    def forward(self, noisy_BChw: Tensor, timestep: Tensor, condition_BT: Tensor) -> Tensor:
        """Return the planes without their noise, (B, C, h, w) float32."""
        return self.drawer(noisy_BChw, timestep, self.told_in(condition_BT)).sample.float()


def mask_noise_shape(size_pix: int) -> tuple[int, int, int]:
    """Return (C, h, w) of the noise that a mask begins as."""
    side = size_pix // LATENT_FACTOR
    return (NUM_CLASSES - 1) * LATENT_FACTOR**2, side, side


def build_mask_denoiser(preset: str) -> MaskDenoiser:
    """Return an untrained network of a preset."""
    return MaskDenoiser(PRESETS[preset].masks)


def build_mask_scheduler() -> DPMSolverMultistepScheduler:
    """Return the noise schedule of masks.

    The network predicts the planes themselves: they vary little, whereas noise in 16 pixels of 3 planes is
    more than the narrow layers of a small network can hand through.
    """
    return DPMSolverMultistepScheduler(
        num_train_timesteps=1000,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="sample",
        timestep_spacing="trailing",
        use_lu_lambdas=False,
    )


def load_mask_denoiser(folder: Path) -> MaskDenoiser:
    """Load a mask model from its folder, without any network."""
    return MaskDenoiser.from_pretrained(folder, use_safetensors=True, local_files_only=True).eval()
