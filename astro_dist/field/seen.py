"""The sky of a field at another frequency (`assemble.seen`): the layout stays, fluxes, beam, noise change.

Sources, places, turns and ids are drawn as for the field itself, so that fields which differ in
`assemble.seen` alone show one sky. What belongs to an observation is drawn anew: the noise, and the artefacts
of bright sources.
"""

import functools

import numpy as np

from astro_dist.engine import seeds
from astro_dist.engine.arrays import Columns
from astro_dist.engine.work import Run
from astro_dist.field.background import Background
from astro_dist.field.config import AssembleConfig
from astro_dist.field.library import Library
from astro_dist.field.patches import Patches
from astro_dist.field.sources import Stream
from astro_dist.sky.maps import SkyMap


def observation(run: Run) -> tuple[int, Stream]:
    """Return the seed of the noise and the stream of the artefacts of a field, at its frequency."""
    frequency_hz = run.section(AssembleConfig).seen.frequency_hz
    if frequency_hz is None:
        return run.seed, run.stream
    seed = int(run.stream("assemble", "seen", str(frequency_hz)).integers(2**63))
    return seed, functools.partial(seeds.stream, seed)


def carry(
    table: Columns,
    drawn_on: SkyMap,
    field: SkyMap,
    background: Background,
    library: Library,
    config: AssembleConfig,
) -> Columns:
    """Return a layout with the fluxes, the noise and the boxes that it has in a map of another frequency.

    Parameters
    ----------
    table
        The layout as `astro_dist.field.placements.draw_layout` returns it.
    drawn_on, field
        The map that it was drawn for, and the one that shows it; both on the same pixels.
    background
        That of ``field``.
    """
    assert field.frequency_hz is not None
    assert drawn_on.frequency_hz is not None
    index = table["spectral_index"].astype(np.float64)
    index = np.where(np.isnan(index), config.flux.counts.spectral_index, index)
    ratio = field.frequency_hz / drawn_on.frequency_hz
    table = table | {"flux_given_jy": table["flux_given_jy"] * ratio**index}
    names = ("y_anchor_pix", "x_anchor_pix")
    places = (
        np.clip(np.floor(table[n] + 0.5), 0, size - 1) for n, size in zip(names, field.shape, strict=True)
    )
    table["sigma_jy_beam"] = background.rms_at(*(place.astype(np.int64) for place in places))
    boxes = Patches(table, library, field, config.anchor).boxes().T
    drawn = table["drawn"].astype(bool)
    for name, values in zip(("y0", "x0", "height", "width"), boxes, strict=True):
        table[name] = np.where(drawn, table[name], values).astype(np.int32)
    return table
