"""The training of the network that finds objects: injected ones, or those of the user's own pairs.

Sample n is a function of ``(seed, training, split, n)`` and the pictures, as for all trainings.

Shape letters: B batch, P planes, S side of a crop in pixels.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from astro_dist.engine.arrays import Image
from astro_dist.engine.errors import ConfigError, DataError
from astro_dist.engine.foreign import expand_home
from astro_dist.engine.seeds import stream
from astro_dist.engine.work import Run
from astro_dist.enhance.cleaner_config import CleanerConfig
from astro_dist.enhance.colourise import Crops
from astro_dist.models.cleaner import build_cleaner, load_cleaner
from astro_dist.models.encoder import load_picture_encoder
from astro_dist.models.foreign import check_finite, check_part
from astro_dist.models.norms import settle_norms
from astro_dist.pictures.config import SUFFIXES, PicturesConfig
from astro_dist.pictures.decode import read_image
from astro_dist.pictures.images import from_image
from astro_dist.pictures.objects import Style, add_galaxies, draw_things, inject
from astro_dist.sky.symmetries import apply_symmetry
from astro_dist.store.reader import StoreReader
from astro_dist.train.recipe import Built, Cell, Figures


@dataclass(frozen=True)
class Marked:
    """Crops (B, P, S, S) from 0 to 1, and which of their pixels belong to objects, (B, S, S) bool."""

    crop_BPSS: Image
    mask_BSS: NDArray[np.bool_]


class InjectedData(Crops):
    """Crops of the pictures with injected objects."""

    def batch(self, first: int, count: int) -> Marked:
        """Return samples ``first`` to ``first + count - 1``."""
        crops, streams = self.crops(first, count)
        style, side = Style(**self.config.objects.model_dump()), self.config.crop_pix
        pairs = (
            inject(add_galaxies(crop, style.galaxies, rng), draw_things(style, side, rng))
            for crop, rng in zip(crops, streams, strict=True)
        )
        return Marked(*(np.stack(part) for part in zip(*pairs, strict=True)))


class PairData:
    """Crops of the user's pictures and masks.

    Parameters
    ----------
    pairs
        Pictures (P, H, W) from 0 to 1 and masks (H, W).
    config
        Settings with ``crop_pix``.
    key
        Seed and name of the training.
    """

    def __init__(
        self, pairs: list[tuple[Image, NDArray[np.bool_]]], config: CleanerConfig, key: tuple[int | str, ...]
    ) -> None:
        self.pairs, self.config, self.key = pairs, config, key

    def batch(self, first: int, count: int) -> Marked:
        """Return samples ``first`` to ``first + count - 1``."""
        found = [self._sample(n) for n in range(first, first + count)]
        return Marked(*(np.stack(part) for part in zip(*found, strict=True)))

    def _sample(self, n: int) -> tuple[Image, NDArray[np.bool_]]:
        seed, *key = self.key
        rng, side = stream(int(seed), *key, n), self.config.crop_pix
        picture, mask = self.pairs[int(rng.integers(len(self.pairs)))]
        y, x = rng.integers(0, np.array(mask.shape) - side + 1)
        turn, place = int(rng.integers(8)), (slice(y, y + side), slice(x, x + side))
        crop = apply_symmetry(picture[:, *place], turn)
        return np.ascontiguousarray(crop), np.ascontiguousarray(apply_symmetry(mask[place], turn))


class CleanerObjective:
    """Cross-entropy of each pixel and one minus the Dice coefficient of each batch's probabilities."""

    def __init__(self, config: CleanerConfig, planes: int) -> None:
        self.config = config
        self.network = build_cleaner(config.preset, planes)

    def loss(self, network: nn.Module, batch: Marked, device: str) -> tuple[Tensor, Figures]:
        logits_BSS = network(torch.from_numpy(batch.crop_BPSS).to(device))[:, 0]
        mask_BSS = torch.from_numpy(batch.mask_BSS).to(device)
        entropy = functional.binary_cross_entropy_with_logits(logits_BSS, mask_BSS.float())
        chance_BSS = logits_BSS.sigmoid()
        # Of each crop, so that ranks and parts add up to the same loss; 1 keeps empty masks finite.
        both_B = (chance_BSS * mask_BSS).sum((1, 2))
        dice_B = (2 * both_B + 1) / (chance_BSS.sum((1, 2)) + mask_BSS.sum((1, 2)) + 1)
        found_BSS = logits_BSS.detach() > 0
        hit, either = (found_BSS & mask_BSS).sum(), (found_BSS | mask_BSS).sum()
        return entropy + (1 - dice_B).mean(), {"iou": hit / either.clamp(min=1)}

    def publish(self, folder: Path, batches: list[Marked], device: str) -> dict[str, Any]:
        if self.config.steps:
            settle_norms(self.network, [batch.crop_BPSS for batch in batches], device)
        self.network.save_pretrained(folder, safe_serialization=True)
        write_card(folder, self.config)
        return {}


