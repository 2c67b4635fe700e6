"""`GoogLeNet`: the network of Szegedy et al. 2015 (table 1) with batch norms, with torchvision's names.

The auxiliary classifiers of its training are left out: torchvision's published weights are used without them.
Its third branch has a 3x3 convolution where the paper has 5x5, as in torchvision and TensorFlow.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from astro_dist.models.classifier import Classifier

INCEPTIONS = {
    "3a": (192, 64, 96, 128, 16, 32, 32),
    "3b": (256, 128, 128, 192, 32, 96, 64),
    "4a": (480, 192, 96, 208, 16, 48, 64),
    "4b": (512, 160, 112, 224, 24, 64, 64),
    "4c": (512, 128, 128, 256, 24, 64, 64),
    "4d": (512, 112, 144, 288, 32, 64, 64),
    "4e": (528, 256, 160, 320, 32, 128, 128),
    "5a": (832, 256, 160, 320, 32, 128, 128),
    "5b": (832, 384, 192, 384, 48, 128, 128),
}
"""Channels: of the input, of branch 1, inner and outer ones of branches 2 and 3, of branch 4."""


class ConvNorm(nn.Module):
    """A convolution, its batch norm, a ReLU."""

    def __init__(self, inside: int, outside: int, size: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, size, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outside, eps=0.001)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(x_BCHW)))


class Inception(nn.Module):
    """Four branches side by side, their channels one after the other."""

    def __init__(
        self, inside: int, one: int, two_in: int, two: int, three_in: int, three: int, four: int
    ) -> None:
        super().__init__()
        self.branch1 = ConvNorm(inside, one, 1)
        self.branch2 = nn.Sequential(ConvNorm(inside, two_in, 1), ConvNorm(two_in, two, 3, padding=1))
        self.branch3 = nn.Sequential(ConvNorm(inside, three_in, 1), ConvNorm(three_in, three, 3, padding=1))
        pool = nn.MaxPool2d(3, 1, 1, ceil_mode=True)
        self.branch4 = nn.Sequential(pool, ConvNorm(inside, four, 1))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return torch.cat([getattr(self, f"branch{number}")(x_BCHW) for number in range(1, 5)], 1)


class GoogLeNet(Classifier):
    """Stem, nine inceptions with two poolings between them, mean over the last map, dropout."""

    # torchvision's weights were converted from TensorFlow, which trained on [-1, 1].
    whitened = False

    def __init__(self, classes: int, size_pix: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(3, 64, 7, 2, 3)
        self.conv2, self.conv3 = ConvNorm(64, 64, 1), ConvNorm(64, 192, 3, padding=1)
        for name, channels in INCEPTIONS.items():
            self.add_module(f"inception{name}", Inception(*channels))
        self.fc = nn.Linear(1024, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.01)

    def body(self, x_B3SS: Tensor) -> Tensor:
        h_BCHW = _pool(self.conv1(x_B3SS), 3)
        h_BCHW = _pool(self.conv3(self.conv2(h_BCHW)), 3)
        for name in INCEPTIONS:
            if name in ("4a", "5a"):
                h_BCHW = _pool(h_BCHW, 3 if name == "4a" else 2)
            h_BCHW = self.get_submodule(f"inception{name}")(h_BCHW)
        return functional.dropout(h_BCHW.mean((2, 3)), 0.2, self.training)


def _pool(x_BCHW: Tensor, size: int) -> Tensor:
    return functional.max_pool2d(x_BCHW, size, 2, ceil_mode=True)
