"""The networks of super-resolution by name (SR3, Saharia et al. 2021); importing this loads no torch.

API: ``SUPER[name]`` -> `SuperPreset`; ``settings_of(name, width, planes)`` -> arguments of
`astro_dist.models.super_net.SuperNet`.

``sr3`` is the network as its paper states it for 64 -> 128 pixels, ``code`` that of the public code, whose
weights it reads. ``improved`` has the same widths and other choices: see the fields below. ``tiny`` and
``small`` make these choices at sizes for a CPU. ``local`` is for maps: what it makes of a pixel depends on
``reach_pix`` pixels round it and on nothing else.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

SuperName = Literal["tiny", "small", "sr3", "code", "improved", "local"]
SCALE = 2
"""Factor of the enlargement of all presets."""
BASE_REACH_PIX = 2
"""Pixels of the input beyond a pixel that its bicubic enlargement sees."""


@dataclass(frozen=True)
class SuperPreset:
    """Sizes and choices of a network, its usual learning rate, and what training costs.

    Attributes
    ----------
    width, factors, blocks
        Channels of the first level, their factors at all levels, and blocks of each level.
    attention
        Levels with attention; the middle has it wherever a level has.
    fold
        Side of the squares of pixels that are folded into channels before the network.
    resampling
        ``conv``, or ``resnet``: blocks that resample inside, as those of BigGAN.
    level
        What the network is told of the noise: the root of gamma (``root``), 5,000 times that as in WaveGrad,
        on which sinusoids differ (``scaled_root``), or the logarithm of signal to noise (``log_snr``).
    predicts, base
        The noise of the picture itself, or the velocity of its scaled difference to the bicubic enlargement.
    shared_interval
        Whether all samples of a batch have their noise from one interval of the schedule.
    dropout, lr
        Share of dropped channels, and peak learning rate.
    cost
        Parameters, and core-seconds of CPU to train on one crop of 64 x 64 enlarged pixels.
    """

    width: int
    factors: tuple[int, ...]
    blocks: int
    attention: tuple[int, ...]
    fold: int
    resampling: Literal["conv", "resnet"]
    level: Literal["root", "scaled_root", "log_snr"]
    predicts: Literal["noise", "velocity"]
    base: Literal["none", "bicubic"]
    lr: float
    cost: tuple[float, float]
    dropout: float = 0.0
    shared_interval: bool = False


_SR3: tuple[int, tuple[int, ...], int, tuple[int, ...], int] = (64, (1, 2, 4, 8, 8), 2, (3,), 1)
_BETTER: tuple[Literal["resnet"], Literal["log_snr"], Literal["velocity"], Literal["bicubic"]] = (
    "resnet",
    "log_snr",
    "velocity",
    "bicubic",
)
SUPER: dict[str, SuperPreset] = {
    "tiny": SuperPreset(32, (1, 2), 2, (), 2, *_BETTER, 2e-3, (0.99e6, 0.02)),
    "small": SuperPreset(64, (1, 2, 2), 2, (), 2, *_BETTER, 1e-3, (6.57e6, 0.08)),
    "sr3": SuperPreset(*_SR3, "conv", "scaled_root", "noise", "none", 1e-4, (101.6e6, 3.0), 0.2),
    "code": SuperPreset(*_SR3, "conv", "root", "noise", "none", 1e-4, (99.5e6, 3.0), 0.2, True),
    "improved": SuperPreset(*_SR3, *_BETTER, 1e-4, (106.9e6, 3.0), 0.2),
    "local": SuperPreset(48, (1,), 6, (), 2, *_BETTER, 2e-3, (0.354e6, 0.013)),
}


def settings_of(name: SuperName, width: int | None = None, planes: int = 3) -> dict[str, Any]:
    """Return the arguments of `SuperNet` for a preset with ``width`` channels, by default its own."""
    preset = SUPER[name]
    width = width or preset.width
    shared = {
        "planes": planes,
        "fold": preset.fold,
        "level": preset.level,
        "predicts": preset.predicts,
        "base": preset.base,
    }
    if name == "local":
        return shared | {"kind": "local", "sizes": {"width": width, "blocks": preset.blocks}}
    return shared | {"kind": "unet", "sizes": _unet(preset, width, planes)}


def reach_of(settings: dict[str, Any]) -> int | None:
    """Return how many pixels of its input a call of a network sees round a pixel; None for all of a tile."""
    if settings["kind"] != "local":
        return None
    # A convolution of 3 x 3 at the beginning and in each block, on pixels folded to those of the input.
    return 1 + int(settings["sizes"]["blocks"]) + BASE_REACH_PIX


def _unet(preset: SuperPreset, width: int, planes: int) -> dict[str, Any]:
    """Return the arguments of diffusers' `UNet2DModel`."""
    folded, levels = planes * preset.fold**2, range(len(preset.factors))
    kinds = ["Attn" if i in preset.attention else "" for i in levels]
    return {
        "in_channels": 2 * folded,
        "out_channels": folded,
        "block_out_channels": [width * factor for factor in preset.factors],
        "down_block_types": [f"{kind}DownBlock2D" for kind in kinds],
        "up_block_types": [f"{kind}UpBlock2D" for kind in reversed(kinds)],
        "layers_per_block": preset.blocks,
        "attention_head_dim": None,
        "norm_num_groups": math.gcd(32, width),
        "add_attention": bool(preset.attention),
        "downsample_type": preset.resampling,
        "upsample_type": preset.resampling,
        # The public code adds what it is told of the noise, and SR3 scales and shifts by it.
        "resnet_time_scale_shift": "default" if preset.level == "root" else "scale_shift",
        "dropout": preset.dropout,
        # [sin, cos] of frequencies 1 to 1e-4, as in the public code.
        "flip_sin_to_cos": False,
        "freq_shift": 0,
    }
