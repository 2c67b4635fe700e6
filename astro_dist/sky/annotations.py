"""The product of `annotate` on disk: parquet tables equal byte for byte when made again.

``islands.parquet``, ``sources.parquet`` and ``mesh.parquet`` are small; version 0.1.0 had no sources, and
there each island is one. ``levels.parquet`` has the part of wide emission that counts as background, of
those maps that have some. ``pixels.parquet`` has one row group per map that has islands, so that
`Annotations` holds the pixels of one map at a time.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from astro_dist.engine.arrays import Columns, Image
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.mesh import Mesh, Wide
from astro_dist.sky.tables import explain_damage, open_writer, read_table_file, write_table_file
from astro_dist.sky.windows import Window

ISLANDS, PIXELS, MESH = "islands.parquet", "pixels.parquet", "mesh.parquet"
SOURCES, LEVELS = "sources.parquet", "levels.parquet"
Painting = tuple[NDArray[np.uint8], NDArray[np.int32]]


def write_parquet(path: Path, columns: Mapping[str, NDArray[Any]], about: Any = None) -> None:
    """Publish columns of one length as a parquet file, with ``about`` (JSON-able) in its metadata."""
    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    if about is not None:
        # Sorted keys, since the metadata are part of the bytes.
        table = table.replace_schema_metadata({"about": json.dumps(about, sort_keys=True)})
    write_table_file(path, table, compression="zstd")


def read_parquet(path: Path) -> tuple[Columns, Any]:
    """Return the columns of a parquet file and the ``about`` it was written with, or None.

    Raises
    ------
    IntegrityError
        When the file is missing or damaged.
    """
    table = read_table_file(path)
    with explain_damage(path):
        about = (table.schema.metadata or {}).get(b"about")
        columns = {name: table[name].to_numpy() for name in table.column_names}
        return columns, json.loads(about) if about is not None else None


class PixelWriter:
    """Writes ``pixels.parquet`` map by map; use it in a ``with`` statement."""

    schema = pa.schema([(name, pa.int32()) for name in ("map", "y", "x", "island")])

    def __init__(self, path: Path) -> None:
        self.writer = open_writer(path, self.schema, compression="zstd")

    def __enter__(self) -> "PixelWriter":
        return self

    def __exit__(self, *error: object) -> None:
        self.writer.close()

    def write(self, map_index: int, y: NDArray[np.int32], x: NDArray[np.int32], island: NDArray[Any]) -> None:
        """Append the pixels of the islands of one map, in any order."""
        # Raster order, since `Annotations.paint` finds the rows of a window by bisection.
        order = np.lexsort((x, y))
        columns = [np.full(len(y), map_index), y[order], x[order], island[order]]
        arrays = [pa.array(column.astype(np.int32)) for column in columns]
        # One row group however long, for `Annotations.load` counts one for each map with islands.
        self.writer.write_table(pa.table(arrays, schema=self.schema), row_group_size=max(len(y), 1))


def write_levels(path: Path, meshes: Mapping[int, Mesh]) -> None:
    """Publish the levels of the wide emission of maps, by their numbers; without any there is no file."""
    levels = {i: mesh.wide.level for i, mesh in meshes.items() if mesh.wide and mesh.wide.level.any()}
    if levels:
        owner = np.concatenate([np.full(level.size, i, np.int32) for i, level in levels.items()])
        values = np.concatenate([level.ravel() for level in levels.values()])
        widths = {str(i): level.shape[1] for i, level in levels.items()}
        write_parquet(path, {"map": owner, "level_jy_beam": values}, widths)


def _read_levels(path: Path) -> dict[int, Image]:
    if not path.exists():
        return {}
    columns, widths = read_parquet(path)
    with explain_damage(path):
        return {
            int(i): columns["level_jy_beam"][columns["map"] == int(i)].reshape(-1, width)
            for i, width in widths.items()
        }


@dataclass
class Annotations:
    """The islands of all maps of a run.

    Attributes
    ----------
    islands
        Columns of the catalogue, sorted by ``map`` and ``island``; see `catalogue.measure`. ``class`` is a
        `SourceClass`, ``rule`` the name of the rule that gave it, ``source`` the number of its source.
    sources
        The same for sources, sorted by ``map`` and ``source``; the islands where the product has no sources.
    map_names
        Name of each map, in the order of ``map``.
    """

    folder: Path
    islands: Columns
    sources: Columns
    map_names: list[str]
    _shapes: list[tuple[tuple[int, int], int]]
    _mesh: Columns
    _groups: dict[int, int]
    _levels: dict[int, Image] = field(default_factory=dict, repr=False)
    _recent: tuple[int, Columns] | None = field(default=None, repr=False)

    @classmethod
    def load(cls, folder: Path) -> "Annotations":
        """Open the product of `annotate`; the pixels of a map are read when `paint` first needs them.

        Raises
        ------
        IntegrityError
            When a file of the product is missing or damaged.
        """
        islands, about = read_parquet(folder / ISLANDS)
        mesh, _ = read_parquet(folder / MESH)
        # No checksum covers names of columns and what a file says of itself.
        with explain_damage(folder / ISLANDS):
            if "source" in islands:
                sources, _ = read_parquet(folder / SOURCES)
            else:
                islands = {**islands, "source": islands["island"]}
                sources = {**islands, "n_components": np.ones_like(islands["island"])}
            shapes = [((one["shape"][0], one["shape"][1]), one["cell_pix"]) for one in about]
            # One row group per map that has islands, in the order of the maps.
            groups = {int(index): group for group, index in enumerate(np.unique(islands["map"]))}
            names, levels = [one["name"] for one in about], _read_levels(folder / LEVELS)
            return cls(folder, islands, sources, names, shapes, mesh, groups, levels)

    @property
    def has_sources(self) -> bool:
        """Whether islands were joined and flagged; without, each island is a source and has no flags."""
        return "flags" in self.sources

    def mesh(self, map_index: int) -> Mesh:
        """Return the background and rms of one map, with the level of wide emission in the background."""
        shape, cell_pix = self._shapes[map_index]
        rows = slice(*np.searchsorted(self._mesh["map"], [map_index, map_index + 1]))
        nodes = [self._mesh[name][rows] for name in ("background_jy_beam", "rms_jy_beam")]
        grid = -1, -(-shape[1] // cell_pix)
        level = self._levels.get(map_index)
        wide = None if level is None else Wide.of_level(level)
        return Mesh(shape, cell_pix, nodes[0].reshape(grid), nodes[1].reshape(grid), wide=wide)

    def paint(self, map_index: int, window: Window) -> Painting:
        """Return the class (uint8) and the source (int32) of each pixel of a window; 0 is background.

        The window may reach outside the map.
        """
        mask, instances = np.zeros(window.shape, np.uint8), np.zeros(window.shape, np.int32)
        pixels = self._pixels(map_index)
        # Bounds of the column's own type: for any other type numpy converts the whole column first.
        rows = slice(*np.searchsorted(pixels["y"], np.array([window.y0, window.y1], np.int32)))
        x = pixels["x"][rows]
        inside = (x >= window.x0) & (x < window.x1)
        place = pixels["y"][rows][inside] - window.y0, x[inside] - window.x0
        island = pixels["island"][rows][inside]
        mask[place], instances[place] = self._owners(map_index, island)
        return mask, instances

    def objects(
        self, map_index: int
    ) -> Iterator[tuple[int, SourceClass, NDArray[np.int32], NDArray[np.int32]]]:
        """Yield number, class, rows and columns of each source of a map, in the order of their numbers."""
        pixels = self._pixels(map_index)
        kind, source = self._owners(map_index, pixels["island"])
        # Stable, so that the pixels of a source stay in raster order.
        order = np.argsort(source, kind="stable")
        ends = np.flatnonzero(np.diff(source[order], append=-1)) + 1
        for part in np.split(order, ends[:-1]) if len(order) else ():
            yield int(source[part[0]]), SourceClass(kind[part[0]]), pixels["y"][part], pixels["x"][part]

    def _owners(self, map_index: int, island: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        """Return the class and the number of the source that some islands of a map belong to."""
        islands, sources = self.here(self.islands, map_index), self.here(self.sources, map_index)
        source = self.islands["source"][islands][np.searchsorted(self.islands["island"][islands], island)]
        row = np.searchsorted(self.sources["source"][sources], source)
        return self.sources["class"][sources][row], source

    @staticmethod
    def here(table: Columns, map_index: int) -> slice:
        """Return the rows of one map in ``islands`` or ``sources``."""
        return slice(*np.searchsorted(table["map"], [map_index, map_index + 1]))

    def _pixels(self, map_index: int) -> Columns:
        # Windows are painted map by map, so that the latest map's pixels are all that is worth keeping.
        if self._recent is None or self._recent[0] != map_index:
            self._recent = map_index, self._read_pixels(map_index)
        return self._recent[1]

    def _read_pixels(self, map_index: int) -> Columns:
        # A map without islands has no row group.
        if map_index not in self._groups:
            return {name: np.zeros(0, np.int32) for name in ("y", "x", "island")}
        table = read_table_file(self.folder / PIXELS, ("y", "x", "island"), self._groups[map_index])
        return {name: table[name].to_numpy() for name in table.column_names}
