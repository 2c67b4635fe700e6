"""The sizes of the networks that colour grey pictures; importing this loads no torch.

API: ``COLOURISERS[name]`` -> `ColourPreset`. ``tiny`` learns something within minutes on a laptop; ``small``
has the widths of the usual U-Net of 64 channels and the PatchGAN of pix2pix (Isola et al. 2017).
"""

from dataclasses import dataclass
from typing import Any, Literal

ColourName = Literal["tiny", "small"]


@dataclass(frozen=True)
class ColourPreset:
    """Arguments of both players, and what training costs.

    Attributes
    ----------
    generator, discriminator
        Arguments of `astro_dist.models.colouriser.ColourUNet` and `PatchGan`.
    cost
        Parameters of the generator, and core-seconds of CPU to train both on one crop of 64 x 64 pixels.
    """

    generator: dict[str, Any]
    discriminator: dict[str, Any]
    cost: tuple[float, float]


COLOURISERS: dict[str, ColourPreset] = {
    "tiny": ColourPreset({"width": 16, "depth": 3}, {"width": 16, "depth": 2}, (0.48e6, 0.02)),
    "small": ColourPreset({"width": 64, "depth": 4}, {"width": 64, "depth": 3}, (31.0e6, 0.5)),
}
