"""The networks of super-resolution: from a noisy image, its base and the noise level to a prediction.

``SuperNet(**settings_of(preset))``; ``network(noisy_BPHW, gamma_B, base_BPHW)`` -> ``prediction_BPHW``,
float32. Images are in network range and of the enlarged size; ``base`` is the bicubic enlargement of the
input, see `enlarge_bicubic`. ``gamma`` is the share of the signal's power in the noisy image, any number in
(0, 1): there are no steps here.

What is noised is the image itself, or its difference to the base times ``residual_scale``; `to_target` and
`from_target` go there and back.

Shape letters: B batch, P planes, C channels, H W enlarged pixels, h w pixels of the input.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from astro_dist.models.diffusers_types import ConfigMixin, ModelMixin, UNet2DModel, register_to_config
from astro_dist.models.super_presets import SCALE, reach_of

ROOT_SCALE = 5000.0
"""Factor on the root of gamma before sinusoids of frequencies up to 1 (WaveGrad, Chen et al. 2020)."""
LOG_SNR_LIMIT, LOG_SNR_SPAN = 10.0, 1000.0
"""Log SNR is embedded from -10 to 10, as a time from 0 to 1,000."""


def enlarge_bicubic(small_BPhw: Tensor) -> Tensor:
    """Return images enlarged by `SCALE` with Pillow's bicubic kernel, float32."""
    size = [SCALE * side for side in small_BPhw.shape[-2:]]
    # With `antialias` torch has Pillow's kernel (a = -0.5), without it another one (a = -0.75).
    return functional.interpolate(small_BPhw.float(), size, mode="bicubic", antialias=True)


