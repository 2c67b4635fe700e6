"""A map as a dask array: bands of rows, which are read when a graph asks for them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.sky.maps import SkyMap
from astro_dist.sky.windows import Window

Scheduler = str | Callable[..., Any]
"""Scheduler of dask: ``threads``, ``processes``, ``synchronous``, or a function as Ray's `ray_dask_get`."""
THREADS = 2
"""Threads or processes of a graph over a whole map: each holds some bands."""


@dataclass(frozen=True)
class _Pixels:
    """The pixels of a map with what dask asks of an array: shape, type, slices."""

    sky_map: SkyMap
    dtype = np.dtype(np.float32)
    ndim = 2

    @property
    def shape(self) -> tuple[int, int]:
        return self.sky_map.shape

    def __getitem__(self, where: tuple[slice, slice]) -> NDArray[np.float32]:
        (y0, y1, _), (x0, x1, _) = (part.indices(n) for part, n in zip(where, self.shape, strict=True))
        return np.asarray(self.sky_map.read(Window(y0, y1, x0, x1)))


def lazy_map(sky_map: SkyMap, rows: int) -> Any:
    """Return a map as a dask array, (y, x) float32 in Jy/beam, NaN where there are no data.

    Its blocks are bands of ``rows`` rows from the first row on, whatever scheduler reads them: sums over
    blocks in their order have the same bits in threads, in processes and in one thread.
    """
    from dask.array import from_array

    # Without a name of its own dask would hash the map; `meta` keeps it from reading a pixel in advance.
    meta = np.empty((0, 0), np.float32)
    pixels, chunks = _Pixels(sky_map), (rows, -1)
    return from_array(pixels, chunks, name=False, meta=meta)  # type: ignore[no-untyped-call]
