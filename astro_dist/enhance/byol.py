"""The training of the cleaner's encoder on pictures without labels (Grill et al. 2020).

Sample n is a function of ``(seed, training, split, n)`` and the store, as for all trainings.

Shape letters: B batch, P planes, S side of a view in pixels.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from astro_dist.engine.arrays import Image
from astro_dist.engine.work import Run
from astro_dist.enhance.byol_config import PictureByolConfig
from astro_dist.enhance.colourise import Crops
from astro_dist.models.cleaner_presets import CLEANERS
from astro_dist.models.encoder import PictureEncoder, build_picture_byol, load_picture_encoder
from astro_dist.models.foreign import check_finite, check_part
from astro_dist.models.norms import settle_norms
from astro_dist.pictures.config import PicturesConfig
from astro_dist.sky.symmetries import apply_symmetry
from astro_dist.store.reader import StoreReader
from astro_dist.train.recipe import Built, Cell, Figures


@dataclass(frozen=True)
class Views:
    """Two views of each crop, (B, P, S, S) float32, where white is 1."""

    first_BPSS: Image
    second_BPSS: Image


class ViewData(Crops):
    """Pairs of views of a crop that differ in place, turn, brightness, colour and noise."""

    def batch(self, first: int, count: int) -> Views:
        """Return samples ``first`` to ``first + count - 1``."""
        crops, streams = self.crops(first, count)
        pairs = [[self._view(crop, rng) for _ in range(2)] for crop, rng in zip(crops, streams, strict=True)]
        return Views(*(np.stack(views) for views in zip(*pairs, strict=True)))

    def _view(self, crop_PSS: Image, rng: np.random.Generator) -> Image:
        config: PictureByolConfig = self.config
        side = config.crop_pix - config.shift_pix
        y, x = rng.integers(0, config.shift_pix + 1, 2)
        own = 1 + rng.uniform(-config.brightness, config.brightness, (len(crop_PSS), 1, 1))
        whole, noise = 1 + rng.uniform(-config.brightness, config.brightness), rng.uniform(0, config.noise)
        view = crop_PSS[:, y : y + side, x : x + side] * np.float32(whole) * own.astype(np.float32)
        view = view + np.float32(noise) * rng.standard_normal(view.shape, np.float32)
        return np.ascontiguousarray(apply_symmetry(view, int(rng.integers(8))), np.float32)


class ByolObjective:
    """The error with which the online network predicts the target's projection of the other view."""

    def __init__(self, config: PictureByolConfig, planes: int) -> None:
        self.config = config
        self.network = build_picture_byol(_encoder(config, planes))

    def loss(self, network: nn.Module, batch: Views, device: str) -> tuple[Tensor, Figures]:
        if self.network.training:
            # The target moves before each step (eq. 1 of Grill et al. 2020); validation leaves it alone.
            self.network.follow(self.config.target_decay)
        first, second = (_to_network(v).to(device) for v in (batch.first_BPSS, batch.second_BPSS))
        return network(first, second).mean(), {}

    def publish(self, folder: Path, batches: list[Views], device: str) -> dict[str, Any]:
        encoder = self.network.encoder
        if self.config.steps:
            settle_norms(encoder, [_to_network(batch.first_BPSS).numpy() for batch in batches], device)
        encoder.save_pretrained(folder, safe_serialization=True)
        write_card(folder, self.config)
        with torch.inference_mode():
            features = torch.cat([encoder(_to_network(batch.first_BPSS).to(device)) for batch in batches])
        # A deviation of zero shows a collapsed encoder: all pictures have the same features.
        return {"feature_std": round(float(features.std(0).mean()), 6)}


_CARD = """\
---
library_name: diffusers
tags: [astro_dist, byol]
---
# The encoder of a cleaner, trained on pictures without labels

* preset {preset}, {steps} steps of {batch_size} crops
"""


def write_card(folder: Path, config: PictureByolConfig) -> None:
    """Write ``README.md`` beside the weights, without date, host or path."""
    (folder / "README.md").write_text(_CARD.format(**config.model_dump()))


def _to_network(views_BPSS: Image) -> Tensor:
    # As the cleaner sees pictures: the middle of the range becomes 0.
    return torch.from_numpy(2 * views_BPSS - 1)


def _encoder(config: PictureByolConfig, planes: int) -> PictureEncoder:
    return PictureEncoder(planes, **CLEANERS[config.preset].encoder)


def build(cell: Cell, device: str) -> Built:
    """Return objective and samples of the encoder."""
    config = cell.config
    assert isinstance(config, PictureByolConfig)
    reader, key = StoreReader(cell.run.product("pictures.zarr")), (cell.run.seed, *cell.key)
    held_out = ViewData(reader, config, key, "validation") if len(reader.select("validation")) else None
    return (
        ByolObjective(config, int(reader.attrs["planes"])),
        ViewData(reader, config, key, "train"),
        held_out,
    )


def load(objective: ByolObjective, path: Path) -> None:
    """Put a published encoder into an objective, and its copy into the target; a `Recipe.load`."""
    check_part(path, objective.network.encoder, "byol")
    encoder = load_picture_encoder(path)
    check_finite(path, encoder.state_dict().items(), "byol")
    objective.network = build_picture_byol(encoder.train())


def refuse(run: Run, path: Path) -> None:
    """Refuse an encoder of another size than the settings say; a `Recipe.refuse`."""
    with torch.device("meta"):
        outline = _encoder(run.section(PictureByolConfig), run.section(PicturesConfig).planes)
    check_part(path, outline, "byol")
