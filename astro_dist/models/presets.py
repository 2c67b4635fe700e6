"""The sizes of the networks: ``tiny`` (tests), ``small``, ``told``, ``improved``, ``paper``, ``code``.

API: ``PRESETS[name]`` -> `Preset`, whose mappings are the arguments of the autoencoder, the condition
encoder, the U-Net and the noise schedule. The latents of all presets have one quarter of the pixels per side:
a 128-pixel stamp is a 32 x 32 latent.

``paper`` and ``code`` have the sizes of RADiff's public code: a KL-f4 autoencoder of 55.3 M parameters with a
3 x 32 x 32 latent, and a U-Net of 395.0 M with 6 channels in, 3 channels out and a context of 512. ``paper``
follows the text of the paper, and common practice where the text is silent. ``code`` follows the public code.
The two differ, in the order paper, code, in:

* noise schedule: linear, or scaled-linear from 0.0015 to 0.0155;
* mask: a learned embedding of the one-hot classes at full resolution in 3 channels, or the class numbers
  0..3 through the image autoencoder, which was not trained on such values;
* background: 64 tokens of 512, or one token, with which cross-attention can only add a constant;
* latents: scaled to unit standard deviation, or not scaled.

Their other differences (losses, dropout, sampler) are settings in ``configs/radiff``. Neither preset has the
brightness of objects as a condition. ``told`` is ``small`` with beam, noise and survey added to the embedding
of the time. ``improved`` is the recommended preset on a GPU: it is told these too, the mask also enters the
decoder, and the schedule ends in pure noise, with which sampling begins.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

PresetName = Literal["tiny", "small", "told", "improved", "paper", "code"]

LATENT_FACTOR = 4
"""Pixels of the image per pixel of the latent, along each side."""
FACTS = 6
"""Numbers in `astro_dist.store.facts` of each cutout."""

TOLD: dict[str, Any] = {
    "class_embed_type": "projection",
    "projection_class_embeddings_input_dim": FACTS,
}
"""Arguments of a U-Net that is told the facts."""


@dataclass(frozen=True)
class Preset:
    """The arguments of the four parts of a model and of the mask model."""

    autoencoder_class: str
    autoencoder: dict[str, Any]
    conditioner: dict[str, Any]
    unet: dict[str, Any]
    masks: dict[str, Any]
    costs: dict[str, tuple[float, float]]
    """Per stage: parameters, and core-seconds of CPU to train on one crop of 64 x 64 pixels."""
    schedule: dict[str, Any] = field(
        default_factory=lambda: {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"}
    )
    conditioner_class: str = "ConditionEncoder"
    scale_latents: bool = True
    """Whether latents are brought to unit standard deviation."""
    sky_in_place: bool = True
    """Whether a model that draws the sky has the background's brightness per latent pixel as a condition."""

    def places_sky(self, target: str) -> bool:
        """Return whether a model of a target has ``sky_in_place``, see `ConditionEncoder`."""
        return self.sky_in_place and target == "stamp"

    @property
    def facts(self) -> int:
        """How many facts of the sky the denoiser is told."""
        return int(self.conditioner.get("facts", 0))

    def without_facts(self) -> "Preset":
        """Return the same sizes for a denoiser that is not told them."""
        conditioner = {name: value for name, value in self.conditioner.items() if name != "facts"}
        return replace(
            self,
            conditioner=conditioner,
            unet={name: value for name, value in self.unet.items() if name not in TOLD},
        )


def find_skips(channels: tuple[int, ...], layers: int) -> list[tuple[int, int]]:
    """Return level and channels of each of a U-Net's skip connections; the last entry is of its middle."""
    deepest = len(channels) - 1
    # The order in which diffusers' encoder gives them: the first convolution, then of each level its layers
    # and its downsampler, whose output has half the side.
    skips = [(0, channels[0])]
    for level, inside in enumerate(channels):
        skips += [(level, inside)] * layers + [(level + 1, inside)] * (level < deepest)
    return [*skips, (deepest, channels[-1])]


def _latent_unet(
    channels: tuple[int, int, int], heads: int, mask_channels: int, token_dim: int
) -> dict[str, Any]:
    """Return the arguments of a U-Net over a 4-channel latent with attention in the middle only.

    The middle of a 128-pixel stamp has 8 x 8 pixels.
    """
    return {
        "sample_size": 32,
        "in_channels": 4 + mask_channels,
        "out_channels": 4,
        "block_out_channels": channels,
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D",) * 3,
        "up_block_types": ("UpBlock2D",) * 3,
        "cross_attention_dim": token_dim,
        # diffusers calls the *number* of heads by the name of their size.
        "attention_head_dim": heads,
        # diffusers' default of 32 does not divide 48 channels; 8 divides those of every preset.
        "norm_num_groups": 8,
        "resnet_time_scale_shift": "scale_shift",
    }


def _mask_unet(channels: tuple[int, int, int], layers: int) -> dict[str, Any]:
    """Return the arguments of a U-Net over the folded planes of a mask with attention in the middle only.

    The middle of a 128-pixel mask has 8 x 8 pixels.
    """
    return {
        "sample_size": 32,
        "block_out_channels": channels,
        "layers_per_block": layers,
        "down_block_types": ("DownBlock2D",) * 3,
        "up_block_types": ("UpBlock2D",) * 3,
        # In `UNet2DModel` this is the size of a head, unlike in `_latent_unet`.
        "attention_head_dim": 32,
        "norm_num_groups": 8,
        "resnet_time_scale_shift": "scale_shift",
    }