class ChannelNorm(nn.Module):
    """A norm over the channels of each pixel, so that no pixel depends on one far away."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        mean_square_B1HW = x_BCHW.float().square().mean(1, keepdim=True)
        scaled = x_BCHW * torch.rsqrt(mean_square_B1HW + 1e-6).to(x_BCHW.dtype)
        return scaled * self.weight[:, None, None]


class LocalBlock(nn.Module):
    """A residual block with one convolution of 3 x 3, scaled and shifted by what is told of the noise."""

    def __init__(self, width: int, told: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(width)
        self.conv, self.mix = nn.Conv2d(width, 2 * width, 3, padding=1), nn.Conv2d(2 * width, width, 1)
        self.told = nn.Linear(told, 4 * width)
        nn.init.zeros_(self.mix.weight)

    def forward(self, x_BCHW: Tensor, told_BM: Tensor) -> Tensor:
        scale, shift = self.told(told_BM)[:, :, None, None].chunk(2, 1)
        inner = self.conv(self.norm(x_BCHW)) * (1 + scale) + shift
        mixed: Tensor = self.mix(functional.silu(inner))
        return x_BCHW + mixed


class LocalNet(nn.Module):
    """A chain of `LocalBlock`s: no level below the pixels, no attention, no statistics over pixels."""

    def __init__(self, inside: int, outside: int, width: int, blocks: int) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(inside, width, 3, padding=1), nn.Conv2d(width, outside, 1)
        self.told = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))
        self.blocks = nn.ModuleList(LocalBlock(width, width) for _ in range(blocks))
        self.width = width

    def forward(self, x_BCHW: Tensor, time_B: Tensor) -> Tensor:
        half = self.width // 2
        exponent_M = torch.arange(half, device=time_B.device) / half
        angle = time_B[:, None] * torch.exp(-math.log(1e4) * exponent_M)
        told_BM = functional.silu(self.told(torch.cat([angle.sin(), angle.cos()], 1)))
        x_BCHW = self.first(x_BCHW)
        for block in self.blocks:
            x_BCHW = block(x_BCHW, told_BM)
        out: Tensor = self.last(x_BCHW)
        return out


class SuperNet(ModelMixin, ConfigMixin):
    """A network with all that one must know to sample from it.

    Parameters
    ----------
    kind, sizes
        ``unet`` with the arguments of diffusers' `UNet2DModel`, or ``local`` with those of `LocalNet`.
    planes, fold, level, predicts, base
        As in `astro_dist.models.super_presets.SuperPreset`.
    residual_scale
        Factor on the difference to the base.
    half
        How the images of the training were made small: ``bicubic``, or ``mean`` of 2 x 2 pixels.
    filtered
        Diameter in pixels, range of brightness (of 0 to 1) and radius in pixels of the bilateral filter that
        the targets went through; None without one.
    stretch, unit
        Stretch of maps and their unit; None and empty for pictures.
    beam_pix
        Least and greatest beam (FWHM) of the training maps in pixels of the input; None for pictures.
    """

    @register_to_config
    def __init__(
        self,
        kind: str,
        sizes: Mapping[str, Any],
        planes: int = 3,
        fold: int = 1,
        level: str = "log_snr",
        predicts: str = "velocity",
        base: str = "bicubic",
        residual_scale: float = 8.0,
        half: str = "bicubic",
        filtered: list[float] | None = None,
        stretch: str | None = None,
        unit: str = "",
        beam_pix: list[float] | None = None,
        scale: int = SCALE,
        reach_pix: int | None = None,
    ) -> None:
        super().__init__()
        folded = planes * fold**2
        self.net = UNet2DModel(**sizes) if kind == "unet" else LocalNet(2 * folded, folded, **sizes)
        if base == "bicubic":
            # Zero at first: the untrained network then predicts nothing, not noise of its own.
            last: Any = self.net.conv_out if kind == "unet" else self.net.last
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        self.register_to_config(reach_pix=reach_of({"kind": kind, "sizes": sizes}))

    @property
    def unit_pix(self) -> int:
        """Enlarged sides must be multiples of this."""
        if self.config.kind == "local":
            return int(self.config.fold)
        return int(self.config.fold) * 2 ** (len(self.config.sizes["block_out_channels"]) - 1)

    @property
    def bounded(self) -> bool:
        """Whether clean samples are images from -1 to 1, to which estimates are clipped."""
        return self.config.base == "none" and self.config.stretch is None

    def forward(self, noisy_BPHW: Tensor, gamma_B: Tensor, base_BPHW: Tensor) -> Tensor:
        """Return the prediction, noise or velocity as ``predicts`` says, (B, P, H, W) float32."""
        fold = self.config.fold
        # The base first, as in the public code, whose weights fit so.
        joined = torch.cat([base_BPHW, noisy_BPHW], 1)
        if fold > 1:
            joined = functional.pixel_unshuffle(joined, fold)
        joined = joined.contiguous(memory_format=torch.channels_last)
        output = self.net(joined, embed_level(gamma_B, self.config.level))
        output = output if self.config.kind == "local" else output.sample
        output = output.float()
        return functional.pixel_shuffle(output, fold) if fold > 1 else output

    def to_target(self, large_BPHW: Tensor, base_BPHW: Tensor) -> Tensor:
        """Return what is noised for an enlarged image."""
        if self.config.base == "none":
            return large_BPHW
        return (large_BPHW - base_BPHW) * self.config.residual_scale

    def from_target(self, target_BPHW: Tensor, base_BPHW: Tensor) -> Tensor:
        """Return the enlarged image of a clean sample."""
        if self.config.base == "none":
            return target_BPHW
        return base_BPHW + target_BPHW / self.config.residual_scale

    def clean_of(self, noisy_BPHW: Tensor, predicted_BPHW: Tensor, gamma: float) -> Tensor:
        """Return the clean sample that a prediction at one noise level stands for."""
        signal, noise = gamma**0.5, (1 - gamma) ** 0.5
        if self.config.predicts == "velocity":
            # x = alpha x_t - sigma v: section 4 of Salimans & Ho 2022.
            return signal * noisy_BPHW - noise * predicted_BPHW
        clean = (noisy_BPHW - noise * predicted_BPHW) / signal
        # As the public code does: at high noise an error of the prediction is multiplied by 150.
        return clean.clamp(-1, 1) if self.bounded else clean


def embed_level(gamma_B: Tensor, level: str) -> Tensor:
    """Return the number that the network is told of a noise level, in place of a time step."""
    if level == "log_snr":
        log_snr_B = 0.5 * (torch.log(gamma_B) - torch.log1p(-gamma_B))
        clipped = log_snr_B.clamp(-LOG_SNR_LIMIT, LOG_SNR_LIMIT)
        return (clipped + LOG_SNR_LIMIT) * (LOG_SNR_SPAN / (2 * LOG_SNR_LIMIT))
    return gamma_B.sqrt() * (1.0 if level == "root" else ROOT_SCALE)
