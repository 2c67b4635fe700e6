"""The texture of a survey's noise, measured between the sources of its cutouts."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import publish_file
from astro_dist.field.background import TEXTURE_FILE
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.texture import measure_kernel
from astro_dist.store.reader import StoreReader

MAPS, CUTOUTS = 16, 16
"""Most maps that give a texture, and most cutouts of each."""


def measure_texture(cutouts: StoreReader, folder: Path) -> None:
    """Write the kernels of the survey's noise to ``folder``, one per map, of those with the emptiest cutouts.

    Of each map its emptiest cutouts of the training split count, without what lies within two beam widths of
    an island.

    Raises
    ------
    ConfigError
        When no cutout of the survey has noise to measure.
    """
    order = _emptiest_first(cutouts)
    maps = cutouts.columns["source_map"][order]
    kernels = []
    for number in list(dict.fromkeys(maps.tolist()))[:MAPS]:
        image, free = _read_noise(cutouts, order[maps == number][:CUTOUTS], cutouts.attrs["maps"][number])
        if free.any() and np.ptp(image[free]) > 0:
            kernels.append(measure_kernel(image, free))
    if not kernels:
        raise ConfigError(
            "assemble.background.texture survey: no cutout has a measured noise and sky without sources; set "
            "it to beam"
        )
    with publish_file(folder / TEXTURE_FILE) as hidden, hidden.open("wb") as handle:
        np.save(handle, np.stack(kernels))


def _emptiest_first(cutouts: StoreReader) -> NDArray[np.int64]:
    """Return the cutouts for training with a measured noise, those with the least area of islands first."""
    chosen = cutouts.select("train")
    chosen = chosen[cutouts.columns["rms_jy_beam"][chosen] > 0]
    covered = [np.count_nonzero(cutouts.read("mask", part), axis=(1, 2)) for part in _portions(chosen)]
    # A stable sort: equals stay in the order of the store.
    return chosen[np.argsort(np.concatenate(covered), kind="stable")] if covered else chosen


def _portions(indices: NDArray[np.int64], size: int = 512) -> Iterator[NDArray[np.int64]]:
    """Yield indices in portions whose images fit into memory."""
    for first in range(0, len(indices), size):
        yield indices[first : first + size]


def _read_noise(
    cutouts: StoreReader, some: NDArray[np.int64], about: dict[str, Any]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return cutouts of one map over their noise, and which pixels are free of sources."""
    level, rms = (
        cutouts.columns[f"{name}_jy_beam"][some].astype(np.float32)[:, None, None]
        for name in ("background", "rms")
    )
    image = (cutouts.read("image", some) - level) / rms
    side = 2 * math.ceil(2 * Beam(**about["beam"]).fwhm_pix(Pixel(*about["pixel_arcsec"]))) + 1
    near = maximum_filter(cutouts.read("mask", some), (1, side, side)) > 0
    return np.nan_to_num(image), np.isfinite(image) & ~near
