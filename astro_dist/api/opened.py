"""A run directory opened for reading: its products as arrays of xarray and dask, and as astropy tables.

Nothing is read before it is asked for, and nothing is written. Arrays are read by dask, in pieces of a shard
of a store or of some rows of a field.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.ledger import Ledger
from astro_dist.engine.origins import merge, of_facts

if TYPE_CHECKING:
    import xarray

    from astro_dist.sky.fits_arrays import WCS, Table

ROWS = 512
"""Rows of a field in one piece of its dask arrays."""
LAYERS = {"map": "map.fits", "mask": "mask.fits", "instances": "instances.fits"}


@dataclass(frozen=True)
class _StoredArray:
    """An array of a store as dask takes it; a piece is read by the fast reader, every checksum verified."""

    reader: Any
    name: str
    shape: tuple[int, ...]
    dtype: Any

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, where: tuple[Any, ...]) -> Any:
        images, *inside = where if isinstance(where, tuple) else (where,)
        places = np.arange(self.shape[0])[images]
        read = self.reader.read(self.name, np.atleast_1d(places))
        # A single number takes an axis away, as everywhere in NumPy.
        return read[:, *inside] if places.ndim else read[0][*inside]


def _lazy(pixels: Any, chunks: tuple[int, ...]) -> Any:
    """Return a dask array of what has a shape, a type and can be indexed by slices."""
    from dask.array import from_array

    return from_array(pixels, chunks=chunks)  # type: ignore[no-untyped-call]


class OpenRun:
    """The published products of a run directory.

    Parameters
    ----------
    path
        The run directory.

    Attributes
    ----------
    path
        The run directory.

    Raises
    ------
    ConfigError
        The path is no run directory.

    Examples
    --------
    >>> import astro_dist
    >>> run = astro_dist.open_run("runs/quickstart")
    >>> run.cutouts["image"].dims
    ('cutout', 'y', 'x')
    >>> bright = run.truth[run.truth["snr"] > 5]
    >>> run.field["map"].attrs["units"]
    'Jy/beam'
    >>> sorted(run.models)[:2]
    ['autoencoder', 'diffusion']
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not (self.path / "ledger").is_dir():
            raise ConfigError(f"{self.path} is not a run directory: it holds no ledger/; mend the path")
        self._ledger = Ledger(self.path)

    def __repr__(self) -> str:
        return f"open_run({str(self.path)!r}): {', '.join(self.stages) or 'nothing published'}"

    @property
    def stages(self) -> dict[str, Path]:
        """The product of every published stage, by the name of the stage."""
        return {name: self.path / one.product for name, one in self._ledger.all_published().items()}

    def facts(self, stage: str) -> dict[str, Any]:
        """Return the figures that a stage published, such as numbers of objects."""
        published = self._ledger.published(stage)
        return {} if published is None else dict(published.facts)

    @property
    def terms(self) -> dict[str, str]:
        """Terms of use by the name of the data that the products follow from."""
        origins = merge(*(of_facts(self.facts(stage)) for stage in self.stages))
        return {origin.name: origin.terms for origin in origins}

    @cached_property
    def cutouts(self) -> "xarray.Dataset":
        """Cutouts, with images in Jy/beam, masks, instances, valid pixels, a coordinate for every column."""
        return self._open_store("cutouts")

    @cached_property
    def stamps(self) -> "xarray.Dataset":
        """Stamps, drawn images in Jy/beam above a background of zero, with masks and instances."""
        return self._open_store("generate")

    @cached_property
    def field(self) -> "xarray.Dataset":
        """The field, (y, x), with ``map`` in Jy/beam, ``mask`` of classes, ``instances`` of numbers."""
        xarray = _import_xarray()
        from astro_dist.sky.fits_arrays import map_image

        folder, arrays = self._product("assemble"), {}
        for name, file in LAYERS.items():
            pixels, header = map_image(folder / file)
            lazy = _lazy(pixels, (ROWS, pixels.shape[1])).astype(pixels.dtype.newbyteorder("="))
            about = {"units": header.get("BUNIT", ""), "long_name": header.get("CONTENT", name)}
            arrays[name] = (("y", "x"), lazy, about)
        return xarray.Dataset(arrays)

    @cached_property
    def wcs(self) -> "WCS":
        """The celestial WCS of the field."""
        from astro_dist.sky.fits_arrays import map_image, wcs_of

        return wcs_of(map_image(self._product("assemble") / LAYERS["map"])[1])

    @cached_property
    def truth(self) -> "Table":
        """The truth catalogue of the field, with units and descriptions."""
        from astro_dist.sky.fits_arrays import read_table

        return read_table(self._product("assemble") / "truth.fits")

    @cached_property
    def measured(self) -> "Table":
        """The catalogue of sources that was measured in the maps, with units and descriptions."""
        from astro_dist.sky.fits_arrays import read_table

        return read_table(self._product("annotate") / "measured.fits")

    @property
    def models(self) -> Mapping[str, Path]:
        """The folders of the published networks by name; `Stamps` draws with them."""
        return {name: path for name, path in self.stages.items() if path.parent.name == "models"}

    def _product(self, stage: str) -> Path:
        if (published := self._ledger.published(stage)) is None:
            done = ", ".join(self.stages) or "nothing"
            raise ConfigError(f"{self.path} has no product of {stage} yet (published: {done}); run it first")
        return self.path / published.product

    def _open_store(self, stage: str) -> "xarray.Dataset":
        from astro_dist.store.reader import StoreReader

        path = self._product(stage)
        reader = StoreReader(path)
        opened = _import_xarray().open_zarr(path, chunks=None, consolidated=True)
        for name, array in opened.data_vars.items():
            if array.ndim > 1:
                pixels = _StoredArray(reader, name, array.shape, array.dtype)
                chunks = (reader.attrs["per_shard"], *array.shape[1:])
                opened[name] = array.copy(data=_lazy(pixels, chunks))
        return opened


def open_run(path: str | Path) -> OpenRun:
    """Open a run directory for reading; see `OpenRun`."""
    return OpenRun(path)


def _import_xarray() -> Any:
    try:
        import xarray
    except ImportError:
        raise ConfigError(
            "arrays of a run need xarray, which is not installed: pip install 'astro_dist[arrays]'"
        ) from None
    return xarray
