"""Augmented copies of pictures (eq. 4 of FLARE), each a function of the seed, the picture and its number.

No store of augmented pictures exists: a row of a set names the copy, and whoever reads the row makes it. Copy
0 is the picture itself. The numbers that are drawn do not depend on the size of a picture, so that copy 3 of
a picture and of its enlargement are the same change.

The strengths are those of FLARE's public code, whose paper names flips and colour jitter without any.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.seeds import stream
from astro_dist.flare.upscale_config import AugmentName
from astro_dist.pictures.transforms import brighten, crop, flip, jitter, look_from, turn

Picture = NDArray[Any]
Change = Callable[[Picture, np.random.Generator], Picture]
STRONG, MIXED = (0.6, 0.4, 0.3, 0.2), (0.2, 0.7, 0.5, 0.5)
"""Greatest changes of brightness, contrast, saturation (factors) and hue: of jitter, and of flip_jitter."""
CROP_AREA = (0.75, 0.90)
"""Least and greatest share of the area that a crop keeps."""
PERSPECTIVE = 0.2
"""Greatest move of a corner, as a fraction of half the side."""


def augment(picture_PSS: Picture, seed: int, index: int, copy: int, kinds: Sequence[AugmentName]) -> Picture:
    """Return copy ``copy`` of a picture, of the same shape and type.

    Parameters
    ----------
    picture_PSS
        (P, S, S), uint8, or float32 in network range.
    seed
        Seed of the run.
    index
        Position of the picture in its store.
    copy
        0 is the picture itself, 1 and on are its changes.
    kinds
        Changes in turn: copy i is of kind ``kinds[(i - 1) % len(kinds)]``.
    """
    if copy == 0:
        return picture_PSS
    return KINDS[kinds[(copy - 1) % len(kinds)]](picture_PSS, stream(seed, "augment", index, copy))


def _flip(picture_PSS: Picture, rng: np.random.Generator) -> Picture:
    # One of the three that change something.
    code = int(rng.integers(1, 4))
    return flip(picture_PSS, bool(code & 1), bool(code & 2))


def _jitter(
    picture_PSS: Picture, rng: np.random.Generator, strengths: tuple[float, float, float, float] = STRONG
) -> Picture:
    *factors, hue = (float(rng.uniform(-most, most)) for most in strengths)
    brightness, contrast, saturation = (1 + factor for factor in factors)
    if picture_PSS.dtype != np.uint8:
        # A map has no colours, and contrast about a mean would cut off its noise.
        return brighten(picture_PSS, brightness)
    return jitter(picture_PSS, brightness, contrast, saturation, hue)


def _flip_jitter(picture_PSS: Picture, rng: np.random.Generator) -> Picture:
    return _jitter(_flip(picture_PSS, rng), rng, MIXED)


def _crop(picture_PSS: Picture, rng: np.random.Generator) -> Picture:
    y, x = rng.uniform(size=2)
    return crop(picture_PSS, float(y), float(x), float(rng.uniform(*CROP_AREA)) ** 0.5)


def _turn(picture_PSS: Picture, rng: np.random.Generator) -> Picture:
    return turn(picture_PSS, float(rng.uniform(0, 360)))


def _perspective(picture_PSS: Picture, rng: np.random.Generator) -> Picture:
    return look_from(picture_PSS, rng.uniform(0, PERSPECTIVE / 2, (4, 2)))


KINDS: dict[AugmentName, Change] = {
    "flip": _flip,
    "jitter": _jitter,
    "flip_jitter": _flip_jitter,
    "crop": _crop,
    "turn": _turn,
    "perspective": _perspective,
}
