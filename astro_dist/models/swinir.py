"""SwinIR (Liang et al. 2021), a network that enlarges pictures by 2 or 4.

Groups of attention layers in shifted windows lie between convolutions. Modules have the names of the authors'
code, so that their weights fit (`astro_dist.models.swinir_files`). With ``base="bicubic"`` the network adds
to the bicubic enlargement, and its last layer begins at zero: an untrained network is bicubic enlargement.
The authors' networks have no such base.

API: ``build_swinir(preset, scale, planes)``, ``load_swinir(folder)``; ``network(u_BPHW)`` -> enlarged
pictures in network range; ``enlarge(network, u_BPHW, tile_pix)`` -> the same, computed in tiles.

Shape letters: B batch, P planes, C channels, H W pixels, N windows, T pixels of a window, h heads.
"""

from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from astro_dist.models.diffusers_types import ConfigMixin, ModelMixin, register_to_config
from astro_dist.models.upscalers import UPSCALERS, WINDOW_PIX

MEAN = (0.4488, 0.4371, 0.4040)
"""Mean colour of DIV2K between 0 and 1, which the authors' networks subtract from pictures of 3 planes."""
UPSAMPLERS = ("pixelshuffle", "pixelshuffledirect", "nearest+conv")


def _conv(inside: int, outside: int, size: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inside, outside, size, padding=size // 2)


def _body_conv(width: int, kind: str) -> nn.Module:
    """Return the convolution after a group of blocks: one, or a bottleneck of three ("3conv")."""
    if kind == "1conv":
        return _conv(width, width)
    narrow = width // 4
    return nn.Sequential(
        _conv(width, narrow),
        nn.LeakyReLU(0.2),
        _conv(narrow, narrow, 1),
        nn.LeakyReLU(0.2),
        _conv(narrow, width),
    )


@cache
def relative_index(window: int) -> NDArray[np.int64]:
    """Return the row (T, T) of the bias table for each pair of pixels of a window."""
    rows, columns = np.divmod(np.arange(window**2), window)
    span = 2 * window - 1
    return (rows[:, None] - rows + window - 1) * span + columns[:, None] - columns + window - 1


def to_windows(x_BHWC: Tensor, window: int) -> Tensor:
    """Return the windows (B, N, T, C) of maps whose sides are multiples of ``window``."""
    batch, height, width, channels = x_BHWC.shape
    split = x_BHWC.view(batch, height // window, window, width // window, window, channels)
    return split.permute(0, 1, 3, 2, 4, 5).reshape(batch, -1, window * window, channels)


def from_windows(x_BNTC: Tensor, window: int, height: int, width: int) -> Tensor:
    """Return the maps (B, H, W, C) of their windows."""
    batch, channels = len(x_BNTC), x_BNTC.shape[-1]
    split = x_BNTC.view(batch, height // window, width // window, window, window, channels)
    return split.permute(0, 1, 3, 2, 4, 5).reshape(batch, height, width, channels)


# Arrays and not tensors are kept: a tensor that inference made could not serve a training.
@lru_cache(maxsize=16)
def border_mask(height: int, width: int, window: int) -> NDArray[np.float32]:
    """Return what is added to the attention (N, T, T) of shifted windows: -inf between opposite borders.

    A map is rolled for the shift, so that the last windows hold pixels of both borders of a picture.
    """
    # Three stretches of each axis of a rolled map: whole windows, and the two parts of the last window.
    rows, columns = (
        np.digitize(np.arange(side), [side - window, side - window // 2]) for side in (height, width)
    )
    place_HW = torch.from_numpy(3 * rows[:, None] + columns)
    place_NT = to_windows(place_HW[None, :, :, None], window)[0, :, :, 0].numpy()
    apart = place_NT[:, None] != place_NT[:, :, None]
    return np.where(apart, -np.inf, 0).astype(np.float32)


class WindowAttention(nn.Module):
    """Attention among the pixels of a window, with a bias for each relative position (eq. 4 of the paper)."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, x_BNTC: Tensor, mask_NTT: Tensor | None) -> Tensor:
        batch, windows, pixels, width = x_BNTC.shape
        split = self.qkv(x_BNTC).view(batch, windows, pixels, 3, self.heads, width // self.heads)
        q_BNhTd, k_BNhTd, v_BNhTd = split.permute(3, 0, 1, 4, 2, 5)
        index = torch.from_numpy(relative_index(self.window)).to(x_BNTC.device)
        bias_hTT = self.relative_position_bias_table[index].permute(2, 0, 1)
        weight_BNhTT = (q_BNhTd * (width // self.heads) ** -0.5) @ k_BNhTd.transpose(-2, -1) + bias_hTT
        if mask_NTT is not None:
            weight_BNhTT = weight_BNhTT + mask_NTT[:, None]
        mixed_BNhTd = weight_BNhTT.softmax(-1) @ v_BNhTd
        mixed_BNTC: Tensor = self.proj(mixed_BNhTd.transpose(2, 3).reshape(x_BNTC.shape))
        return mixed_BNTC


class Mlp(nn.Module):
    """Two linear layers on the channels of each pixel."""

    def __init__(self, width: int, ratio: float) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, int(width * ratio)), nn.Linear(int(width * ratio), width)

    def forward(self, x: Tensor) -> Tensor:
        grown: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return grown


class Block(nn.Module):
    """A Swin layer (eq. 5 and 6 of the paper): attention in windows and an MLP, each around a skip."""

    def __init__(self, width: int, heads: int, window: int, shift: int, mlp_ratio: float) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn, self.mlp = WindowAttention(width, heads, window), Mlp(width, mlp_ratio)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        height, width = x_BHWC.shape[1:3]
        rolled = self.norm1(x_BHWC)
        mask = None
        if self.shift:
            rolled = rolled.roll((-self.shift, -self.shift), (1, 2))
            mask = torch.from_numpy(border_mask(height, width, self.window)).to(x_BHWC.device)
        mixed = self.attn(to_windows(rolled, self.window), mask)
        mixed_BHWC = from_windows(mixed, self.window, height, width)
        if self.shift:
            mixed_BHWC = mixed_BHWC.roll((self.shift, self.shift), (1, 2))
        x_BHWC = x_BHWC + mixed_BHWC
        out: Tensor = x_BHWC + self.mlp(self.norm2(x_BHWC))
        return out


class Group(nn.Module):
    """A residual group of blocks (RSTB): every second block is shifted by half a window."""

    def __init__(self, width: int, depth: int, heads: int, window: int, mlp_ratio: float, body: str) -> None:
        super().__init__()
        self.residual_group = nn.Module()
        self.residual_group.blocks = nn.ModuleList(
            Block(width, heads, window, i % 2 * (window // 2), mlp_ratio) for i in range(depth)
        )
        self.conv = _body_conv(width, body)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        deep_BHWC = x_BHWC
        for block in self.residual_group.blocks:  # type: ignore[union-attr]
            deep_BHWC = block(deep_BHWC)
        return x_BHWC + self.conv(deep_BHWC.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class SwinIR(ModelMixin, ConfigMixin):
    """The network: shallow features, groups of Swin layers, and the enlargement.

    Parameters
    ----------
    width
        Channels C.
    depths
        Blocks of each group.
    heads, window, mlp_ratio
        Of all blocks; ``window`` in pixels.
    scale
        Factor of the enlargement, 2 or 4.
    planes
        Planes P of a picture.
    upsampler
        The layers at the end: ``pixelshuffle`` (classical), ``pixelshuffledirect`` (lightweight) or
        ``nearest+conv`` (real-world).
    body
        Convolution after each group, ``1conv`` or ``3conv``.
    features
        Channels between the groups and the enlarged picture, where there are such layers.
    base
        ``bicubic`` where the network adds to the bicubic enlargement; ``none`` for weights of the authors.
    """

    @register_to_config
    def __init__(
        self,
        width: int = 180,
        depths: Sequence[int] = (6,) * 6,
        heads: int = 6,
        window: int = WINDOW_PIX,
        mlp_ratio: float = 2.0,
        scale: int = 2,
        planes: int = 3,
        upsampler: str = "pixelshuffle",
        body: str = "1conv",
        features: int = 64,
        base: str = "bicubic",
    ) -> None:
        super().__init__()
        if upsampler not in UPSAMPLERS or scale not in (2, 4):
            raise ValueError(
                f"SwinIR enlarges by 2 or 4 with {', '.join(UPSAMPLERS)}, not {upsampler} x{scale}"
            )
        self.conv_first = _conv(planes, width)
        self.patch_embed = nn.Module()
        self.patch_embed.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(Group(width, depth, heads, window, mlp_ratio, body) for depth in depths)
        self.norm = nn.LayerNorm(width)
        self.conv_after_body = _body_conv(width, body)
        last = self._add_end(width, planes, upsampler, features, scale)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        if base == "bicubic":
            nn.init.zeros_(last.weight)
            assert last.bias is not None
            nn.init.zeros_(last.bias)

    def _add_end(self, width: int, planes: int, upsampler: str, features: int, scale: int) -> nn.Conv2d:
        """Add the layers that enlarge; return the last one with weights."""
        doublings = scale // 2
        if upsampler == "pixelshuffledirect":
            last = _conv(width, scale**2 * planes)
            self.upsample = nn.Sequential(last, nn.PixelShuffle(scale))
            return last
        self.conv_before_upsample = nn.Sequential(_conv(width, features), nn.LeakyReLU())
        if upsampler == "pixelshuffle":
            steps = [(_conv(features, 4 * features), nn.PixelShuffle(2)) for _ in range(doublings)]
            self.upsample = nn.Sequential(*(layer for step in steps for layer in step))
        else:
            self.conv_up1 = _conv(features, features)
            if doublings == 2:
                self.conv_up2 = _conv(features, features)
            self.conv_hr = _conv(features, features)
        self.conv_last = _conv(features, planes)
        return self.conv_last

    @property
    def reach_pix(self) -> int:
        """Pixels of its input that the network sees beyond a region aligned to the windows."""
        settings = self.config
        convs = {"pixelshuffledirect": 1, "pixelshuffle": 2, "nearest+conv": 3}[settings.upsampler]
        if settings.upsampler != "pixelshuffledirect":
            convs += settings.scale // 2
        # The bicubic kernel has 2 pixels to either side, so that more convolutions cover it.
        after_body = 1 if settings.body == "1conv" else 2
        reach = convs + after_body
        for depth in reversed(settings.depths):
            reach += after_body
            for i in reversed(range(depth)):
                # Up to the next border of the block's windows.
                shift = i % 2 * (settings.window // 2)
                reach += (shift - reach) % settings.window
        return reach + 1

    def forward(self, u_BPHW: Tensor) -> Tensor:
        """Return the pictures (B, P, scale H, scale W) in network range (-1 to 1, not clipped), float32.

        H and W are at least `WINDOW_PIX`.
        """
        height, width = (self.config.scale * side for side in u_BPHW.shape[-2:])
        return (
            self.base(u_BPHW) + self.added(pad_to_windows(u_BPHW, self.config.window))[..., :height, :width]
        )

    def base(self, u_BPHW: Tensor) -> Tensor:
        """Return what the network adds to: the bicubic enlargement, or the mean colour of its pictures."""
        if self.config.base == "none":
            return 2 * self._mean(u_BPHW) - 1
        # With `antialias` torch has Pillow's kernel (a = -0.5), without it another one (a = -0.75).
        size = [self.config.scale * side for side in u_BPHW.shape[-2:]]
        return functional.interpolate(u_BPHW.float(), size, mode="bicubic", antialias=True)

    def added(self, u_BPHW: Tensor) -> Tensor:
        """Return what the network adds to the base, for pictures whose sides are multiples of the window."""
        shallow_BCHW = self.conv_first(u_BPHW / 2 + 0.5 - self._mean(u_BPHW))
        return 2 * self._enlarge(self._deepen(shallow_BCHW)).float()

    def _mean(self, u_BPHW: Tensor) -> Tensor:
        planes = self.config.planes
        return u_BPHW.new_tensor(MEAN if planes == 3 else (0.0,) * planes)[:, None, None]

    def _deepen(self, shallow_BCHW: Tensor) -> Tensor:
        """Return shallow and deep features together: F0 + F_DF in the paper."""
        x_BHWC = self.patch_embed.norm(shallow_BCHW.permute(0, 2, 3, 1))  # type: ignore[operator]
        for layer in self.layers:
            x_BHWC = layer(x_BHWC)
        deep: Tensor = self.conv_after_body(self.norm(x_BHWC).permute(0, 3, 1, 2))
        return shallow_BCHW + deep

    def _enlarge(self, x_BCHW: Tensor) -> Tensor:
        kind = self.config.upsampler
        if kind == "pixelshuffledirect":
            direct: Tensor = self.upsample(x_BCHW)
            return direct
        x_BCHW = self.conv_before_upsample(x_BCHW)
        if kind == "pixelshuffle":
            x_BCHW = self.upsample(x_BCHW)
        else:
            ups = [self.conv_up1, self.conv_up2] if self.config.scale == 4 else [self.conv_up1]
            for conv in ups:
                doubled = functional.interpolate(x_BCHW, scale_factor=2, mode="nearest")
                x_BCHW = functional.leaky_relu(conv(doubled), 0.2)
            x_BCHW = functional.leaky_relu(self.conv_hr(x_BCHW), 0.2)
        last: Tensor = self.conv_last(x_BCHW)
        return last


def pad_to_windows(u_BPHW: Tensor, window: int) -> Tensor:
    """Return pictures padded at the bottom and at the right to whole windows, by reflection."""
    height, width = u_BPHW.shape[-2:]
    return functional.pad(u_BPHW, (0, -width % window, 0, -height % window), mode="reflect")


def enlarge(network: SwinIR, u_BPHW: Tensor, tile_pix: int) -> Tensor:
    """Return enlarged pictures, computed in tiles of at most ``tile_pix`` x ``tile_pix`` pixels of the input.

    The network's reach is finite and its windows lie on one grid, so that tiles with a rim of `reach_pix`,
    aligned to the windows, give what the whole picture gives, up to rounding.
    """
    height, width = u_BPHW.shape[-2:]
    window, scale = network.config.window, network.config.scale
    if max(height, width) <= tile_pix:
        whole: Tensor = network(u_BPHW)
        return whole
    padded, out = pad_to_windows(u_BPHW, window), network.base(u_BPHW)
    out = out.expand(*u_BPHW.shape[:2], scale * height, scale * width).clone()
    rim, step = -(-network.reach_pix // window) * window, max(window, tile_pix // window * window)
    for top, bottom, y0, y1 in _tiles(padded.shape[-2], step, rim):
        for left, right, x0, x1 in _tiles(padded.shape[-1], step, rim):
            tile = network.added(padded[..., top:bottom, left:right])
            kept = out[..., scale * y0 : scale * y1, scale * x0 : scale * x1]
            # A tile may hold padding, which the picture does not.
            ends = (scale * y0 - scale * top, scale * x0 - scale * left)
            kept += tile[..., ends[0] :, ends[1] :][..., : kept.shape[-2], : kept.shape[-1]]
    return out


def _tiles(side: int, step: int, rim: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield the tiles of one axis: start and end of what is read, and of what is kept."""
    for start in range(0, side, step):
        end = min(start + step, side)
        yield max(0, start - rim), min(side, end + rim), start, end


def build_swinir(preset: str, scale: int, planes: int) -> SwinIR:
    """Return an untrained network of a preset, which is bicubic enlargement."""
    return SwinIR(**UPSCALERS[preset].network, scale=scale, planes=planes)


def load_swinir(folder: Path) -> SwinIR:
    """Load a network from its folder, without any download."""
    options: dict[str, Any] = {"use_safetensors": True, "local_files_only": True}
    return SwinIR.from_pretrained(folder, **options).eval()
