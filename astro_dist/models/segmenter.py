"""Tiramisu, the segmenter with which stamps are evaluated: an FC-DenseNet from an image to a class per pixel.

Layer order, growth and concatenations are those of Jegou et al. 2017 ("The One Hundred Layers Tiramisu"): a
dense layer is norm, ReLU, 3x3 convolution, dropout. On the way up a dense block passes on only the feature
maps that it added. The sizes are in `astro_dist.models.judges`.

API: ``build_segmenter(preset)``, ``load_segmenter(folder)`` -> the network on the CPU in evaluation
mode; ``segmenter(u_B1HW)`` -> ``logits_BKHW`` float32 of the K = 4 classes. H and W are at least
``2**levels`` pixels.

Shape letters: B batch, C channels, K classes, H W image pixels.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from astro_dist.models.diffusers_types import ConfigMixin, ModelMixin, register_to_config
from astro_dist.models.judges import JUDGES


def _layer(channels: int, growth: int, size: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, growth, size, padding=size // 2),
        nn.Dropout2d(dropout),
    )


class DenseBlock(nn.Module):
    """Dense layers, each applied to the block's input and the outputs of all earlier layers.

    The output holds only the feature maps that the layers added, without the block's input.
    """

    def __init__(self, channels: int, layers: int, growth: int, dropout: float) -> None:
        super().__init__()
        self.steps = nn.ModuleList(_layer(channels + i * growth, growth, 3, dropout) for i in range(layers))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        added: list[Tensor] = []
        for layer in self.steps:
            added.append(layer(torch.cat([x_BCHW, *added], 1)))
        return torch.cat(added, 1)


class Segmenter(ModelMixin, ConfigMixin):
    """An FC-DenseNet.

    Parameters
    ----------
    stem
        Channels of the first convolution.
    growth
        Channels that each dense layer adds.
    layers
        Dense layers of each block on the way down. The blocks on the way up have the same numbers in reverse.
    bottleneck
        Dense layers of the block at the bottom.
    in_channels, classes
        Channels of the image, and number K of classes.
    dropout
        Fraction of the feature maps that training sets to zero after each convolution.
    """

    @register_to_config
    def __init__(
        self,
        stem: int = 48,
        growth: int = 16,
        layers: Sequence[int] = (4, 5, 7, 10, 12),
        bottleneck: int = 15,
        in_channels: int = 1,
        classes: int = 4,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.entry = nn.Conv2d(in_channels, stem, 3, padding=1)
        self.down, self.shrink = nn.ModuleList(), nn.ModuleList()
        self.grow, self.up = nn.ModuleList(), nn.ModuleList()
        channels, skips = stem, []
        for count in layers:
            self.down.append(DenseBlock(channels, count, growth, dropout))
            channels += count * growth
            skips.append(channels)
            self.shrink.append(nn.Sequential(_layer(channels, channels, 1, dropout), nn.MaxPool2d(2)))
        self.middle = DenseBlock(channels, bottleneck, growth, dropout)
        added = bottleneck * growth
        for count, skip in zip(reversed(layers), reversed(skips), strict=True):
            self.grow.append(nn.ConvTranspose2d(added, added, 3, stride=2))
            self.up.append(DenseBlock(added + skip, count, growth, dropout))
            channels, added = added + skip + count * growth, count * growth
        self.head = nn.Conv2d(channels, classes, 1)

    def forward(self, u_BCHW: Tensor) -> Tensor:
        """Return the logits (B, K, H, W) of each pixel's class."""
        x_BCHW, skips = self.entry(u_BCHW), []
        for block, shrink in zip(self.down, self.shrink, strict=True):
            # On the way down a block's input stays beside the maps it added, for the skip and the next level.
            x_BCHW = torch.cat([x_BCHW, block(x_BCHW)], 1)
            skips.append(x_BCHW)
            x_BCHW = shrink(x_BCHW)
        added_BCHW = self.middle(x_BCHW)
        for grow, block, skip_BCHW in zip(self.grow, self.up, reversed(skips), strict=True):
            height, width = skip_BCHW.shape[-2:]
            # Pooling turns both 2n and 2n + 1 pixels into n. The transposed convolution returns 2n + 1: cut.
            joined_BCHW = torch.cat([grow(added_BCHW)[..., :height, :width], skip_BCHW], 1)
            added_BCHW = block(joined_BCHW)
        # The last block keeps its input too: no further level follows whose channels would grow.
        logits_BKHW: Tensor = self.head(torch.cat([joined_BCHW, added_BCHW], 1))
        return logits_BKHW.float()


def build_segmenter(preset: str) -> Segmenter:
    """Return an untrained segmenter of a preset."""
    return Segmenter(**JUDGES[preset].segmenter)


def load_segmenter(folder: Path) -> Segmenter:
    """Load a segmenter from its folder, without any download."""
    return Segmenter.from_pretrained(folder, use_safetensors=True, local_files_only=True).eval()
