"""The sizes of the two networks that evaluate stamps: the BYOL encoder and the segmenter.

API: ``JUDGES[name]`` -> `JudgePreset`. ``small``, the default, has the paper's encoder (ResNet-18, 512
features) with smaller heads, and FC-DenseNet56. ``paper`` has the heads of Grill et al. 2020 and
FC-DenseNet103, the one hundred layers in the title of Jegou et al. 2017. RADiff's text says "Tiramisu" and
gives no size. ``tiny`` is for tests: the figures it measures mean nothing.
"""

from dataclasses import dataclass
from typing import Any, Literal

JudgeName = Literal["tiny", "small", "paper"]


@dataclass(frozen=True)
class JudgePreset:
    """Arguments of the encoder, its BYOL heads and the segmenter."""

    encoder: dict[str, Any]
    heads: dict[str, int]
    segmenter: dict[str, Any]
    costs: dict[str, tuple[float, float]]
    """Per stage: parameters, and core-seconds of CPU to train on one crop of 64 x 64 pixels."""


_RESNET_18 = {"channels": (64, 128, 256, 512), "blocks": 2}

JUDGES: dict[str, JudgePreset] = {
    "tiny": JudgePreset(
        encoder={"channels": (8, 16, 24, 32), "blocks": 1},
        heads={"hidden": 32, "projection": 16},
        segmenter={"stem": 12, "growth": 6, "layers": (2, 2), "bottleneck": 2, "dropout": 0.1},
        costs={"byol": (0.067e6, 0.005), "segmenter": (0.024e6, 0.03)},
    ),
    "small": JudgePreset(
        encoder=_RESNET_18,
        heads={"hidden": 512, "projection": 128},
        segmenter={"stem": 48, "growth": 12, "layers": (4, 4, 4, 4, 4), "bottleneck": 4},
        costs={"byol": (23.13e6, 0.06), "segmenter": (1.375e6, 0.2)},
    ),
    "paper": JudgePreset(
        encoder=_RESNET_18,
        heads={"hidden": 4096, "projection": 256},
        segmenter={"stem": 48, "growth": 16, "layers": (4, 5, 7, 10, 12), "bottleneck": 15},
        costs={"byol": (30.77e6, 0.06), "segmenter": (9.32e6, 0.8)},
    ),
}
