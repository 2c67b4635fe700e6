"""The network that finds objects which disturb pictures: a U-Net on a ResNet (Ronneberger et al. 2015).

Pictures are float32 from 0 to 1. `build_cleaner` makes an untrained network, `load_cleaner` reads a folder.

Shape letters: B batch, P planes, H W pixels, C channels.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from astro_dist.models.cleaner_presets import CLEANERS
from astro_dist.models.diffusers_types import ConfigMixin, ModelMixin, register_to_config
from astro_dist.models.encoder import PictureEncoder

STEP_PIX = 32
"""Sides are padded to multiples of this, by which the encoder reduces them."""
STEM_PIX = 8
"""Channels at full resolution, which hold the edges of objects of a few pixels."""


def _block(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, padding=1, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU(),
    )


class CleanerUNet(ModelMixin, ConfigMixin):
    """An encoder, and a way back up to full resolution that joins the encoder's maps at each level.

    Parameters
    ----------
    planes, channels, blocks
        As in `PictureEncoder`.
    """

    @register_to_config
    def __init__(
        self,
        planes: int = 3,
        channels: Sequence[int] = (64, 128, 256, 512),
        blocks: Sequence[int] = (3, 4, 6, 3),
    ) -> None:
        super().__init__()
        self.encoder = PictureEncoder(planes, tuple(channels), tuple(blocks))
        self.fine = _block(planes, STEM_PIX)
        # From the deepest map up: joined at 1/16, 1/8, 1/4, 1/2 and in full.
        joined = [*channels[-2::-1], channels[0], STEM_PIX]
        widths = [*channels[-2::-1], channels[0], max(STEM_PIX, channels[0] // 2)]
        self.up = nn.ModuleList(
            _block(inside + skip, outside)
            for inside, skip, outside in zip([channels[-1], *widths[:-1]], joined, widths, strict=True)
        )
        self.last = nn.Conv2d(widths[-1], 1, 1)

    def forward(self, x_BPHW: Tensor) -> Tensor:
        """Return the logits (B, 1, H, W) that a pixel belongs to an object."""
        height, width = x_BPHW.shape[-2:]
        padding = (0, -width % STEP_PIX, 0, -height % STEP_PIX)
        # The middle of the range becomes 0.
        u_BPHW = functional.pad(2 * x_BPHW - 1, padding, mode="replicate")
        *skips, h_BCHW = self.encoder.levels(u_BPHW)
        for block, skip in zip(self.up, [*skips[::-1], self.fine(u_BPHW)], strict=True):
            h_BCHW = block(torch.cat([functional.interpolate(h_BCHW, scale_factor=2.0), skip], 1))
        logits_B1HW: Tensor = self.last(h_BCHW)
        return logits_B1HW[..., :height, :width].float()


def build_cleaner(preset: str, planes: int) -> CleanerUNet:
    """Return an untrained network of a preset."""
    return CleanerUNet(planes, **CLEANERS[preset].encoder)


def load_cleaner(folder: Path) -> CleanerUNet:
    """Load a network from its folder, without any download."""
    network = CleanerUNet.from_pretrained(folder, use_safetensors=True, local_files_only=True)
    # Weights may lie in half precision; computing is in float32.
    return network.float().eval()
