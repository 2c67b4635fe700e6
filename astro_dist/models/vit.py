"""`VitB16`: the vision transformer ViT-B/16 of Dosovitskiy et al. 2021 (table 1), with torchvision's names.

Shape letters, beside those of `astro_dist.models.classifier`: T tokens (the class token and one per patch), F
width of a token.
"""

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

from astro_dist.models.classifier import Classifier

PATCH, WIDTH, LAYERS, HEADS, HIDDEN = 16, 768, 12, 12, 3072


class EncoderBlock(nn.Module):
    """Self-attention and a perceptron, each behind a layer norm and beside a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH, eps=1e-6), nn.LayerNorm(WIDTH, eps=1e-6)
        self.self_attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        # Dropouts of rate 0 in torchvision's places, because places are names: `mlp.3` is the second layer.
        first, second = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)
        self.mlp = nn.Sequential(first, nn.GELU(), nn.Identity(), second, nn.Identity())
        for layer in (first, second):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.normal_(layer.bias, std=1e-6)

    def forward(self, x_BTF: Tensor) -> Tensor:
        h_BTF = self.ln_1(x_BTF)
        x_BTF = x_BTF + self.self_attention(h_BTF, h_BTF, h_BTF, need_weights=False)[0]
        y_BTF: Tensor = x_BTF + self.mlp(self.ln_2(x_BTF))
        return y_BTF


class Encoder(nn.Module):
    """Positions, the blocks, a last norm."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.empty(1, tokens, WIDTH).normal_(std=0.02))
        blocks = [(f"encoder_layer_{number}", EncoderBlock()) for number in range(LAYERS)]
        self.layers = nn.Sequential(OrderedDict(blocks))
        self.ln = nn.LayerNorm(WIDTH, eps=1e-6)

    def forward(self, x_BTF: Tensor) -> Tensor:
        y_BTF: Tensor = self.ln(self.layers(x_BTF + self.pos_embedding))
        return y_BTF


class VitB16(Classifier):
    """Patches of 16 x 16 pixels as tokens behind a class token, whose last state are the features."""

    head_name = "heads.head"

    def __init__(self, classes: int, size_pix: int) -> None:
        super().__init__()
        self.conv_proj = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.class_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.encoder = Encoder((size_pix // PATCH) ** 2 + 1)
        self.heads = nn.Sequential(OrderedDict([("head", nn.Linear(WIDTH, classes))]))
        nn.init.trunc_normal_(self.conv_proj.weight, std=math.sqrt(1 / (3 * PATCH**2)))
        for name, parameter in self.named_parameters():
            if name == "conv_proj.bias" or name.startswith("heads."):
                nn.init.zeros_(parameter)

    def body(self, x_B3SS: Tensor) -> Tensor:
        x_BTF = self.conv_proj(x_B3SS).flatten(2).transpose(1, 2)
        x_BTF = torch.cat([self.class_token.expand(len(x_BTF), -1, -1), x_BTF], 1)
        state_BTF: Tensor = self.encoder(x_BTF)
        return state_BTF[:, 0]


def resize_positions(positions_1TF: Tensor, tokens: int) -> Tensor:
    """Return the embedding of positions for another number of patches, interpolated over the picture."""
    if positions_1TF.shape[1] == tokens:
        return positions_1TF
    old, new = (math.isqrt(count - 1) for count in (positions_1TF.shape[1], tokens))
    class_11F, patches_1TF = positions_1TF[:, :1], positions_1TF[:, 1:]
    grid_1Fhw = patches_1TF.reshape(1, old, old, WIDTH).permute(0, 3, 1, 2)
    grid_1Fhw = functional.interpolate(grid_1Fhw, (new, new), mode="bicubic", align_corners=True)
    return torch.cat([class_11F, grid_1Fhw.permute(0, 2, 3, 1).reshape(1, new * new, WIDTH)], 1)
