"""The sizes of the networks that paint pictures of given classes, by name; imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

ClassPainterName = Literal["tiny", "small"]


@dataclass(frozen=True)
class ClassPreset:
    """Arguments of one size.

    Attributes
    ----------
    unet
        `UNet2DModel`, without what follows from the pictures and their classes.
    fold
        Pixels of a picture per pixel of the network, along each axis: the others become channels.
    cost
        Numbers in the network, and seconds of one core per sample of 64 x 64 pixels.
    """

    unet: Mapping[str, Any]
    fold: int
    cost: tuple[float, float]

    @property
    def multiple(self) -> int:
        """Number that divides the side of every picture of this preset."""
        return int(self.fold * 2 ** (len(self.unet["block_out_channels"]) - 1))


def _unet(channels: tuple[int, ...], layers: int) -> dict[str, Any]:
    return {
        "block_out_channels": channels,
        "layers_per_block": layers,
        # Attention in the middle only, where a picture of 64 pixels has 8 x 8.
        "down_block_types": ("DownBlock2D",) * len(channels),
        "up_block_types": ("UpBlock2D",) * len(channels),
        "attention_head_dim": 32,
        "norm_num_groups": 8,
        "resnet_time_scale_shift": "scale_shift",
    }


CLASS_PAINTERS: dict[str, ClassPreset] = {
    "tiny": ClassPreset(_unet((48, 64, 96), 1), 2, (2.1e6, 0.017)),
    "small": ClassPreset(_unet((64, 128, 192, 256), 2), 2, (2.4e7, 0.2)),
}
