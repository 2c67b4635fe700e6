"""Networks that enlarge pictures, of whichever kind: SwinIR, or super-resolution that draws samples.

``open_enlarger(folder, setting, ...)`` opens a published folder by the class that its ``config.json`` names.
What it gives has one interface, `Enlarger`, so that a chain takes either: ``draw(tile, sample, origin)`` for
a tile of floating-point pixels, and a call for pictures as stores hold them.

Shape letters: N pictures, B batch, P planes, S side of a picture, h w pixels of the input, H W enlarged ones.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from astro_dist.engine.arrays import Image
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.pixels import from_network, to_network
from astro_dist.engine.stopping import check_stop
from astro_dist.models import super_files, swinir_files
from astro_dist.models.device import autocast, flushed_denormals
from astro_dist.models.foreign import CONFIG, read_settings
from astro_dist.models.super_levels import Sampler
from astro_dist.models.super_res import SuperRes
from astro_dist.models.swinir import SwinIR, enlarge
from astro_dist.models.upscalers import EnlargerName


class Enlarger(Protocol):
    """A network that is ready to enlarge."""

    @property
    def scale(self) -> int:
        """Factor of the sides."""
        ...

    @property
    def planes(self) -> int:
        """Planes of a picture."""
        ...

    @property
    def half(self) -> str:
        """How its training pictures were made small."""
        ...

    @property
    def halo_pix(self) -> int | None:
        """Pixels of the input that a sample depends on round a pixel; None for the whole tile."""
        ...

    def draw(self, tile_Phw: Image, sample: int = 0, origin: tuple[int, int] = (0, 0)) -> Image:
        """Return one sample of a tile from 0 to 1; all are equal where the network draws no numbers."""
        ...

    def __call__(self, pictures_NPSS: NDArray[Any]) -> NDArray[Any]:
        """Return enlarged pictures of the same type: uint8, or float32 from -1 to 1."""
        ...


@dataclass(frozen=True)
class SwinEnlarger:
    """SwinIR in micro-batches of one shape, so that a picture has one result.

    Attributes
    ----------
    network
        The network, on ``device`` and in evaluation mode.
    micro_batch
        Pictures that are enlarged at once.
    tile_pix
        Longest side that is enlarged in one piece.
    device, precision
        As `astro_dist.models.device` names them.
    """

    network: SwinIR
    micro_batch: int = 1
    tile_pix: int = 512
    device: str = "cpu"
    precision: str = "no"

    half = "bicubic"
    halo_pix = None

    @property
    def scale(self) -> int:
        """Factor of the sides."""
        return int(self.network.config.scale)

    @property
    def planes(self) -> int:
        """Planes of a picture."""
        return int(self.network.config.planes)

    def draw(self, tile_Phw: Image, sample: int = 0, origin: tuple[int, int] = (0, 0)) -> Image:
        """Return a tile enlarged, both from 0 to 1; no number is drawn."""
        large: Image = self(2 * tile_Phw[None].astype(np.float32) - 1)[0] / 2 + np.float32(0.5)
        return large

    expect = draw

    @torch.inference_mode()
    def __call__(self, pictures_NPSS: NDArray[Any]) -> NDArray[Any]:
        """Return enlarged pictures of the same type: uint8, or float32 in network range."""
        done = []
        for first in range(0, len(pictures_NPSS), self.micro_batch):
            check_stop()
            part = pictures_NPSS[first : first + self.micro_batch]
            # Kernels, and so the last bits, depend on the shape of a batch: all batches have the same one.
            padding = [(0, self.micro_batch - len(part))] + [(0, 0)] * 3
            u_BPSS = torch.from_numpy(np.pad(to_network(part), padding, mode="edge")).to(self.device)
            with autocast(self.device, self.precision), flushed_denormals():
                large_BPSS = enlarge(self.network, u_BPSS, self.tile_pix)
            done.append(from_network(large_BPSS[: len(part)].float().cpu().numpy(), part.dtype.name))
        return np.concatenate(done)


@dataclass(frozen=True)
class SuperEnlarger(SuperRes):
    """A network that draws samples, whose mean is the picture.

    Attributes
    ----------
    samples
        Of how many samples a picture of a store is the mean.
    """

    samples: int = 8

    def __call__(self, pictures_NPSS: NDArray[Any]) -> NDArray[Any]:
        """Return enlarged pictures of the same type: uint8, or float32 in network range."""
        done = []
        for picture in pictures_NPSS:
            small: Image = to_network(picture) / np.float32(2) + np.float32(0.5)
            total = np.zeros((len(small), *(self.scale * side for side in small.shape[1:])))
            for sample in range(self.samples):
                check_stop()
                total = total + self.draw(small, sample)
            done.append(from_network(2 * total / self.samples - 1, picture.dtype.name))
        return np.stack(done)


@dataclass(frozen=True)
class Options:
    """How an enlarger computes; each kind of network takes what it needs.

    Attributes
    ----------
    device, precision
        As `astro_dist.models.device` names them.
    micro_batch, tile_pix
        As in `SwinEnlarger`.
    sampler, samples, seed
        How samples are drawn, of how many a picture of a store is the mean, and the seed of their noise.
    """

    device: str = "cpu"
    precision: str = "no"
    micro_batch: int = 1
    tile_pix: int = 512
    sampler: Sampler = field(default_factory=Sampler)
    samples: int = 8
    seed: int = 1


def _open_swin(path: Path, setting: str, options: Options) -> Enlarger:
    network: Any = swinir_files.load_checked(path, setting)
    # Channels last is faster: attention and convolutions then read the same memory.
    network = network.to(options.device, memory_format=torch.channels_last)
    return SwinEnlarger(
        network.eval(), options.micro_batch, options.tile_pix, options.device, options.precision
    )


def _open_super(path: Path, setting: str, options: Options) -> Enlarger:
    network = _load_super(path, setting)
    network = network.to(options.device, memory_format=torch.channels_last)
    return SuperEnlarger(
        network, options.sampler, options.seed, options.device, options.precision, options.samples
    )


@dataclass(frozen=True)
class Kind:
    """A class of networks that enlarge.

    Attributes
    ----------
    word
        What settings call it.
    training, sampled
        The training that makes it, and whether it draws samples.
    open, load
        What opens a folder as an `Enlarger`, and what reads the network alone.
    """

    word: EnlargerName
    training: str
    sampled: bool
    open: Callable[[Path, str, Options], Enlarger]
    load: Callable[[Path, str], Any]


def _load_super(path: Path, setting: str) -> Any:
    return super_files.load_checked(path, None, setting)


KINDS = {
    "SwinIR": Kind("swinir", "upscaler", False, _open_swin, swinir_files.load_checked),
    "SuperNet": Kind("superres", "superres", True, _open_super, _load_super),
}
"""By the class that ``config.json`` names."""


def kind_of(folder: Path, setting: str) -> str:
    """Return the class of the network in a folder; a file is one of the training ``setting``.

    Raises
    ------
    ConfigError
        Naming ``setting.start_from``: none of `KINDS` is in it.
    """
    if folder.is_file():
        return next(name for name, kind in KINDS.items() if kind.training == setting)
    name = read_settings(folder / CONFIG, setting).get("_class_name")
    if name not in KINDS:
        raise ConfigError(
            f"{setting}.start_from: {folder / CONFIG} describes no network that enlarges pictures; give the "
            f"folder of one ({', '.join(f'train {kind.training}' for kind in KINDS.values())} makes such)"
        )
    return str(name)


def open_enlarger(folder: Path, setting: str, options: Options) -> Enlarger:
    """Return a published network, ready to enlarge; `ConfigError` says what is wrong with its folder."""
    return KINDS[kind_of(folder, setting)].open(folder, setting, options)


def check_word(folder: Path, setting: str, word: str, key: str) -> None:
    """Refuse weights of another network than the one that the setting ``key`` names.

    Raises
    ------
    ConfigError
        Naming both.
    """
    if (theirs := KINDS[kind_of(folder, setting)].word) != word:
        raise ConfigError(
            f"{key}: it says {word}, and {folder} of {setting}.start_from holds {theirs}; set it to "
            f"{theirs}, or start_from to a {word}"
        )


def check_adopted(folder: Path, setting: str, steps: int, scale: int, planes: int) -> None:
    """Refuse a network of another training that the settings cannot take as it is.

    Raises
    ------
    ConfigError
        Naming ``setting.start_from``, both values and the setting to change.
    """
    kind = KINDS[kind_of(folder, setting)]
    if steps:
        raise ConfigError(
            f"{setting}.start_from: {folder} comes from train {kind.training}, whose network this training "
            f"cannot go on with; set {setting}.steps to 0 to take it as it is"
        )
    found = kind.open(folder, setting, Options())
    for name, theirs, ours in (("scale", found.scale, scale), ("planes", found.planes, planes)):
        if theirs != ours:
            raise ConfigError(
                f"{setting}.start_from: {folder} has the {name} {theirs}, the settings say {ours}; give a "
                f"network of {name} {ours}"
            )


def write_adopted_card(folder: Path, network: Any) -> None:
    """Write ``README.md`` beside weights that a training took as they are from another kind of training."""
    kind = type(network).__name__
    text = (
        f"---\nlibrary_name: diffusers\ntags: [astro_dist, super-resolution]\n---\n# {kind}\n\n"
        f"Weights of `train {KINDS[kind].training}` as they are; `astro_dist.models.enlargers` opens them.\n"
    )
    (folder / "README.md").write_text(text)
