"""Samples of the painter's trainings: pictures of the training split with their prompts.

Sample n shows a picture of class n modulo the number of classes, so that rare classes are learnt as often as
others; it is a function of the key and n.

Shape letters: as in `astro_dist.models.painter`.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Image
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.pixels import to_network
from astro_dist.engine.seeds import stream
from astro_dist.flare.painter_config import PainterTrainingConfig
from astro_dist.sky.symmetries import apply_symmetry

SPREAD = (0.6180339887498949, 0.7548776662466927)
"""Steps of two sequences that fill [0, 1) evenly: the golden ratio, and 1 / 1.3247 of the plastic number."""


class Reader(Protocol):
    """The part of `astro_dist.store.reader.StoreReader` that samples need."""

    attrs: dict[str, Any]
    columns: dict[str, NDArray[Any]]

    def read(self, array: str, indices: Any) -> NDArray[Any]:
        """Return the pictures at ``indices``."""
        ...

    def select(self, split: str) -> NDArray[np.int64]:
        """Return the positions of the pictures of a split."""
        ...


@dataclass(frozen=True)
class PictureBatch:
    """A batch of samples; all arrays start with axis B.

    Attributes
    ----------
    picture_BPSS
        The picture in network range, turned.
    label_B, prompt_B
        Its class, and its prompt as class * number of templates + template.
    origin_B2
        Index of the picture in the store, and its turn.
    noise_BM
        Standard normal noise, as much as the training asks for.
    time_B2, chance_B2
        Numbers in [0, 1) for picture and text: evenly spread over consecutive samples, and drawn.
    """

    picture_BPSS: Image
    label_B: NDArray[np.int64]
    prompt_B: NDArray[np.int64]
    origin_B2: NDArray[np.int64]
    noise_BM: Image
    time_B2: Image
    chance_B2: Image


class PictureData:
    """The pictures of one split, by class.

    Parameters
    ----------
    reader
        An open store of pictures.
    config
        Whether pictures are turned.
    key
        Seed and name of the training.
    templates
        Number of prompts per class.
    noise
        Numbers of noise per sample.
    """

    def __init__(
        self,
        reader: Reader,
        config: PainterTrainingConfig,
        key: tuple[int | str, ...],
        templates: int = 1,
        noise: int = 0,
        split: str = "train",
    ) -> None:
        self.reader, self.config, self.key = reader, config, (*key, split)
        self.templates, self.noise, self.split = templates, noise, split
        if not len(reader.select(split)):
            raise ConfigError(
                f"no picture is in the {split} split; lower pictures.test_fraction or give more"
            )

    @cached_property
    def pools(self) -> list[NDArray[np.int64]]:
        """The pictures of each class that occurs in the split."""
        chosen = self.reader.select(self.split)
        labels = self.reader.columns["label"][chosen]
        return [chosen[labels == label] for label in np.unique(labels)]

    def batch(self, first: int, count: int) -> PictureBatch:
        """Return samples ``first`` to ``first + count - 1``."""
        seed, *key = self.key
        numbers = np.arange(first, first + count)
        streams = [stream(int(seed), *key, int(n)) for n in numbers]
        pools = [self.pools[n % len(self.pools)] for n in numbers]
        index_B = np.array([rng.choice(pool) for rng, pool in zip(streams, pools, strict=True)])
        turn_B = np.array([rng.integers(8) if self.config.turns else 0 for rng in streams])
        template_B = np.array([rng.integers(self.templates) for rng in streams])
        pictures = to_network(self.reader.read("picture", index_B))
        label_B = self.reader.columns["label"][index_B].astype(np.int64)
        return PictureBatch(
            np.stack([apply_symmetry(x, int(k)) for x, k in zip(pictures, turn_B, strict=True)]),
            label_B,
            label_B * self.templates + template_B,
            np.stack([index_B, turn_B], 1).astype(np.int64),
            np.stack([rng.standard_normal(self.noise, np.float32) for rng in streams]),
            ((numbers[:, None] + 1) * np.array(SPREAD) % 1.0).astype(np.float32),
            np.stack([rng.random(2, np.float32) for rng in streams]),
        )
