"""`DenseNet121`: the densely connected network of Huang et al. 2017 (table 1), with torchvision's names."""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

from astro_dist.models.classifier import Classifier, begin_convolutions, conv_norm

LAYERS = (6, 12, 24, 16)
GROWTH, INNER = 32, 4 * 32
"""Channels that a layer adds, and channels of its 1x1 convolution."""


class DenseLayer(nn.Module):
    """Norm, ReLU and 1x1, then norm, ReLU and 3x3 convolution; returns the added channels alone."""

    def __init__(self, inside: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inside), conv_norm(inside, INNER, 1)
        self.norm2, self.conv2 = nn.BatchNorm2d(INNER), conv_norm(INNER, GROWTH, 3)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        h_BCHW = self.conv1(torch.relu(self.norm1(x_BCHW)))
        added_BCHW: Tensor = self.conv2(torch.relu(self.norm2(h_BCHW)))
        return added_BCHW


class DenseBlock(nn.Module):
    """Layers of which each sees the channels of all before it."""

    def __init__(self, inside: int, layers: int) -> None:
        super().__init__()
        for number in range(layers):
            self.add_module(f"denselayer{number + 1}", DenseLayer(inside + number * GROWTH))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        for layer in self.children():
            x_BCHW = torch.cat([x_BCHW, layer(x_BCHW)], 1)
        return x_BCHW


def _transition(inside: int) -> nn.Sequential:
    layers: list[tuple[str, nn.Module]] = [("norm", nn.BatchNorm2d(inside)), ("relu", nn.ReLU())]
    layers += [("conv", conv_norm(inside, inside // 2, 1)), ("pool", nn.AvgPool2d(2))]
    return nn.Sequential(OrderedDict(layers))


class DenseNet121(Classifier):
    """Stem, four dense blocks with halvings between them, norm, mean over the last map."""

    head_name = "classifier"

    def __init__(self, classes: int, size_pix: int) -> None:
        super().__init__()
        stem: list[tuple[str, nn.Module]] = [("conv0", nn.Conv2d(3, 64, 7, 2, 3, bias=False))]
        stem += [("norm0", nn.BatchNorm2d(64)), ("relu0", nn.ReLU()), ("pool0", nn.MaxPool2d(3, 2, 1))]
        self.features = nn.Sequential(OrderedDict(stem))
        inside = 64
        for number, layers in enumerate(LAYERS, 1):
            self.features.add_module(f"denseblock{number}", DenseBlock(inside, layers))
            inside += layers * GROWTH
            if number < len(LAYERS):
                self.features.add_module(f"transition{number}", _transition(inside))
                inside //= 2
        self.features.add_module("norm5", nn.BatchNorm2d(inside))
        self.classifier = nn.Linear(inside, classes)
        begin_convolutions(self)
        nn.init.zeros_(self.classifier.bias)

    def body(self, x_B3SS: Tensor) -> Tensor:
        h_BCHW: Tensor = self.features(x_B3SS)
        return functional.relu(h_BCHW).mean((2, 3))
