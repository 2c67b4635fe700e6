"""A network with the layers and the names of the public code of SR3, written from its description.

GroupNorm, SiLU and a convolution make a half block; what is told of the noise is added between two halves.
"""

import math

import torch
from torch import nn
from torch.nn import functional


def half(inside, outside, groups):
    block = nn.Module()
    layers = (
        nn.GroupNorm(groups, inside),
        nn.SiLU(),
        nn.Identity(),
        nn.Conv2d(inside, outside, 3, padding=1),
    )
    block.block = nn.Sequential(*layers)
    return block


class Resnet(nn.Module):
    def __init__(self, inside, outside, told, groups):
        super().__init__()
        self.noise_func = nn.Module()
        self.noise_func.noise_func = nn.Sequential(nn.Linear(told, outside))
        self.block1, self.block2 = half(inside, outside, groups), half(outside, outside, groups)
        self.res_conv = nn.Conv2d(inside, outside, 1) if inside != outside else nn.Identity()

    def forward(self, x, told):
        inner = self.block1.block(x) + self.noise_func.noise_func(told)[:, :, None, None]
        return self.block2.block(inner) + self.res_conv(x)


class Attention(nn.Module):
    def __init__(self, width, groups):
        super().__init__()
        self.norm = nn.GroupNorm(groups, width)
        self.qkv, self.out = nn.Conv2d(width, 3 * width, 1, bias=False), nn.Conv2d(width, width, 1)

    def forward(self, x):
        q, k, v = self.qkv(self.norm(x)).flatten(2).chunk(3, 1)
        weight = (q.transpose(1, 2) @ k / math.sqrt(x.shape[1])).softmax(-1)
        return x + self.out((v @ weight.transpose(1, 2)).view_as(x))


class Block(nn.Module):
    def __init__(self, inside, outside, told, groups, attention):
        super().__init__()
        self.res_block = Resnet(inside, outside, told, groups)
        if attention:
            self.attn = Attention(outside, groups)

    def forward(self, x, told):
        x = self.res_block(x, told)
        return self.attn(x) if hasattr(self, "attn") else x


class Resample(nn.Module):
    def __init__(self, width, down):
        super().__init__()
        self.down, self.conv = down, nn.Conv2d(width, width, 3, 2 if down else 1, 1)

    def forward(self, x, told):
        return self.conv(x if self.down else functional.interpolate(x, scale_factor=2, mode="nearest"))


class PublicSR3(nn.Module):
    """``network(base, noisy, root_gamma)`` -> noise."""

    def __init__(self, width, factors, blocks, attention, groups):
        super().__init__()
        self.width, widths = width, [width * factor for factor in factors]
        self.noise_level_mlp = nn.Sequential(
            nn.Identity(), nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width)
        )
        downs, skips, now = [nn.Conv2d(6, width, 3, padding=1)], [width], width
        for level, outside in enumerate(widths):
            for _ in range(blocks):
                downs.append(Block(now, outside, width, groups, level in attention))
                now = outside
                skips.append(now)
            if level < len(widths) - 1:
                downs.append(Resample(now, True))
                skips.append(now)
        self.mid = nn.ModuleList([Block(now, now, width, groups, a) for a in (True, False)])
        ups = []
        for level, outside in reversed(list(enumerate(widths))):
            for _ in range(blocks + 1):
                ups.append(Block(now + skips.pop(), outside, width, groups, level in attention))
                now = outside
            if level:
                ups.append(Resample(now, False))
        self.downs, self.ups = nn.ModuleList(downs), nn.ModuleList(ups)
        self.final_conv = half(now, 3, groups)

    def forward(self, base, noisy, root_gamma):
        half_width = self.width // 2
        rate = torch.exp(-math.log(1e4) * torch.arange(half_width) / half_width)
        angle = root_gamma[:, None] * rate
        told = self.noise_level_mlp(torch.cat([angle.sin(), angle.cos()], -1))
        x = self.downs[0](torch.cat([base, noisy], 1))
        skips = [x]
        for layer in self.downs[1:]:
            x = layer(x, told)
            skips.append(x)
        for layer in self.mid:
            x = layer(x, told)
        for layer in self.ups:
            x = layer(torch.cat([x, skips.pop()], 1) if isinstance(layer, Block) else x, told)
        return self.final_conv.block(x)
