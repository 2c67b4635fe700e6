"""The sizes of SwinIR (Liang et al. 2021), which enlarges pictures; importing this loads no torch.

API: ``UPSCALERS[name]`` -> `UpscalerPreset`. ``tiny`` learns something within minutes on a laptop. ``M`` and
``L`` have the widths and depths of the paper's models for classical and real-world pictures, ``light`` those
of its lightweight one. Networks of a preset begin as bicubic enlargement; weights of the authors have no such
base, and their files name their own end (`astro_dist.models.swinir_files`).
"""

from dataclasses import dataclass
from typing import Any, Literal

UpscalerName = Literal["tiny", "light", "M", "L"]
Scale = Literal[2, 4]
EnlargerName = Literal["swinir", "superres"]
"""Networks that enlarge, see `astro_dist.models.enlargers`."""
WINDOW_PIX = 8
"""Side of the windows of all presets, as of the authors' networks for enlargement."""


@dataclass(frozen=True)
class UpscalerPreset:
    """Arguments of `astro_dist.models.swinir.SwinIR`, its usual learning rate, and what training costs.

    Attributes
    ----------
    network
        Width, depths, heads and the kind of the layers at the end.
    lr
        Peak learning rate.
    cost
        Parameters, and core-seconds of CPU to train on one crop of 64 x 64 pixels (before it is shrunk).
    """

    network: dict[str, Any]
    lr: float
    cost: tuple[float, float]


UPSCALERS: dict[str, UpscalerPreset] = {
    "tiny": UpscalerPreset(
        {"width": 32, "depths": (2, 2), "heads": 2, "upsampler": "pixelshuffledirect"}, 2e-3, (0.07e6, 0.01)
    ),
    "light": UpscalerPreset(
        {"width": 60, "depths": (6,) * 4, "heads": 6, "upsampler": "pixelshuffledirect"}, 5e-4, (0.91e6, 0.15)
    ),
    "M": UpscalerPreset(
        {"width": 180, "depths": (6,) * 6, "heads": 6, "upsampler": "pixelshuffle"}, 2e-4, (11.8e6, 0.6)
    ),
    "L": UpscalerPreset(
        {"width": 240, "depths": (6,) * 9, "heads": 8, "upsampler": "nearest+conv", "body": "3conv"},
        2e-4,
        (28.0e6, 9.0),
    ),
}
