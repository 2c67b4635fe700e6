"""Colour for grey pictures: a U-Net, and the PatchGAN that judges it (Isola et al. 2017, "pix2pix").

`ColourUNet` is published alone; `ColourGame` holds both players while they are trained. The brightness of a
coloured picture is the grey picture it was made from: the network decides on colours only (`keep_grey`).

Pictures are float32 from 0 to 1. Brightness has the shares of BT.601, as Pillow's mode L.

Shape letters: B batch, C channels, H W pixels, 1 and 3 planes of a grey and a coloured picture, h w patches.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.nn.functional import softplus

from astro_dist.models.diffusers_types import ConfigMixin, ModelMixin, register_to_config

LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in the brightness of a colour (BT.601)."""
LEAST_ROOM = 1e-6
SLOPE = 0.2
"""Slope of the leaky units below zero."""


def find_grey(rgb_B3HW: Tensor) -> Tensor:
    """Return the brightness (B, 1, H, W) of coloured pictures."""
    return (rgb_B3HW * rgb_B3HW.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)


def keep_grey(rgb_B3HW: Tensor, grey_B1HW: Tensor) -> Tensor:
    """Return colours from 0 to 1 whose brightness is the grey picture: of another saturation where need be.

    The difference between a colour and its brightness keeps its direction. It is shortened where the colour
    would leave the range from 0 to 1, so that black and white stay what they are.
    """
    chroma_B3HW = rgb_B3HW - find_grey(rgb_B3HW)
    # The share of the chroma that fits between each plane and its nearer bound, least over the planes.
    room_B3HW = torch.where(chroma_B3HW > 0, 1 - grey_B1HW, grey_B1HW)
    share_B3HW = room_B3HW / chroma_B3HW.abs().clamp(min=LEAST_ROOM)
    share_B1HW = share_B3HW.amin(1, keepdim=True).clamp(max=1)
    return (grey_B1HW + share_B1HW * chroma_B3HW).clamp(0, 1)