def build(cell: Cell, device: str) -> Built:
    """Return objective and samples of the cleaner."""
    config = cell.config
    assert isinstance(config, CleanerConfig)
    reader, key = StoreReader(cell.run.product("pictures.zarr")), (cell.run.seed, *cell.key)
    planes = int(reader.attrs["planes"])
    objective = CleanerObjective(config, planes)
    if "byol" in cell.run.settings.sections:
        encoder = load_picture_encoder(cell.run.product("models/byol"))
        objective.network.encoder.load_state_dict(encoder.state_dict())
    if config.pairs is not None:
        return objective, PairData(read_pairs(config, planes), config, key), None
    held_out = InjectedData(reader, config, key, "validation") if len(reader.select("validation")) else None
    return objective, InjectedData(reader, config, key, "train"), held_out


def list_pairs(config: CleanerConfig) -> list[tuple[Path, Path]]:
    """Return the user's pictures and their masks, by name; `ConfigError` where one has no mask."""
    assert config.pairs is not None
    folder = Path(expand_home(config.pairs))
    pictures = folder / "pictures"
    found = sorted(pictures.iterdir()) if pictures.is_dir() else []
    pairs = [
        (path, folder / "masks" / f"{path.stem}.png") for path in found if path.suffix.lower() in SUFFIXES
    ]
    if not pairs:
        raise ConfigError(f"cleaner.pairs: {pictures} holds no pictures; put them there, masks beside it")
    if lacking := [mask for _, mask in pairs if not mask.is_file()]:
        raise ConfigError(f"cleaner.pairs: there is no mask {lacking[0]}; add it, white on objects")
    return pairs


def read_pairs(config: CleanerConfig, planes: int) -> list[tuple[Image, NDArray[np.bool_]]]:
    """Return the user's pictures (P, H, W) from 0 to 1 with their masks (H, W)."""
    found = []
    for path, mask_path in list_pairs(config):
        try:
            image = read_image(path, str(path)).convert("RGB" if planes == 3 else "L")
            mask = from_image(read_image(mask_path, str(mask_path)).convert("L"))[0] >= 128
        except DataError as error:
            raise ConfigError(f"cleaner.pairs: {error}") from None
        picture = from_image(image).astype(np.float32) / np.float32(255)
        if mask.shape != picture.shape[1:] or min(mask.shape) < config.crop_pix:
            raise ConfigError(
                f"cleaner.pairs: {path} has {picture.shape[2]} x {picture.shape[1]} pixels, its mask "
                f"{mask.shape[1]} x {mask.shape[0]}; both must be equal, and at least cleaner.crop_pix "
                f"({config.crop_pix}) a side"
            )
        found.append((picture, mask))
    if not any(mask.any() for _, mask in found):
        raise ConfigError("cleaner.pairs: no mask is white anywhere; paint the objects white")
    return found


def find_files(run: Run) -> list[Path]:
    """Return the files of the user's pairs; a `Recipe.files`."""
    config = run.section(CleanerConfig)
    return [] if config.pairs is None else [path for pair in list_pairs(config) for path in pair]


def load(objective: CleanerObjective, path: Path) -> None:
    """Put published weights into an objective; a `Recipe.load`."""
    check_part(path, objective.network, "cleaner")
    objective.network = load_cleaner(path).train()
    check_finite(path, objective.network.state_dict().items(), "cleaner")


def refuse(run: Run, path: Path) -> None:
    """Refuse weights of another network than the settings say; a `Recipe.refuse`."""
    config, planes = run.section(CleanerConfig), run.section(PicturesConfig).planes
    with torch.device("meta"):
        outline = build_cleaner(config.preset, planes)
    check_part(path, outline, "cleaner")


_CARD = """\
---
library_name: diffusers
tags: [astro_dist, segmentation]
---
# A U-Net on a ResNet that finds objects in pictures

* preset {preset}, {training}
* trained on {objects}; loss: cross-entropy and Dice

Load: `astro_dist.enhance.clean.Cleaner.from_pretrained(folder).enhance(picture)`.
"""


def write_card(folder: Path, config: CleanerConfig) -> None:
    """Write ``README.md`` beside the weights, without date, host or path."""
    steps = "{steps} steps of {batch_size} crops of {crop_pix} x {crop_pix} pixels, learning rate {lr:g}"
    training = steps.format(**config.model_dump()) if config.steps else "weights of others as they are"
    if config.steps and config.start_from is not None:
        training += ", from weights of others"
    objects = f"injected {', '.join(config.objects.kinds)}" if config.pairs is None else "pairs of the user"
    (folder / "README.md").write_text(_CARD.format(preset=config.preset, training=training, objects=objects))
