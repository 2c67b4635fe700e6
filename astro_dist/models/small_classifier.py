"""`TinyClassifier`: a residual network of 0.1 million parameters for laptops and tests."""

import torch
from torch import Tensor, nn

from astro_dist.models.classifier import Classifier, begin_convolutions, conv_norm

CHANNELS = (12, 24, 40, 72)


class TinyBlock(nn.Module):
    """A 3x3 convolution beside a shortcut, at half the resolution of its input."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv_norm(inside, outside, 3, 2), nn.BatchNorm2d(outside)
        self.conv2, self.bn2 = conv_norm(outside, outside, 3), nn.BatchNorm2d(outside)
        self.downsample = nn.Sequential(nn.AvgPool2d(2), conv_norm(inside, outside, 1))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        h_BCHW = torch.relu(self.bn1(self.conv1(x_BCHW)))
        return torch.relu(self.bn2(self.conv2(h_BCHW)) + self.downsample(x_BCHW))


class TinyClassifier(Classifier):
    """Stem and four blocks that halve the resolution; the mean over the last map are the features."""

    def __init__(self, classes: int, size_pix: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv_norm(3, CHANNELS[0], 3), nn.BatchNorm2d(CHANNELS[0])
        pairs = zip((CHANNELS[0], *CHANNELS), CHANNELS, strict=False)
        self.layers = nn.Sequential(*(TinyBlock(inside, outside) for inside, outside in pairs))
        self.fc = nn.Linear(CHANNELS[-1], classes)
        begin_convolutions(self)

    def body(self, x_B3SS: Tensor) -> Tensor:
        h_BCHW: Tensor = self.layers(torch.relu(self.bn1(self.conv1(x_B3SS))))
        return h_BCHW.mean((2, 3))
