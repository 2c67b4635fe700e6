"""The sizes of the networks: ``tiny`` (quick start and tests), ``small`` and ``paper``.

API: ``PRESETS[name]`` -> `Preset`, whose mappings are the arguments of the autoencoder, the
condition encoder, the U-Net and the noise schedule. All have a latent of one quarter of the
pixels per side, so a 128-pixel stamp is a 32 x 32 latent.

``paper`` has the sizes of RADiff's public code (KL-f4 autoencoder of 55.3 M parameters with a
3 x 32 x 32 latent, U-Net of 395 M) and, where text and code differ, the following choice:

* noise schedule: the text's linear one (the code runs a scaled-linear one, 0.0015 to 0.0155);
* mask: a learned embedding of the one-hot classes at full resolution in 3 channels (the code
  sends the class numbers 0..3 through the image autoencoder, which never saw such values);
* background: 64 tokens of 512 from another cutout (the code makes one token, with which
  cross-attention can only add a constant, and shows the network the very image it must draw);
* dropout of the background per sample (the code drops it for the whole batch);
* latents are scaled to unit standard deviation (the code does not scale them).
"""

from dataclasses import dataclass, field
from typing import Any, Literal

PresetName = Literal["tiny", "small", "paper"]

LATENT_FACTOR = 4


@dataclass(frozen=True)
class Preset:
    """Arguments of the four parts of a model."""

    autoencoder_class: str
    autoencoder: dict[str, Any]
    conditioner: dict[str, Any]
    unet: dict[str, Any]
    costs: dict[str, tuple[float, float]]
    """Per stage: parameters, and core-seconds of CPU to train on one crop of 64 x 64 pixels."""
    schedule: dict[str, Any] = field(
        default_factory=lambda: {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"}
    )


def _latent_unet(
    channels: tuple[int, int, int], heads: int, mask_channels: int, token_dim: int
) -> dict[str, Any]:
    """Return a U-Net over a 4-channel latent that attends in its middle only, at 8 x 8 for a stamp."""
    return {
        "sample_size": 32,
        "in_channels": 4 + mask_channels,
        "out_channels": 4,
        "block_out_channels": channels,
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D",) * 3,
        "up_block_types": ("UpBlock2D",) * 3,
        "cross_attention_dim": token_dim,
        # diffusers gives the *number* of heads the name of their size.
        "attention_head_dim": heads,
        "norm_num_groups": 8,
        "resnet_time_scale_shift": "scale_shift",
    }


PRESETS: dict[str, Preset] = {
    "tiny": Preset(
        autoencoder_class="StampAutoencoder",
        autoencoder={"channels": (24, 48), "num_blocks": 2, "latent_channels": 4},
        conditioner={"mask_channels": 32, "token_dim": 64, "width": 32},
        unet=_latent_unet((48, 64, 96), heads=2, mask_channels=32, token_dim=64),
        costs={"autoencoder": (0.27e6, 0.006), "diffusion": (2.31e6, 0.008)},
    ),
    "small": Preset(
        autoencoder_class="StampAutoencoder",
        autoencoder={"channels": (32, 64), "num_blocks": 2, "latent_channels": 4},
        conditioner={"mask_channels": 32, "token_dim": 128, "width": 64},
        unet=_latent_unet((64, 128, 192), heads=4, mask_channels=32, token_dim=128),
        costs={"autoencoder": (0.47e6, 0.010), "diffusion": (8.06e6, 0.025)},
    ),
    "paper": Preset(
        autoencoder_class="AutoencoderKL",
        autoencoder={
            "in_channels": 1,
            "out_channels": 1,
            "latent_channels": 3,
            "block_out_channels": (128, 256, 512),
            "layers_per_block": 2,
            "down_block_types": ("DownEncoderBlock2D",) * 3,
            "up_block_types": ("UpDecoderBlock2D",) * 3,
            "sample_size": 128,
        },
        conditioner={"mask_channels": 3, "token_dim": 512, "width": 128},
        unet={
            "sample_size": 32,
            "in_channels": 6,
            "out_channels": 3,
            "block_out_channels": (256, 512, 1024),
            "layers_per_block": 2,
            "down_block_types": ("CrossAttnDownBlock2D",) * 3,
            "up_block_types": ("CrossAttnUpBlock2D",) * 3,
            "cross_attention_dim": 512,
            # Heads of 32 channels each.
            "attention_head_dim": (8, 16, 32),
        },
        costs={"autoencoder": (55.3e6, 1.0), "diffusion": (396.5e6, 1.2)},
        schedule={
            "beta_schedule": "linear",
            "beta_start": 1e-4,
            "beta_end": 2e-2,
            "prediction_type": "epsilon",
        },
    ),
}
