"""The conditions of a stamp: class mask, brightness of each object, background, and facts of its sky.

`astro_dist.models.planes` makes the conditions of one cutout. `ConditionEncoder` turns a batch of them into
the inputs of the U-Net: ``conditioner(mask_BHW, peak_BHW, background_B2HW, keep_mask_B, keep_background_B,
facts_BF, keep_facts_B)`` -> `Encoded` with h = H / 4 and T = (H / 16)(W / 16): 64 tokens for a 128-pixel
stamp. ``keep_* = None`` keeps the condition of every sample. False replaces the condition by its own learned
null, and so does ``facts_BF = None``.

Shape letters: B batch, H W image pixels, h w latent pixels, M mask channels, T tokens, D token size,
F facts, K channels of a skip.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from astro_dist.models.diffusers_types import ConfigMixin, ModelMixin, register_to_config
from astro_dist.models.presets import LATENT_FACTOR

NUM_CLASSES = 4  # background 0, spurious 1, compact 2, extended 3
TOKEN_STRIDE_PIX = 16  # pixels are unshuffled by 4, and two convolutions have stride 2


class Encoded(NamedTuple):
    """The encoded conditions of a batch, which are the same at every step of the sampler."""

    planes_BMhw: Tensor
    """Channels that are concatenated to the latent."""
    tokens_BTD: Tensor
    """Tokens of the background, for cross-attention."""
    facts_BF: Tensor | None = None
    """Beam, noise and survey, which are added to the embedding of the time."""
    skips: tuple[Tensor, ...] = ()
    """Terms (B, K, h, w) that are added to the skip connections; the last is added to the middle."""


class MaskInjector(nn.Module):
    """A second path of the mask into the U-Net: terms for the skip connections at every resolution.

    Concatenated to the latent, the mask has to pass through all layers of the U-Net's encoder while the
    latent is mostly noise. The injector adds the mask where the decoder forms the image, as the control of
    ControlNet does, for a few convolutions per stamp and none per step. The terms of an untrained injector
    are zero.

    Parameters
    ----------
    channels
        Channels of the input, which has the latent's size.
    width
        Channels of the hidden layers.
    skips
        Level (0 is the latent's size, 1 half of it, ...) and channels K of every skip connection.
    """

    def __init__(self, channels: int, width: int, skips: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.levels = [level for level, _ in skips]
        self.entry = nn.Conv2d(channels, width, 3, padding=1)
        self.shrink = nn.ModuleList(
            nn.Conv2d(width, width, 3, stride=2, padding=1) for _ in range(max(self.levels))
        )
        self.heads = nn.ModuleList(nn.Conv2d(width, inside, 1) for _, inside in skips)
        # Zero convolutions, as in ControlNet: training begins with the U-Net undisturbed.
        for parameter in self.heads.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x_BChw: Tensor, keep_B: Tensor | None) -> tuple[Tensor, ...]:
        features = [functional.silu(self.entry(x_BChw))]
        for shrink in self.shrink:
            features.append(functional.silu(shrink(features[-1])))
        if keep_B is not None:
            # A sample without a mask gets the biases of the heads alone.
            features = [each * keep_B[:, None, None, None] for each in features]
        return tuple(head(features[level]) for head, level in zip(self.heads, self.levels, strict=True))


class ConditionEncoder(ModelMixin, ConfigMixin):
    """The encoder of a stamp's conditions, each of which has a learned null for guidance and dropout.

    The mask enters at full resolution: pixel-unshuffled one-hot classes lose nothing, whereas an
    average-pooled mask loses the small sources. Tokens carry no position. They encode the kind of background
    (beam, noise, stripes), and their number is arbitrary.

    Parameters
    ----------
    mask_channels : int
        Channels M that are concatenated to the latent.
    token_dim : int
        Size D of a background token.
    width : int
        Channels inside the background encoder.
    target : str
        The image that the model draws: ``"source"`` (objects on an empty sky) or ``"stamp"`` (objects and
        sky).
    stretch : str
        The stretch that made the network range.
    brightness : bool
        Whether the peak of each object is a condition.
    facts : int
        Numbers F of beam, noise and survey (`astro_dist.store.facts`); 0 for none.
    skips : sequence of (level, channels)
        Argument of the `MaskInjector`; empty for no injector.
    sky_in_place : bool
        Whether the brightness of the background, averaged over each pixel of the latent, is a condition too.
        A stamp then continues that sky, long stripes included, and adds the finer structure. Tokens alone
        encode the kind of sky, but neither phase nor direction of a stripe.
    """

    @register_to_config
    def __init__(
        self,
        mask_channels: int = 32,
        token_dim: int = 64,
        width: int = 32,
        target: str = "source",
        stretch: str = "asinh",
        brightness: bool = True,
        facts: int = 0,
        skips: Sequence[Sequence[int]] = (),
        sky_in_place: bool = False,
    ) -> None:
        super().__init__()
        # No plane for the background, which is where the other three are all 0.
        planes = (NUM_CLASSES - 1 + brightness) * LATENT_FACTOR**2
        self.mask_in = nn.Conv2d(planes, mask_channels, 1)
        self.mask_null = nn.Parameter(torch.zeros(mask_channels))
        self.background_in = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(2 * 4**2, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(2 * width, token_dim, 3, stride=2, padding=1),
        )
        self.token_norm = nn.LayerNorm(token_dim)
        self.background_null = nn.Parameter(torch.zeros(token_dim))
        nn.init.normal_(self.mask_null, std=0.5)
        # Tokens leave the layer norm with unit deviation, so their null begins with the same.
        nn.init.normal_(self.background_null)
        self.facts_null = nn.Parameter(torch.zeros(facts)) if facts else None
        self.injector = MaskInjector(planes, 2 * width, skips) if skips else None
        self.sky_in = nn.Conv2d(2, mask_channels, 3, padding=1) if sky_in_place else None

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
        """Return the encoded conditions.

        Parameters
        ----------
        mask_BHW
            Class per pixel.
        peak_BHW
            Brightest pixel of the object at each pixel, in network range; 0 where no brightness is given.
        background_B2HW
            The planes of `astro_dist.models.planes.background_planes`.
        keep_mask_B, keep_background_B, keep_facts_B
            bool; False replaces the condition of a sample by its null. None keeps all.
        facts_BF
            Beam, noise and survey; None is the null for all samples.
        """
        onehot_BHWC = functional.one_hot(mask_BHW.long(), NUM_CLASSES)[..., 1:].to(peak_BHW.dtype)
        # `one_hot` puts the classes last; convolutions expect channels second.
        planes_BCHW = onehot_BHWC.permute(0, 3, 1, 2)
        if self.config.brightness:
            planes_BCHW = torch.cat([planes_BCHW, peak_BHW[:, None]], 1)
        folded_BChw = functional.pixel_unshuffle(planes_BCHW, LATENT_FACTOR)
        mask_BMhw = self.mask_in(folded_BChw)
        tokens_BTD = self.token_norm(self.background_in(background_B2HW).flatten(2).transpose(1, 2))
        if keep_mask_B is not None:
            # Under autocast convolutions give bfloat16 and parameters stay float32. Without the cast `where`
            # would return float32.
            keep_B111 = keep_mask_B[:, None, None, None]
            mask_BMhw = torch.where(keep_B111, mask_BMhw, self.mask_null[:, None, None].to(mask_BMhw.dtype))
        if keep_background_B is not None:
            null_D = self.background_null.to(tokens_BTD.dtype)
            tokens_BTD = torch.where(keep_background_B[:, None, None], tokens_BTD, null_D)
        if self.sky_in is not None:
            sky_B2hw = self._average_sky(mask_BHW, background_B2HW, keep_background_B)
            # Added and not concatenated: the U-Net then has the same channels with and without the sky.
            mask_BMhw = mask_BMhw + self.sky_in(sky_B2hw)
        facts_BF = self._fill_facts(len(mask_BHW), facts_BF, keep_facts_B)
        skips = self.injector(folded_BChw, keep_mask_B) if self.injector is not None else ()
        return Encoded(mask_BMhw, tokens_BTD, facts_BF, skips)

    def _average_sky(self, mask_BHW: Tensor, background_B2HW: Tensor, keep_B: Tensor | None) -> Tensor:
        """Return two planes (B, 2, h, w): the mean sky of each pixel of the latent, and 1 where it is known.

        The sky counts as unknown on objects and within one pixel of the latent round them, where the wings of
        the background's own sources would make the model draw those sources.
        """
        hidden_BHW = (mask_BHW > 0) | (background_B2HW[:, 1] == 0)
        if self.training:
            # In training mask and sky are of one cutout, so holes lie under objects only. In generation the
            # sky is another cutout's, with holes anywhere. The mask turned by 180 degrees puts holes
            # elsewhere too.
            hidden_BHW = hidden_BHW | hidden_BHW.flip(1, 2)
        # The largest value, not the mean: one hidden pixel of the image hides the pixel of the latent.
        hidden_B1hw = functional.max_pool2d(hidden_BHW[:, None].float(), LATENT_FACTOR)
        known_B1hw = 1.0 - functional.max_pool2d(hidden_B1hw, 3, stride=1, padding=1)
        if keep_B is not None:
            # A sky with no known pixel is the null.
            known_B1hw = known_B1hw * keep_B[:, None, None, None]
        sky_B1hw = functional.avg_pool2d(background_B2HW[:, :1], LATENT_FACTOR)
        # A 0 in the first plane alone could be an unknown pixel or a sky at its mean.
        return torch.cat([sky_B1hw * known_B1hw, known_B1hw], 1)

    def _fill_facts(self, count: int, facts_BF: Tensor | None, keep_B: Tensor | None) -> Tensor | None:
        """Return the facts (B, F) with the null where a sample has none; None for a model without facts."""
        if self.facts_null is None:
            return None
        null_BF = self.facts_null.expand(count, -1)
        if facts_BF is None or keep_B is None:
            return null_BF if facts_BF is None else facts_BF
        return torch.where(keep_B[:, None], facts_BF, null_BF)
