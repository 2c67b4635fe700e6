"""The sources of a field before they are placed: their objects, brightness and sizes, and places if given.

Rows are slots. Draws belong to slots, not to the order of placing, and come from streams of their own: the
sources of a shorter list are the first of a longer one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.field.config import AssembleConfig
from astro_dist.field.flux import draw_k
from astro_dist.field.library import Library
from astro_dist.sky.classes import SourceClass

Stream = Callable[..., np.random.Generator]
Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sources:
    """Sources in the order of their slots.

    Attributes
    ----------
    objects
        Rows of the library, -1 for a point or Gaussian of its own.
    kinds
        Class of each.
    k, flux_jy
        One of the two, the other NaN: peak over the local rms, or flux.
    spread_pix
        (n, 3) yy, yx and xx of a source that is no object, the field's pixels squared.
    size_factor
        Factor of the size of an object.
    turn_deg
        Its turn from +y to -x without a flip, NaN where both are to be drawn.
    places
        (n, 2) y and x in the field, NaN where a place is to be drawn.
    spectral_index, rows
        NaN where unknown; row of the catalogue from 0, -1 where there is none.
    """

    objects: Integers
    kinds: NDArray[np.uint8]
    k: Floats
    flux_jy: Floats
    spread_pix: Floats
    size_factor: Floats
    turn_deg: Floats
    places: Floats
    spectral_index: Floats
    rows: Integers

    def __len__(self) -> int:
        return len(self.objects)

    @classmethod
    def of_objects(cls, objects: Integers, kinds: NDArray[np.uint8], **columns: NDArray[Any]) -> "Sources":
        """Return sources that are objects of the library as they are, with the other columns given."""
        n = len(objects)
        nothing, unknown = np.full(n, np.nan), np.full((n, 2), np.nan)
        defaults = {
            "k": nothing,
            "flux_jy": nothing,
            "spread_pix": np.zeros((n, 3)),
            "size_factor": np.ones(n),
            "turn_deg": nothing,
            "places": unknown,
            "spectral_index": nothing,
            "rows": np.full(n, -1, np.int64),
        }
        return cls(objects, kinds, **(defaults | columns))


def choose_spurious(library: Library, config: AssembleConfig, stream: Stream, sources: Sources) -> Sources:
    """Return the spurious objects beside some sources: as many per source as were accepted."""
    spurious = library.table["class"] == SourceClass.SPURIOUS
    pool = np.flatnonzero(spurious)
    real = max(1, int(np.count_nonzero(~spurious)))
    count = min(len(pool) * config.reuse, round(len(sources) * len(pool) / real))
    # A stream of its own: with or without spurious objects, the sources are the same.
    objects = dealt(pool, count, stream("assemble", "objects", "spurious"))
    # The law's brightness in every mode, because neither a catalogue nor counts have artefacts.
    k = draw_k(count, config.flux, stream("assemble", "flux", "spurious"))
    return Sources.of_objects(objects, library.table["class"][objects], k=k)


def dealt(pool: Integers, count: int, rng: np.random.Generator) -> Integers:
    """Return ``count`` members of a pool in random order, each used before any is used again."""
    order = rng.permutation(pool)
    return np.asarray(order[np.arange(count) % max(1, len(order))]) if count else np.zeros(0, np.int64)
