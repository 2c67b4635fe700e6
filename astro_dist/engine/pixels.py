"""Pixels between a store and a network: uint8 from 0 to 255, or float32 from -1 to 1, and back."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Image

HALF = np.float32(127.5)


def to_network(pictures: NDArray[Any]) -> Image:
    """Return pictures of any shape as float32 from -1 to 1, as networks see them.

    Parameters
    ----------
    pictures
        uint8 from 0 to 255; or float32, which is that already.
    """
    if pictures.dtype != np.uint8:
        return pictures.astype(np.float32)
    # Products of float32: the same bits on every machine.
    return pictures.astype(np.float32) / HALF - np.float32(1)


def from_network(values: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Return what a network drew as pictures of a store's ``dtype``: clipped, and rounded to uint8."""
    clipped = np.clip(values.astype(np.float32), -1, 1)
    if dtype != "uint8":
        return clipped
    return np.rint((clipped + np.float32(1)) * HALF).astype(np.uint8)
