"""The KL autoencoder: from images in network range to latents of a quarter of the side, and back.

API: ``build_autoencoder(preset_name)``, ``load_autoencoder(folder)`` -> the autoencoder on the CPU, in
evaluation mode, read from ``config.json`` and safetensors without any download;
``encode(autoencoder, u_B1HW)`` -> ``z_BChw``, the posterior mean times ``config.scaling_factor``, on which
the U-Net works; ``decode(autoencoder, z_BChw)`` -> ``u_B1HW`` float32, the inverse of ``encode``.
C is 4 (3 in the presets ``paper`` and ``code``), h = H / 4. H and W are any multiples of 4.

Shape letters: B batch, C channels, H W image pixels, h w latent pixels.
"""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from torch import Tensor, nn
from torch.nn import functional

from astro_dist.models.diffusers_types import AutoencoderKL, ConfigMixin, ModelMixin, register_to_config
from astro_dist.models.presets import PRESETS


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside an identity, without normalisation.

    Normalisation would divide out brightness, which is the signal here. A crop full of source also has other
    statistics than a mostly empty stamp.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        h_BCHW = self.conv1(functional.silu(x_BCHW))
        added_BCHW: Tensor = self.conv2(functional.silu(h_BCHW))
        return x_BCHW + added_BCHW


def _blocks(channels: int, count: int) -> list[nn.Module]:
    return [ResidualBlock(channels) for _ in range(count)]


class StampAutoencoder(ModelMixin, ConfigMixin):
    """A small fully convolutional KL autoencoder with the calls of `diffusers.AutoencoderKL`.

    It is about five times faster on a CPU than the smallest useful `AutoencoderKL`, because its input is
    pixel-unshuffled and it has one strided convolution, no normalisation and no attention.

    Parameters
    ----------
    channels
        Channels at half and at a quarter of the image's resolution.
    num_blocks
        Residual blocks at each of the two resolutions, in the encoder and again in the decoder.
    latent_channels
        Channels C of the latent.
    scaling_factor
        Factor from posterior mean to latent, which `encode` and `decode` apply.
    """

    @register_to_config
    def __init__(
        self,
        channels: tuple[int, int] = (24, 48),
        num_blocks: int = 2,
        latent_channels: int = 4,
        scaling_factor: float = 1.0,
    ) -> None:
        super().__init__()
        fine, coarse = channels
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(2),
            nn.Conv2d(4, fine, 3, padding=1),
            *_blocks(fine, num_blocks),
            nn.Conv2d(fine, coarse, 3, stride=2, padding=1),
            *_blocks(coarse, num_blocks),
            nn.SiLU(),
            # Mean and logarithm of the variance of each latent pixel.
            nn.Conv2d(coarse, 2 * latent_channels, 3, padding=1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(latent_channels, coarse, 3, padding=1),
            *_blocks(coarse, num_blocks),
            nn.Conv2d(coarse, 4 * fine, 3, padding=1),
            nn.PixelShuffle(2),
            *_blocks(fine, num_blocks),
            nn.SiLU(),
        )
        # Apart from the decoder, because it runs in float32 where the decoder may run in bfloat16.
        self.conv_out = nn.Conv2d(fine, 4, 3, padding=1)

    def encode(self, x_B1HW: Tensor) -> AutoencoderKLOutput:
        """Return the posterior over unscaled latents in the attribute ``latent_dist``."""
        # In float32 also under autocast: the deviation is an exponential of the second half of the channels.
        return AutoencoderKLOutput(latent_dist=DiagonalGaussianDistribution(self.encoder(x_B1HW).float()))

    def decode(self, z_BChw: Tensor) -> DecoderOutput:
        """Return the image in the attribute ``sample``, in float32 even under autocast."""
        h_BCHW = self.decoder(z_BChw)
        # Rounding to bfloat16 is 0.4 % of u: at u = 4, after the unstretch, 3 % of the flux.
        with torch.autocast(h_BCHW.device.type, enabled=False):
            return DecoderOutput(sample=functional.pixel_shuffle(self.conv_out(h_BCHW.float()), 2))

    def forward(self, x_B1HW: Tensor) -> tuple[Tensor, DiagonalGaussianDistribution]:
        """Return the reconstruction of a latent drawn from the posterior, and the posterior."""
        posterior = self.encode(x_B1HW).latent_dist
        return self.decode(posterior.sample()).sample, posterior


CLASSES: dict[str, type[ModelMixin]] = {"StampAutoencoder": StampAutoencoder, "AutoencoderKL": AutoencoderKL}


def build_autoencoder(preset: str) -> ModelMixin:
    """Return an untrained autoencoder of a preset."""
    sizes = PRESETS[preset]
    # The factor stays 1 until a training has measured the deviation of its latents.
    return CLASSES[sizes.autoencoder_class](**sizes.autoencoder, scaling_factor=1.0)


def load_autoencoder(folder: Path) -> ModelMixin:
    """Load an autoencoder of either class from its folder, without any download."""
    name = json.loads((folder / "config.json").read_text())["_class_name"]
    return CLASSES[name].from_pretrained(folder, use_safetensors=True, local_files_only=True).eval()


def encode(autoencoder: Any, u_B1HW: Tensor) -> Tensor:
    """Return the latents (B, C, H/4, W/4) float32 that the U-Net works on."""
    # The mean and not a draw: one image has one latent, so latents can be kept and compared.
    mean_BChw = autoencoder.encode(u_B1HW).latent_dist.mode().float()
    z_BChw: Tensor = mean_BChw * autoencoder.config.scaling_factor
    return z_BChw


def decode(autoencoder: Any, z_BChw: Tensor) -> Tensor:
    """Return the image (B, 1, H, W) float32 in network range of latents made by `encode`."""
    u_B1HW: Tensor = autoencoder.decode(z_BChw / autoencoder.config.scaling_factor).sample
    return u_B1HW.float()
