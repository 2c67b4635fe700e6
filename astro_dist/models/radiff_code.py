"""The conditions as RADiff's public code gives them, for the preset ``code``.

The mask's class numbers go through the frozen image autoencoder, which never saw such values, and are
concatenated as its latent; the background becomes a single token, with which cross-attention can only add
a constant. Not copied: the image that is to be drawn as its own background (the training takes its objects
out first), and zeros as the sign of an absent condition (each has a learned null).

Shape letters: as in `astro_dist.models.conditions`.
"""

from typing import Any

import torch
from diffusers import AutoencoderKL, ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from astro_dist.models.conditions import Encoded

_WIDTHS = (32, 64, 128, 256, 256, 512)


class CodeConditionEncoder(ModelMixin, ConfigMixin):
    """Mask through an autoencoder, background to one token; called like `ConditionEncoder`.

    Parameters
    ----------
    autoencoder
        Arguments of the `AutoencoderKL`, whose weights `adopt` copies.
    token_dim
        Size D of the token.
    target, stretch
        As in `ConditionEncoder`.
    """

    @register_to_config
    def __init__(
        self,
        autoencoder: dict[str, Any],
        token_dim: int = 512,
        target: str = "stamp",
        stretch: str = "tanh",
    ) -> None:
        super().__init__()
        self.mask_encoder = AutoencoderKL(**autoencoder).requires_grad_(False)
        layers: list[nn.Module] = []
        for inside, outside in zip((1, *_WIDTHS), (*_WIDTHS, token_dim), strict=True):
            size = 3 if layers else 7
            layers += [nn.Conv2d(inside, outside, size, 2, 1), nn.BatchNorm2d(outside), nn.GELU()]
        self.background_in = nn.Sequential(*layers)
        self.mask_null = nn.Parameter(torch.zeros(autoencoder["latent_channels"]))
        self.background_null = nn.Parameter(torch.zeros(token_dim))

    def adopt(self, autoencoder: AutoencoderKL) -> None:
        """Take over the weights of the autoencoder that the latents come from."""
        self.mask_encoder.load_state_dict(autoencoder.state_dict())

    def forward(
        self,
        mask_BHW: Tensor,
        peak_BHW: Tensor,
        background_B2HW: Tensor,
        keep_mask_B: Tensor | None = None,
        keep_background_B: Tensor | None = None,
        facts_BF: Tensor | None = None,
        keep_facts_B: Tensor | None = None,
    ) -> Encoded:
        """Return mask latent (B, M, h, w) and background token (B, 1, D); the rest is not looked at."""
        with torch.no_grad():
            posterior = self.mask_encoder.encode(mask_BHW[:, None].to(peak_BHW.dtype)).latent_dist
        planes_BMhw = posterior.mode()
        tokens_BTD = self.background_in(background_B2HW[:, :1]).mean((2, 3))[:, None]
        if keep_mask_B is not None:
            null_M11 = self.mask_null[:, None, None].to(planes_BMhw.dtype)
            planes_BMhw = torch.where(keep_mask_B[:, None, None, None], planes_BMhw, null_M11)
        if keep_background_B is not None:
            null_D = self.background_null.to(tokens_BTD.dtype)
            tokens_BTD = torch.where(keep_background_B[:, None, None], tokens_BTD, null_D)
        return Encoded(planes_BMhw, tokens_BTD)
