"""The sizes of the networks that paint pictures from prompts, by name; imports no torch.

A preset holds for any side of the pictures that its autoencoder and its patches divide. ``paper`` has the
sizes of the published UniDiffuser (Bao et al. 2023): 0.95 G parameters for pictures of 512 pixels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

PainterName = Literal["tiny", "small", "paper"]
CAPTION_TOKENS = 67
"""Most tokens of a caption, as in diffusers' `UniDiffuserTextDecoder`."""


@dataclass(frozen=True)
class PainterPreset:
    """Arguments of every network of one size.

    Attributes
    ----------
    vae
        `AutoencoderKL`.
    text, image
        Text and image encoder: `CLIPTextConfig`, `CLIPVisionConfig`.
    text_tokens, text_dim, image_dim
        Tokens of a prompt, numbers per token after the caption decoder's encoding, and numbers of the image
        encoder's embedding.
    decoder
        GPT-2 part of `UniDiffuserTextDecoder`.
    unet
        `UniDiffuserModel`.
    schedule
        Betas of the noise.
    costs
        By training: numbers in the network, and seconds of one core per sample of 64 x 64 pixels.
    """

    vae: Mapping[str, Any]
    text: Mapping[str, Any]
    image: Mapping[str, Any]
    text_tokens: int
    text_dim: int
    image_dim: int
    decoder: Mapping[str, Any]
    unet: Mapping[str, Any]
    costs: Mapping[str, tuple[float, float]]
    schedule: Mapping[str, Any] = field(default_factory=dict)

    @property
    def factor(self) -> int:
        """Pixels of a picture per pixel of its latent, along each axis."""
        return int(2 ** (len(self.vae["block_out_channels"]) - 1))

    @property
    def multiple(self) -> int:
        """Number that divides the side of every picture of this preset."""
        return self.factor * int(self.unet["patch_size"])


def _vae(channels: tuple[int, ...], layers: int, groups: int, attention: bool) -> dict[str, Any]:
    return {
        "block_out_channels": channels,
        "down_block_types": ("DownEncoderBlock2D",) * len(channels),
        "up_block_types": ("UpDecoderBlock2D",) * len(channels),
        "layers_per_block": layers,
        "norm_num_groups": groups,
        "latent_channels": 4,
        "mid_block_add_attention": attention,
    }


def _transformer(width: int, layers: int, heads: int) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
    }


def _uvit(heads: int, head_dim: int, layers: int) -> dict[str, Any]:
    return {
        "num_attention_heads": heads,
        "attention_head_dim": head_dim,
        "num_layers": layers,
        "patch_size": 2,
        "activation_fn": "gelu",
        "use_timestep_embedding": True,
        # The published network normalises after each block, which small ones learn slowly with.
        "block_type": "default",
        "pre_layer_norm": True,
        "ff_final_dropout": False,
    }


PAINTERS: dict[str, PainterPreset] = {
    "tiny": PainterPreset(
        vae=_vae((16, 32, 64), 1, 8, False),
        text=_transformer(64, 2, 4),
        image=_transformer(64, 3, 4) | {"patch_size": 8},
        text_tokens=24,
        text_dim=32,
        image_dim=32,
        decoder={"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 96},
        unet=_uvit(4, 32, 4),
        costs={
            "vae": (0.7e6, 0.03),
            "clip": (0.3e6, 0.004),
            "captioner": (0.15e6, 0.01),
            "unidiffuser": (1.3e6, 0.02),
        },
    ),
    "small": PainterPreset(
        vae=_vae((32, 64, 128, 128), 2, 16, True),
        text=_transformer(128, 4, 4),
        image=_transformer(192, 6, 6) | {"patch_size": 8},
        text_tokens=77,
        text_dim=64,
        image_dim=64,
        decoder={"n_embd": 128, "n_layer": 4, "n_head": 4, "n_positions": 256},
        unet=_uvit(8, 64, 12),
        costs={
            "vae": (6.4e6, 0.2),
            "clip": (4e6, 0.05),
            "captioner": (1e6, 0.05),
            "unidiffuser": (48e6, 0.5),
        },
    ),
    "paper": PainterPreset(
        vae=_vae((128, 256, 512, 512), 2, 32, True),
        text=_transformer(768, 12, 12),
        image=_transformer(768, 12, 12) | {"patch_size": 32},
        text_tokens=77,
        text_dim=64,
        image_dim=512,
        decoder={"n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024},
        unet=_uvit(24, 64, 30) | {"block_type": "unidiffuser", "pre_layer_norm": False},
        costs={
            "vae": (83.7e6, 1.5),
            "clip": (212e6, 1.0),
            "captioner": (125e6, 1.0),
            # 2.3 TFLOP per evaluation at 512 x 512 pixels, three times that for a step: at 50 GFLOP/s a core.
            "unidiffuser": (0.95e9, 2.2),
        },
        # Those of Stable Diffusion, which the published scheduler holds.
        schedule={"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    ),
}
