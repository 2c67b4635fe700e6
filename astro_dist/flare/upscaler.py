"""The training of the upscaler: pairs of small and large crops, their loss, and weights to begin with.

Sample n is a function of ``(seed, training, split, n)`` and the store, as for all trainings.

Shape letters: B batch, P planes, S side of a crop in pixels, s that of the small crop.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from astro_dist.engine.arrays import Image
from astro_dist.engine.seeds import stream
from astro_dist.engine.work import Run
from astro_dist.flare.upscale_config import UpscalerConfig
from astro_dist.flare.upscaler_card import write_upscaler_card
from astro_dist.models.swinir import SwinIR, build_swinir
from astro_dist.models.swinir_files import check_fit, load_checked
from astro_dist.pictures.config import PicturesConfig
from astro_dist.pictures.degradations import degrade
from astro_dist.pictures.pixels import to_network
from astro_dist.sky.symmetries import apply_symmetry
from astro_dist.store.reader import StoreReader
from astro_dist.train.recipe import Built, Cell, Figures

RIM_PIX = 4
"""Small pixels round a crop that are made with it, so that no kernel ends at the crop."""


@dataclass(frozen=True)
class Pairs:
    """Small crops (B, P, s, s) and the same pieces of the large pictures (B, P, S, S), in network range."""

    small_BPss: Image
    large_BPSS: Image


class PairData:
    """Pairs of crops of the pictures of a split, turned and flipped by their streams.

    Parameters
    ----------
    reader
        Store of the pictures.
    config
        Crop, scale and degradation.
    key
        Seed and name of the training.
    split
        The split whose pictures are used.
    """

    def __init__(
        self, reader: StoreReader, config: UpscalerConfig, key: tuple[int | str, ...], split: str
    ) -> None:
        self.reader, self.config, self.key = reader, config, (*key, split)
        self.chosen = reader.select(split)

    def batch(self, first: int, count: int) -> Pairs:
        """Return samples ``first`` to ``first + count - 1``."""
        seed, *key = self.key
        streams = [stream(int(seed), *key, n) for n in range(first, first + count)]
        pictures = self.reader.read("picture", [int(rng.choice(self.chosen)) for rng in streams])
        pairs = [self._pair(picture, rng) for picture, rng in zip(pictures, streams, strict=True)]
        return Pairs(*(np.stack(side) for side in zip(*pairs, strict=True)))

    def _pair(self, picture_PSS: NDArray[Any], rng: np.random.Generator) -> tuple[Image, Image]:
        scale = self.config.scale
        # In pixels of the small picture, whose whole pixels crops begin and end with.
        side, total = self.config.crop_pix // scale, picture_PSS.shape[-1] // scale
        places = [int(start) for start in rng.integers(0, total - side + 1, 2)]
        turn = int(rng.integers(8))
        # The rim is moved inwards at the borders of the picture: what is made small is a square.
        wide = min(side + 2 * RIM_PIX, total)
        starts = [min(max(0, place - RIM_PIX), total - wide) for place in places]
        piece = picture_PSS[:, *(slice(scale * start, scale * (start + wide)) for start in starts)]
        small = degrade(piece, scale, self.config.degradation, rng)
        inner = (
            slice(place - start, place - start + side) for place, start in zip(places, starts, strict=True)
        )
        small = small[:, *inner]
        large = picture_PSS[:, *(slice(scale * place, scale * (place + side)) for place in places)]
        turned = (np.ascontiguousarray(apply_symmetry(to_network(part), turn)) for part in (small, large))
        first, second = turned
        return first, second


class UpscalerObjective:
    """The mean absolute error of enlarged crops (eq. 6 of the SwinIR paper)."""

    def __init__(self, config: UpscalerConfig, planes: int) -> None:
        self.config, self.planes = config, planes
        self.network: SwinIR = build_swinir(config.preset, config.scale, planes)

    def loss(self, network: nn.Module, batch: Pairs, device: str) -> tuple[Tensor, Figures]:
        small, large = (torch.from_numpy(part).to(device) for part in (batch.small_BPss, batch.large_BPSS))
        error = network(small) - large
        # The range is 2, so that its square over the mean squared error is 4 / mse.
        return error.abs().mean(), {
            "psnr": 10 * torch.log10(4 / (error.detach() ** 2).mean().clamp(min=1e-9))
        }

    def publish(self, folder: Path, batches: list[Pairs], device: str) -> dict[str, Any]:
        self.network.save_pretrained(folder, safe_serialization=True)
        write_upscaler_card(folder, self.config)
        return {}


def build(cell: Cell, device: str) -> Built:
    """Return objective and samples of the upscaler."""
    config = cell.config
    assert isinstance(config, UpscalerConfig)
    reader, key = StoreReader(cell.run.product("pictures.zarr")), (cell.run.seed, *cell.key)
    held_out = PairData(reader, config, key, "validation") if len(reader.select("validation")) else None
    objective = UpscalerObjective(config, int(reader.attrs["planes"]))
    return objective, PairData(reader, config, key, "train"), held_out


def load(objective: UpscalerObjective, path: Path) -> None:
    """Put weights into an objective: those of a published folder, or a file of SwinIR's authors.

    The network becomes that of the weights, whose layers at the end may differ from those of the preset.
    """
    config = objective.config
    check_fit(path, config.preset, config.scale, objective.planes, "upscaler")
    objective.network = load_checked(path, "upscaler").train()


def refuse(run: Run, path: Path) -> None:
    """Refuse weights of another network than the settings say; a `Recipe.refuse`."""
    config = run.section(UpscalerConfig)
    check_fit(path, config.preset, config.scale, run.section(PicturesConfig).planes, "upscaler")
