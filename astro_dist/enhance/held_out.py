"""The images that the figures of a chain are measured on: some of a split that no training has seen."""

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.work import Run
from astro_dist.enhance.figures_config import FiguresConfig
from astro_dist.store.reader import StoreReader


def store_of(run: Run) -> StoreReader:
    """Return the store with the images that the networks learn from."""
    maps = "maps" in run.settings.sections
    return StoreReader(run.product("cutouts.zarr" if maps else "pictures.zarr"))


def held_out(run: Run, reader: StoreReader) -> NDArray[np.int64]:
    """Return the positions of the images that are measured.

    Raises
    ------
    ConfigError
        The split is empty.
    """
    config = run.section(FiguresConfig)
    rows = reader.select(config.split)
    if not len(rows):
        raise ConfigError(
            f"evaluate.split: no image is in the {config.split} split of {len(reader)}; raise its fraction"
        )
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), config.most)).astype(int))]
