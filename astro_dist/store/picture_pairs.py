"""Pairs of crops of pictures: a piece of a picture, and the same piece of the picture made small.

Sample n is a function of ``(seed, training, split, n)`` and the store, as for all trainings.

Shape letters: B batch, P planes, S side of a crop in pixels, s that of the small crop.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Image
from astro_dist.engine.pixels import to_network
from astro_dist.engine.seeds import stream
from astro_dist.sky.symmetries import apply_symmetry
from astro_dist.store.reader import StoreReader

RIM_PIX = 4
"""Small pixels round a crop that are made with it, so that no kernel ends at the crop."""
Shrink = Callable[[NDArray[Any], np.random.Generator], NDArray[Any]]
"""Makes a picture (P, S, S) small, with random numbers of its own."""


@dataclass(frozen=True)
class Pairs:
    """Small crops (B, P, s, s) and the same pieces of the large pictures (B, P, S, S), in network range."""

    small_BPss: Image
    large_BPSS: Image


def as_it_is(picture_PSS: NDArray[Any]) -> NDArray[Any]:
    """Return a picture unchanged."""
    return picture_PSS


class PairData:
    """Pairs of crops of the pictures of a split, turned and flipped by their streams.

    Parameters
    ----------
    reader
        Store of the pictures.
    crop_pix, scale
        Side of a large crop, and how many times larger it is than the small one.
    shrink
        What makes pieces small; picklable.
    key
        Seed and name of the training.
    split
        The split whose pictures are used.
    change
        What the large crop goes through once it has been made small; picklable.
    """

    def __init__(
        self,
        reader: StoreReader,
        crop_pix: int,
        scale: int,
        shrink: Shrink,
        key: tuple[int | str, ...],
        split: str,
        change: Callable[[NDArray[Any]], NDArray[Any]] = as_it_is,
    ) -> None:
        self.reader, self.key = reader, (*key, split)
        self.crop_pix, self.scale, self.shrink, self.change = crop_pix, scale, shrink, change
        self.chosen = reader.select(split)

    def batch(self, first: int, count: int) -> Pairs:
        """Return samples ``first`` to ``first + count - 1``."""
        seed, *key = self.key
        streams = [stream(int(seed), *key, n) for n in range(first, first + count)]
        pictures = self.reader.read("picture", [int(rng.choice(self.chosen)) for rng in streams])
        pairs = [self._pair(picture, rng) for picture, rng in zip(pictures, streams, strict=True)]
        return Pairs(*(np.stack(side) for side in zip(*pairs, strict=True)))

    def _pair(self, picture_PSS: NDArray[Any], rng: np.random.Generator) -> tuple[Image, Image]:
        scale = self.scale
        # In pixels of the small picture, whose whole pixels crops begin and end with.
        side, total = self.crop_pix // scale, picture_PSS.shape[-1] // scale
        places = [int(start) for start in rng.integers(0, total - side + 1, 2)]
        turn = int(rng.integers(8))
        # The rim is moved inwards at the borders of the picture: what is made small is a square.
        wide = min(side + 2 * RIM_PIX, total)
        starts = [min(max(0, place - RIM_PIX), total - wide) for place in places]
        piece = picture_PSS[:, *(slice(scale * start, scale * (start + wide)) for start in starts)]
        small, large = self.shrink(piece, rng), self.change(piece)
        inner = [place - start for place, start in zip(places, starts, strict=True)]
        small = small[:, *(slice(at, at + side) for at in inner)]
        large = large[:, *(slice(scale * at, scale * (at + side)) for at in inner)]
        turned = (np.ascontiguousarray(apply_symmetry(to_network(part), turn)) for part in (small, large))
        first, second = turned
        return first, second
