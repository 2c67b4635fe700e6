"""The feature encoder with which stamps are evaluated: a ResNet, and the BYOL heads of its training.

`Encoder` is the ResNet-18 of He et al. 2016 (table 1) for one channel, without its classifier. Its output is
512 numbers per image, between which Frechet and kernel distances are measured. `Byol` trains the encoder
without labels after Grill et al. 2020: an online network predicts the output of a target network for another
view of the same sky, and the target is a moving average of the online network. Only the encoder is published.

API: ``build_byol(preset)``; ``load_encoder(folder)`` -> `Encoder` on the CPU in evaluation mode;
``encoder(u_B1HW)`` -> ``features_BF`` float32, F = 512 for all presets but ``tiny``. `PictureEncoder` is the
same for pictures of 1 or 3 planes, with its own number of blocks per stage: (3, 4, 6, 3) is a ResNet-34.

Shape letters: B batch, C channels, F features, P projection, H W image pixels.
"""

import copy
import itertools
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from astro_dist.models.diffusers_types import ConfigMixin, ModelMixin, register_to_config
from astro_dist.models.judges import JUDGES


class BasicBlock(nn.Module):
    """Two normalised 3x3 convolutions beside an identity, or a 1x1 convolution where the shape changes."""

    def __init__(self, inside: int, channels: int, stride: int) -> None:
        super().__init__()
        # No bias before a batch norm, which subtracts the mean of each channel.
        self.conv1 = nn.Conv2d(inside, channels, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inside != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inside, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        h_BCHW = functional.relu(self.norm1(self.conv1(x_BCHW)))
        return functional.relu(self.norm2(self.conv2(h_BCHW)) + self.shortcut(x_BCHW))


class _ResNet(ModelMixin, ConfigMixin):
    """Stem, four stages of basic blocks, and the mean over the image."""

    def _build(self, planes: int, channels: Sequence[int], blocks: Sequence[int]) -> None:
        first = nn.Conv2d(planes, channels[0], 7, 2, 3, bias=False)
        self.stem = nn.Sequential(
            first,
            nn.BatchNorm2d(channels[0]),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        )
        stages, inside = [], channels[0]
        for number, (outside, count) in enumerate(zip(channels, blocks, strict=True)):
            stages.append(BasicBlock(inside, outside, 1 if number == 0 else 2))
            stages += [BasicBlock(outside, outside, 1) for _ in range(count - 1)]
            inside = outside
        self.stages = nn.Sequential(*stages)
        # The initialisation of He et al. 2015 that keeps the variance of the gradient.
        nn.init.kaiming_normal_(first.weight, mode="fan_out")

    def forward(self, u_BPHW: Tensor) -> Tensor:
        """Return the features (B, F)."""
        maps_BFhw: Tensor = self.stages(self.stem(u_BPHW))
        return maps_BFhw.mean((2, 3)).float()


class Encoder(_ResNet):
    """A ResNet of basic blocks whose last feature maps are averaged over the image.

    Parameters
    ----------
    channels
        Channels of the four stages. The last is the number of features F.
    blocks
        Basic blocks per stage. Two per stage make a ResNet-18.
    """

    @register_to_config
    def __init__(self, channels: Sequence[int] = (64, 128, 256, 512), blocks: int = 2) -> None:
        super().__init__()
        self._build(1, channels, (blocks,) * len(channels))


class PictureEncoder(_ResNet):
    """A ResNet of basic blocks for pictures of 1 or 3 planes, with its own number of blocks per stage.

    Parameters
    ----------
    planes
        Planes of the pictures.
    channels, blocks
        Channels and basic blocks of the four stages; the defaults are those of a ResNet-34.
    """

    @register_to_config
    def __init__(
        self,
        planes: int = 3,
        channels: Sequence[int] = (64, 128, 256, 512),
        blocks: Sequence[int] = (3, 4, 6, 3),
    ) -> None:
        super().__init__()
        self._build(planes, channels, blocks)

    def levels(self, x_BPHW: Tensor) -> list[Tensor]:
        """Return the maps before the pooling of the stem and after each stage: at 1/2, 1/4, ... 1/32."""
        h_BCHW, maps = x_BPHW, []
        *before, pooling = self.stem
        for layer in before:
            h_BCHW = layer(h_BCHW)
        maps.append(h_BCHW)
        h_BCHW, bounds = pooling(h_BCHW), [0]
        for count in self.config.blocks:
            bounds.append(bounds[-1] + count)
        for first, last in itertools.pairwise(bounds):
            h_BCHW = self.stages[first:last](h_BCHW)
            maps.append(h_BCHW)
        return maps


def _head(inside: int, hidden: int, outside: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inside, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, outside)
    )


class Byol(nn.Module):
    """The online encoder, projector and predictor, and the target whose output the predictor predicts.

    The target takes no gradient. `follow` moves the target towards the online network.

    Parameters
    ----------
    encoder
        The encoder to be trained.
    hidden, projection
        Sizes of the heads: of the hidden layer, and of the output P.
    """

    def __init__(self, encoder: Encoder | PictureEncoder, hidden: int, projection: int) -> None:
        super().__init__()
        features = encoder.config.channels[-1]
        self.encoder, self.projector = encoder, _head(features, hidden, projection)
        self.predictor = _head(projection, hidden, projection)
        # A copy and not the same module: the target has to lag behind the online network.
        self.target = copy.deepcopy(nn.Sequential(self.encoder, self.projector)).requires_grad_(False)

    @torch.no_grad()
    def follow(self, decay: float) -> None:
        """Set the target to decay * target + (1 - decay) * online (eq. 1 of Grill et al. 2020)."""
        # Parameters only: in training the target's batch norms use the statistics of the batch, not buffers.
        online = [*self.encoder.parameters(), *self.projector.parameters()]
        for slow, fast in zip(self.target.parameters(), online, strict=True):
            slow.lerp_(fast, 1.0 - decay)

    def forward(self, first_B1HW: Tensor, second_B1HW: Tensor) -> Tensor:
        """Return the loss (B,) of each pair of views, from 0 to 8.

        The loss is eq. 2 of Grill et al. 2020, summed over both assignments of the views to the two networks.
        """
        # Each view is a batch of its own, so that its batch norms do not mix statistics of both views.
        views = (first_B1HW, second_B1HW)
        predicted = [self.predictor(self.projector(self.encoder(view))).float() for view in views]
        with torch.no_grad():
            wanted = [self.target(view).float() for view in views]
        # 2 - 2 cos is the squared distance of two unit vectors, from 0 to 4 per pair.
        pairs = ((predicted[0], wanted[1]), (predicted[1], wanted[0]))
        return torch.stack([2 - 2 * functional.cosine_similarity(p, w) for p, w in pairs]).sum(0)


def build_byol(preset: str) -> Byol:
    """Return an untrained encoder of a preset with heads and target."""
    sizes = JUDGES[preset]
    return Byol(Encoder(**sizes.encoder), **sizes.heads)


def build_picture_byol(encoder: PictureEncoder) -> Byol:
    """Return an encoder of pictures with untrained heads, sized by its features, and its target."""
    features = encoder.config.channels[-1]
    return Byol(encoder, 2 * features, features)


def load_picture_encoder(folder: Path) -> PictureEncoder:
    """Load an encoder of pictures from its folder, float32, without any download."""
    network = PictureEncoder.from_pretrained(folder, use_safetensors=True, local_files_only=True)
    return network.float().eval()


def load_encoder(folder: Path) -> Encoder:
    """Load an encoder from its folder, without any download."""
    return Encoder.from_pretrained(folder, use_safetensors=True, local_files_only=True).eval()
