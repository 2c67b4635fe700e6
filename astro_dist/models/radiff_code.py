"""The condition encoder of RADiff's public code, for the preset ``code``.

The class numbers of the mask go through the frozen image autoencoder, which was not trained on such values,
and the latent is concatenated. The background becomes a single token, with which cross-attention can only
add a constant. Two things of the public code are not copied. It gives each training image as its own
background; here the objects are taken out of the background first. It marks an absent condition with zeros;
here each condition has a learned null.

Shape letters: as in `astro_dist.models.conditions`.
"""

from typing import Any

import torch
from torch import Tensor, nn

from astro_dist.models.conditions import Encoded
from astro_dist.models.diffusers_types import AutoencoderKL, ConfigMixin, ModelMixin, register_to_config

_WIDTHS = (32, 64, 128, 256, 256, 512)  # of the code's `ImageEncoder`, whose last width is the token's


class CodeConditionEncoder(ModelMixin, ConfigMixin):
    """An encoder of the mask by an autoencoder and of the background to one token.

    The call has the arguments of `ConditionEncoder`.

    Parameters
    ----------
    autoencoder
        Arguments of an `AutoencoderKL`, into which `adopt` copies the weights.
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
            # The first convolution is 7 x 7 and has a padding of 1 all the same, as in the public code.
            size = 3 if layers else 7
            layers += [nn.Conv2d(inside, outside, size, 2, 1), nn.BatchNorm2d(outside), nn.GELU()]
        self.background_in = nn.Sequential(*layers)
        self.mask_null = nn.Parameter(torch.zeros(autoencoder["latent_channels"]))
        self.background_null = nn.Parameter(torch.zeros(token_dim))

    def adopt(self, autoencoder: AutoencoderKL) -> None:
        """Copy the weights of the autoencoder that makes the latents of the images."""
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
        """Return the mask latent (B, M, h, w) and the background token (B, 1, D).

        Brightness, the usable pixels of the background and the facts are ignored.
        """
        with torch.no_grad():
            # No factor on the latent: the preset does not scale the latents of its images either.
            posterior = self.mask_encoder.encode(mask_BHW[:, None].to(peak_BHW.dtype)).latent_dist
        planes_BMhw = posterior.mode()
        # The mean over the pixels that are left gives one token for images of any size.
        tokens_BTD = self.background_in(background_B2HW[:, :1]).mean((2, 3))[:, None]
        if keep_mask_B is not None:
            null_M11 = self.mask_null[:, None, None].to(planes_BMhw.dtype)
            planes_BMhw = torch.where(keep_mask_B[:, None, None, None], planes_BMhw, null_M11)
        if keep_background_B is not None:
            null_D = self.background_null.to(tokens_BTD.dtype)
            tokens_BTD = torch.where(keep_background_B[:, None, None], tokens_BTD, null_D)
        return Encoded(planes_BMhw, tokens_BTD)