_RADIFF_AUTOENCODER: dict[str, Any] = {
    "in_channels": 1,
    "out_channels": 1,
    "latent_channels": 3,
    "block_out_channels": (128, 256, 512),
    "layers_per_block": 2,
    # The last of the three blocks does not shrink, so the side is divided by 4.
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
    "sample_size": 128,
}
_RADIFF_UNET: dict[str, Any] = {
    "sample_size": 32,
    "in_channels": 6,  # latent 3, mask 3
    "out_channels": 3,
    "block_out_channels": (256, 512, 1024),
    "layers_per_block": 2,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3,
    "up_block_types": ("CrossAttnUpBlock2D",) * 3,
    "cross_attention_dim": 512,
    # Numbers of heads (see `_latent_unet`), each of 32 channels.
    "attention_head_dim": (8, 16, 32),
}

_SMALL = Preset(
    autoencoder_class="StampAutoencoder",
    autoencoder={"channels": (32, 64), "num_blocks": 2, "latent_channels": 4},
    conditioner={"mask_channels": 32, "token_dim": 128, "width": 64},
    unet=_latent_unet((64, 128, 192), heads=4, mask_channels=32, token_dim=128),
    masks=_mask_unet((64, 128, 192), 1),
    costs={"autoencoder": (0.47e6, 0.010), "diffusion": (8.06e6, 0.025), "masks": (7.2e6, 0.03)},
)

PRESETS: dict[str, Preset] = {
    "tiny": Preset(
        autoencoder_class="StampAutoencoder",
        autoencoder={"channels": (24, 48), "num_blocks": 2, "latent_channels": 4},
        conditioner={"mask_channels": 32, "token_dim": 64, "width": 32},
        unet=_latent_unet((48, 64, 96), heads=2, mask_channels=32, token_dim=64),
        masks=_mask_unet((48, 64, 96), 1),
        costs={"autoencoder": (0.27e6, 0.006), "diffusion": (2.31e6, 0.008), "masks": (2.1e6, 0.01)},
    ),
    "small": _SMALL,
    "told": replace(
        _SMALL,
        conditioner=_SMALL.conditioner | {"facts": FACTS},
        unet=_SMALL.unet | TOLD,
        costs=_SMALL.costs | {"diffusion": (8.13e6, 0.025)},
    ),
    "improved": Preset(
        autoencoder_class="StampAutoencoder",
        autoencoder={"channels": (64, 128), "num_blocks": 3, "latent_channels": 4},
        conditioner={
            "mask_channels": 64,
            "token_dim": 256,
            "width": 96,
            "facts": FACTS,
            "skips": find_skips((160, 320, 480), 2),
        },
        unet=_latent_unet((160, 320, 480), heads=8, mask_channels=64, token_dim=256)
        | {
            "layers_per_block": 2,
            # No attention at the full side of the latent: its cost grows with the fourth power of the side.
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "norm_num_groups": 32,
        }
        | TOLD,
        masks=_mask_unet((128, 256, 384), 2),
        costs={"autoencoder": (2.6e6, 0.05), "diffusion": (105.8e6, 0.35), "masks": (41e6, 0.15)},
        schedule={
            "beta_schedule": "squaredcos_cap_v2",
            "prediction_type": "v_prediction",
            "rescale_betas_zero_snr": True,
        },
    ),
    "paper": Preset(
        autoencoder_class="AutoencoderKL",
        autoencoder=_RADIFF_AUTOENCODER,
        conditioner={"mask_channels": 3, "token_dim": 512, "width": 128, "brightness": False},
        sky_in_place=False,
        unet=_RADIFF_UNET,
        masks=_mask_unet((128, 256, 384), 2),
        costs={"autoencoder": (55.3e6, 1.0), "diffusion": (396.5e6, 1.2), "masks": (41e6, 0.15)},
        schedule={
            # Ho et al. 2020, section 4.
            "beta_schedule": "linear",
            "beta_start": 1e-4,
            "beta_end": 2e-2,
            "prediction_type": "epsilon",
        },
    ),
    "code": Preset(
        autoencoder_class="AutoencoderKL",
        autoencoder=_RADIFF_AUTOENCODER,
        conditioner_class="CodeConditionEncoder",
        conditioner={"autoencoder": _RADIFF_AUTOENCODER, "token_dim": 512},
        unet=_RADIFF_UNET,
        masks=_mask_unet((128, 256, 384), 2),
        costs={"autoencoder": (55.3e6, 1.0), "diffusion": (455e6, 1.5), "masks": (41e6, 0.15)},
        schedule={
            "beta_schedule": "scaled_linear",
            "beta_start": 1.5e-3,
            "beta_end": 1.55e-2,
            "prediction_type": "epsilon",
            # With `ddim` the timesteps are those of LDM's sampler: 1, 11, 21, ... for 100 steps.
            "timestep_spacing": "leading",
            "steps_offset": 1,
        },
        scale_latents=False,
        sky_in_place=False,
    ),
}
