"""`ResNet50`: the 50-layer residual network of He et al. 2016 (table 1), with torchvision's names.

The stride of a block sits in its 3x3 convolution, as in torchvision ("ResNet v1.5").
"""

import torch
from torch import Tensor, nn

from astro_dist.models.classifier import Classifier, begin_convolutions, conv_norm

STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
"""Inner channels, number of blocks and stride of each stage."""
GROWTH = 4
"""Channels of a block's output over its inner channels."""


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution beside a shortcut."""

    def __init__(self, inside: int, width: int, stride: int) -> None:
        super().__init__()
        outside = width * GROWTH
        self.conv1, self.bn1 = conv_norm(inside, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv_norm(width, width, 3, stride), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = conv_norm(width, outside, 1), nn.BatchNorm2d(outside)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inside != outside:
            self.downsample = nn.Sequential(conv_norm(inside, outside, 1, stride), nn.BatchNorm2d(outside))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        h_BCHW = torch.relu(self.bn1(self.conv1(x_BCHW)))
        h_BCHW = torch.relu(self.bn2(self.conv2(h_BCHW)))
        return torch.relu(self.bn3(self.conv3(h_BCHW)) + self.downsample(x_BCHW))


class ResNet50(Classifier):
    """Stem, four stages of bottlenecks, mean over the last map."""

    def __init__(self, classes: int, size_pix: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1, self.maxpool = nn.BatchNorm2d(64), nn.MaxPool2d(3, 2, 1)
        inside = 64
        for number, (width, blocks, stride) in enumerate(STAGES, 1):
            layers = [Bottleneck(inside, width, stride)]
            inside = width * GROWTH
            layers += [Bottleneck(inside, width, 1) for _ in range(blocks - 1)]
            self.add_module(f"layer{number}", nn.Sequential(*layers))
        self.fc = nn.Linear(inside, classes)
        begin_convolutions(self)

    def body(self, x_B3SS: Tensor) -> Tensor:
        h_BCHW: Tensor = self.maxpool(torch.relu(self.bn1(self.conv1(x_B3SS))))
        for number in range(1, len(STAGES) + 1):
            h_BCHW = self.get_submodule(f"layer{number}")(h_BCHW)
        return h_BCHW.mean((2, 3))
