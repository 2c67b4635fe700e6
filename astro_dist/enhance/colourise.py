"""The training of the network that colours grey pictures: samples, both players' losses, weights.

Sample n is a function of ``(seed, training, split, n)`` and the store, as for all trainings.

Shape letters: B batch, H W sides of a crop in pixels, 1 and 3 planes of grey and colour.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from astro_dist.engine.arrays import Image
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.pixels import to_network
from astro_dist.engine.seeds import stream
from astro_dist.engine.work import Run
from astro_dist.enhance.chroma import strengthen
from astro_dist.enhance.colourise_config import ColouriseConfig
from astro_dist.models.colour_presets import COLOURISERS
from astro_dist.models.colouriser import ColourGame, ColourUNet, PatchGan, load_colouriser
from astro_dist.models.foreign import check_finite, check_part
from astro_dist.pictures.transforms import LUMA
from astro_dist.sky.symmetries import apply_symmetry
from astro_dist.store.reader import StoreReader
from astro_dist.train.recipe import Built, Cell, Figures

MEASURED = 64
"""Crops from which the units of the discriminator are measured."""
LEAST_UNIT = 1e-4
"""Smallest unit of brightness or chroma, for pictures without any."""
LEAST_CHROMA = 1e-6
"""Mean chroma below which pictures are grey but for rounding."""
TURNS = 2
"""Players that take turns, the discriminator first."""


@dataclass(frozen=True)
class Coloured:
    """Coloured crops (B, 3, H, W) and their brightness (B, 1, H, W), float32 from 0 to 1."""

    grey_B1HW: Image
    rgb_B3HW: Image


def to_unit(pictures: NDArray[Any]) -> Image:
    """Return stored pictures, uint8 or float32 from -1 to 1, as float32 from 0 to 1."""
    if pictures.dtype == np.uint8:
        return pictures.astype(np.float32) / np.float32(255)
    return (to_network(pictures) + np.float32(1)) / np.float32(2)


def to_grey(rgb_NPHW: Image) -> Image:
    """Return the brightness (N, 1, H, W) of coloured pictures (N, 3, H, W)."""
    return np.einsum("p,nphw->nhw", LUMA.astype(np.float32), rgb_NPHW)[:, None]


class Crops:
    """Crops of the pictures of a split at random places, turned and flipped by their streams.

    Parameters
    ----------
    reader
        Store of the pictures.
    config
        Settings with ``crop_pix``.
    key
        Seed and name of the training.
    split
        The split whose pictures are used.
    """

    def __init__(self, reader: StoreReader, config: Any, key: tuple[int | str, ...], split: str) -> None:
        self.reader, self.config, self.key = reader, config, (*key, split)
        self.chosen = reader.select(split)
        if len(self.chosen) == 0:
            raise ConfigError(
                f"{key[1]}: no usable picture is in the {split} split of {len(reader)}; give more pictures, "
                "or lower pictures.validation_fraction and pictures.test_fraction"
            )

    def crops(self, first: int, count: int) -> tuple[Image, list[np.random.Generator]]:
        """Return crops (n, P, H, W) from 0 to 1, and the streams that drew them, for further draws."""
        seed, *key = self.key
        streams = [stream(int(seed), *key, n) for n in range(first, first + count)]
        pictures = self.reader.read("picture", [int(rng.choice(self.chosen)) for rng in streams])
        side = self.config.crop_pix
        found = []
        for picture, rng in zip(to_unit(pictures), streams, strict=True):
            y, x = rng.integers(0, np.array(picture.shape[1:]) - side + 1)
            crop = picture[:, y : y + side, x : x + side]
            found.append(np.ascontiguousarray(apply_symmetry(crop, int(rng.integers(8)))))
        return np.stack(found), streams


class ColourData(Crops):
    """Coloured crops and their brightness."""

    def batch(self, first: int, count: int) -> Coloured:
        """Return samples ``first`` to ``first + count - 1``."""
        rgb, _ = self.crops(first, count)
        return Coloured(to_grey(rgb), rgb)


class ColourObjective:
    """The error of the colours times a factor, and the game of generator and discriminator."""

    def __init__(self, config: ColouriseConfig, units: tuple[float, float, float]) -> None:
        self.config = config
        preset = COLOURISERS[config.preset]
        discriminator = PatchGan(**preset.discriminator, units=units) if config.gan else None
        self.network = ColourGame(ColourUNet(**preset.generator), discriminator)

    def loss(self, network: nn.Module, batch: Coloured, device: str) -> tuple[Tensor, Figures]:
        grey, rgb = (torch.from_numpy(part).to(device) for part in (batch.grey_B1HW, batch.rgb_B3HW))
        made, fooled, judged, right = network(grey, rgb)
        error = (made - rgb).abs() if self.config.loss == "l1" else (made - rgb) ** 2
        figures: Figures = {self.config.loss: error.detach().mean()}
        if self.config.gan:
            figures |= {"fooled": fooled.detach(), "judged": judged.detach(), "judge_accuracy": right}
        return self.config.weight * error.mean() + fooled + judged, figures

    def publish(self, folder: Path, batches: list[Coloured], device: str) -> dict[str, Any]:
        facts: dict[str, Any] = {}
        if self.config.chroma is not None:
            grey, rgb = (
                np.concatenate([getattr(batch, name) for batch in batches])
                for name in ("grey_B1HW", "rgb_B3HW")
            )
            facts = strengthen(self.network.generator, grey, rgb, self.config.chroma)
        self.network.generator.save_pretrained(folder, safe_serialization=True)
        write_card(folder, self.config, facts)
        return facts


def groups(network: ColourGame, config: ColouriseConfig) -> list[dict[str, Any]]:
    """Return the parameters of each player with its rate and its turn; a `Recipe.groups`."""
    in_turn = config.players == "in_turn"
    found: list[dict[str, Any]] = [{"params": list(network.generator.parameters()), "betas": config.betas}]
    if network.discriminator is not None:
        rate = config.discriminator_lr / config.lr
        judge = list(network.discriminator.parameters())
        found.append({"params": judge, "betas": config.betas, "rate": rate})
    if in_turn:
        for turn, group in enumerate(reversed(found)):
            group["turn"] = (turn, TURNS)
    return found


def build(cell: Cell, device: str) -> Built:
    """Return objective and samples of the colouring."""
    config = cell.config
    assert isinstance(config, ColouriseConfig)
    reader, key = StoreReader(cell.run.product("pictures.zarr")), (cell.run.seed, *cell.key)
    data = ColourData(reader, config, key, "train")
    held_out = ColourData(reader, config, key, "validation") if len(reader.select("validation")) else None
    return ColourObjective(config, _measure(data.batch(0, MEASURED))), data, held_out


def _measure(batch: Coloured) -> tuple[float, float, float]:
    """Return mean and deviation of the brightness, and the mean absolute chroma, of crops."""
    chroma = np.abs(batch.rgb_B3HW - batch.grey_B1HW).mean(dtype=np.float64)
    if chroma < LEAST_CHROMA:
        raise ConfigError("colourise: the pictures of the training split are grey; give some with colours")
    grey = batch.grey_B1HW.astype(np.float64)
    return float(grey.mean()), max(float(grey.std()), LEAST_UNIT), max(float(chroma), LEAST_UNIT)


def load(objective: ColourObjective, path: Path) -> None:
    """Put the weights of a published generator into an objective; the discriminator begins anew."""
    _check_fit(path, COLOURISERS[objective.config.preset].generator)
    objective.network.generator = load_colouriser(path).train()
    check_finite(path, objective.network.generator.state_dict().items(), "colourise")


def refuse(run: Run, path: Path) -> None:
    """Refuse weights of another network than the settings say; a `Recipe.refuse`."""
    _check_fit(path, COLOURISERS[run.section(ColouriseConfig).preset].generator)


def _check_fit(path: Path, sizes: dict[str, Any]) -> None:
    with torch.device("meta"):
        outline = ColourUNet(**sizes)
    check_part(path, outline, "colourise")


_CARD = """\
---
library_name: diffusers
tags: [astro_dist, colourisation]
---
# A U-Net that colours grey pictures

* preset {preset}, {training}
* error {loss} times {weight:g}, {game}
* {strength}
* brightness stays: 0.299 red + 0.587 green + 0.114 blue of the result is the grey picture

Load: `astro_dist.enhance.colours.Colouriser.from_pretrained(folder).enhance(picture)`.
"""


def write_card(folder: Path, config: ColouriseConfig, facts: dict[str, Any]) -> None:
    """Write ``README.md`` beside the weights, without date, host or path."""
    steps = "{steps} steps of {batch_size} crops of {crop_pix} x {crop_pix} pixels, learning rate {lr:g}"
    training = steps.format(**config.model_dump()) if config.steps else "weights of others as they are"
    if config.steps and config.start_from is not None:
        training += ", from weights of others"
    game = f"with a discriminator, players {config.players}" if config.gan else "without a discriminator"
    strength = "colours as they were learnt"
    if facts:
        strength = (
            f"colours times {facts['chroma_factor']:g}, which gives training crops {facts['chroma']:g} of "
            "their true chroma (means over 8 x 8 pixels)"
        )
    text = _CARD.format(training=training, game=game, strength=strength, **config.model_dump())
    (folder / "README.md").write_text(text)
