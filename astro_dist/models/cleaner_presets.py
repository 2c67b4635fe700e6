"""The sizes of the network that finds objects in pictures; importing this loads no torch.

API: ``CLEANERS[name]`` -> `CleanerPreset`. ``tiny`` learns something within minutes on a laptop; ``resnet34``
stands on a ResNet-34 (He et al. 2016).
"""

from dataclasses import dataclass
from typing import Any, Literal

CleanerName = Literal["tiny", "resnet34"]


@dataclass(frozen=True)
class CleanerPreset:
    """Arguments of the encoder, and what training costs.

    Attributes
    ----------
    encoder
        Channels and blocks of the four stages of `astro_dist.models.encoder.PictureEncoder`.
    cost
        Parameters, and core-seconds of CPU to train on one crop of 64 x 64 pixels.
    """

    encoder: dict[str, Any]
    cost: tuple[float, float]


CLEANERS: dict[str, CleanerPreset] = {
    "tiny": CleanerPreset(
        {"channels": (16, 24, 32, 48), "blocks": (1, 1, 1, 1)},
        (0.19e6, 0.008),
    ),
    "resnet34": CleanerPreset(
        {"channels": (64, 128, 256, 512), "blocks": (3, 4, 6, 3)},
        (23.7e6, 0.15),
    ),
}