class TwoConvolutions(nn.Sequential):
    """Two 3 x 3 convolutions, each before a leaky unit; no norm, as colours depend on brightness itself."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__(
            nn.Conv2d(inside, outside, 3, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(outside, outside, 3, padding=1),
            nn.LeakyReLU(SLOPE),
        )


class ColourUNet(ModelMixin, ConfigMixin):
    """A U-Net from grey to colour: maximum pooling down, transposed convolutions up, skips between.

    The last layer begins at zero, so that a training begins with the grey picture.

    Parameters
    ----------
    width
        Channels at full resolution; each level below has twice those above.
    depth
        Levels below full resolution.
    """

    @register_to_config
    def __init__(self, width: int = 16, depth: int = 3) -> None:
        super().__init__()
        widths = [width << level for level in range(depth + 1)]
        self.down = nn.ModuleList(
            TwoConvolutions(inside, outside)
            for inside, outside in zip([1, *widths[:-1]], widths, strict=True)
        )
        pairs = list(zip(widths[1:], widths[:-1], strict=True))[::-1]
        self.raise_ = nn.ModuleList(nn.ConvTranspose2d(inside, outside, 2, 2) for inside, outside in pairs)
        self.up = nn.ModuleList(TwoConvolutions(2 * outside, outside) for _, outside in pairs)
        self.last = nn.Conv2d(width, 3, 1)
        nn.init.zeros_(self.last.weight)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)

    @property
    def step_pix(self) -> int:
        """Pixels between places at which a tile may begin: poolings fall on multiples of this."""
        return 1 << int(self.config.depth)

    @property
    def reach_pix(self) -> int:
        """Pixels from which an output pixel follows, to each side."""
        # Two convolutions at every level down and up, two at the lowest, and the pooling's own cells.
        depth = int(self.config.depth)
        return sum(4 << level for level in range(depth)) + (2 << depth) + self.step_pix - 1

    def forward(self, grey_B1HW: Tensor) -> Tensor:
        """Return the colours (B, 3, H, W) from 0 to 1; the brightness of each pixel stays."""
        return keep_grey(grey_B1HW + self.find_chroma(grey_B1HW), grey_B1HW)

    def find_chroma(self, grey_B1HW: Tensor) -> Tensor:
        """Return what is added to grey (B, 3, H, W), float32: linear in the last layer, of any size."""
        height, width = grey_B1HW.shape[-2:]
        padding = (0, -width % self.step_pix, 0, -height % self.step_pix)
        h_BCHW, skips = functional.pad(grey_B1HW, padding, mode="replicate"), []
        for level, block in enumerate(self.down):
            h_BCHW = block(functional.max_pool2d(h_BCHW, 2) if level else h_BCHW)
            skips.append(h_BCHW)
        for raise_, block, skip in zip(self.raise_, self.up, skips[-2::-1], strict=True):
            h_BCHW = block(torch.cat([raise_(h_BCHW), skip], 1))
        # In float32 from here on: the brightness must stay to the last bits.
        chroma_B3HW: Tensor = self.last(h_BCHW)[..., :height, :width].float()
        return chroma_B3HW


class PatchGan(nn.Module):
    """A network that says for every patch of a coloured picture whether its colours are real.

    It sees brightness and chroma in units of the training pictures, compressed by asinh: colours of galaxies
    differ from grey by a hundredth of the range, which an untreated discriminator does not learn to see.

    Parameters
    ----------
    width, depth
        Channels of the first layer, and layers that halve the resolution.
    units
        Mean and deviation of the brightness, and mean absolute chroma, of training pictures.
    """

    units_3: Tensor

    def __init__(self, width: int, depth: int, units: Sequence[float] = (0.5, 0.25, 0.05)) -> None:
        super().__init__()
        self.register_buffer("units_3", torch.tensor(units, dtype=torch.float32))
        layers: list[nn.Module] = []
        inside = 4
        for level in range(depth + 1):
            outside = min(width << level, 8 * width)
            layers += [
                nn.Conv2d(inside, outside, 4, 2 if level < depth else 1, 1),
                nn.LeakyReLU(SLOPE),
            ]
            inside = outside
        self.layers = nn.Sequential(*layers, nn.Conv2d(inside, 1, 4, 1, 1))

    def forward(self, grey_B1HW: Tensor, rgb_B3HW: Tensor) -> Tensor:
        """Return the logits (B, 1, h, w), positive for real."""
        middle, spread, chroma = self.units_3.unbind()
        seen_B4HW = torch.cat([(grey_B1HW - middle) / spread, (rgb_B3HW - grey_B1HW) / chroma], 1)
        logits_B1hw: Tensor = self.layers(torch.asinh(seen_B4HW))
        return logits_B1hw.float()


class ColourGame(nn.Module):
    """Both players as one module: one call gives what both minimise.

    Parameters
    ----------
    generator
        The network that colours.
    discriminator
        The network that judges; None trains the generator by its error alone.
    """

    def __init__(self, generator: ColourUNet, discriminator: PatchGan | None) -> None:
        super().__init__()
        self.generator, self.discriminator = generator, discriminator

    def forward(self, grey_B1HW: Tensor, rgb_B3HW: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the coloured pictures (B, 3, H, W) and three numbers: loss terms, share of right answers.

        The terms are the generator's and the discriminator's binary cross-entropies, eq. 1 of Isola et al.
        2017 in the non-saturating form; each moves its own player only. Answers are those of patches.
        """
        made_B3HW = self.generator(grey_B1HW)
        if self.discriminator is None:
            zero = made_B3HW.new_zeros(())
            return made_B3HW, zero, zero, zero
        frozen = {name: value.detach() for name, value in self.discriminator.named_parameters()}
        fooled = softplus(-functional_call(self.discriminator, frozen, (grey_B1HW, made_B3HW))).mean()
        real_B1hw = self.discriminator(grey_B1HW, rgb_B3HW)
        false_B1hw = self.discriminator(grey_B1HW, made_B3HW.detach())
        judged = (softplus(-real_B1hw).mean() + softplus(false_B1hw).mean()) / 2
        right = ((real_B1hw > 0).float().mean() + (false_B1hw < 0).float().mean()) / 2
        return made_B3HW, fooled, judged, right


def load_colouriser(folder: Path) -> ColourUNet:
    """Load a network from its folder, without any download."""
    network = ColourUNet.from_pretrained(folder, use_safetensors=True, local_files_only=True)
    # Weights may lie in half precision; computing is in float32.
    return network.float().eval()
