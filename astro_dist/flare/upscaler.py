"""The training of the upscaler: pairs of small and large crops, their loss, and weights to begin with.

Sample n is a function of ``(seed, training, split, n)`` and the store, as for all trainings.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from astro_dist.engine.work import Run
from astro_dist.flare.upscale_config import UpscalerConfig
from astro_dist.flare.upscaler_card import write_upscaler_card
from astro_dist.models.enlargers import KINDS, check_adopted, kind_of, write_adopted_card
from astro_dist.models.swinir import SwinIR, build_swinir
from astro_dist.models.swinir_files import check_fit
from astro_dist.pictures.config import PicturesConfig
from astro_dist.pictures.degradations import DegradationName, degrade
from astro_dist.store.picture_pairs import PairData, Pairs
from astro_dist.store.reader import StoreReader
from astro_dist.train.recipe import Built, Cell, Figures


def pair_data(
    reader: StoreReader, config: UpscalerConfig, key: tuple[int | str, ...], split: str
) -> PairData:
    """Return pairs of crops of the pictures of a split, see `PairData`."""
    shrink = partial(_shrink, config.scale, config.degradation)
    return PairData(reader, config.crop_pix, config.scale, shrink, key, split)


def _shrink(
    scale: int, kind: DegradationName, picture_PSS: NDArray[Any], rng: np.random.Generator
) -> NDArray[Any]:
    return degrade(picture_PSS, scale, kind, rng)


class UpscalerObjective:
    """The mean absolute error of enlarged crops (eq. 6 of the SwinIR paper)."""

    def __init__(self, config: UpscalerConfig, planes: int) -> None:
        self.config, self.planes = config, planes
        self.network: Any = build_swinir(config.preset, config.scale, planes)

    def loss(self, network: nn.Module, batch: Pairs, device: str) -> tuple[Tensor, Figures]:
        small, large = (torch.from_numpy(part).to(device) for part in (batch.small_BPss, batch.large_BPSS))
        error = network(small) - large
        # The range is 2, so that its square over the mean squared error is 4 / mse.
        return error.abs().mean(), {
            "psnr": 10 * torch.log10(4 / (error.detach() ** 2).mean().clamp(min=1e-9))
        }

    def publish(self, folder: Path, batches: list[Pairs], device: str) -> dict[str, Any]:
        self.network.save_pretrained(folder, safe_serialization=True)
        if isinstance(self.network, SwinIR):
            write_upscaler_card(folder, self.config)
        else:
            write_adopted_card(folder, self.network)
        return {}


def build(cell: Cell, device: str) -> Built:
    """Return objective and samples of the upscaler."""
    config = cell.config
    assert isinstance(config, UpscalerConfig)
    reader, key = StoreReader(cell.run.product("pictures.zarr")), (cell.run.seed, *cell.key)
    held_out = pair_data(reader, config, key, "validation") if len(reader.select("validation")) else None
    objective = UpscalerObjective(config, int(reader.attrs["planes"]))
    return objective, pair_data(reader, config, key, "train"), held_out


def load(objective: UpscalerObjective, path: Path) -> None:
    """Put weights into an objective: those of a published folder, or a file of SwinIR's authors.

    The network becomes that of the weights, whose layers at the end may differ from those of the preset.
    """
    _check(objective.config, path, objective.planes)
    objective.network = KINDS[kind_of(path, "upscaler")].load(path, "upscaler").train()


def refuse(run: Run, path: Path) -> None:
    """Refuse weights that the settings cannot take; a `Recipe.refuse`."""
    _check(run.section(UpscalerConfig), path, run.section(PicturesConfig).planes)


def _check(config: UpscalerConfig, path: Path, planes: int) -> None:
    if kind_of(path, "upscaler") == SwinIR.__name__:
        check_fit(path, config.preset, config.scale, planes, "upscaler")
    else:
        check_adopted(path, "upscaler", config.steps, config.scale, planes)
