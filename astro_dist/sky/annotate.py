"""The stage `annotate`: islands, their classes and a measured catalogue of every map, by row bands.

Two rounds of tasks read the maps: the first measures background and noise, the second keeps the pixels
beyond the merge threshold. `finish` joins the kept pixels map by map, so that the result does not depend
on how maps were cut into tasks. A process holds at most a band of one map and the bright pixels of one map.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from astro_dist.engine.arrays import Columns
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import publish_file, sha256_file
from astro_dist.engine.ledger import Result
from astro_dist.engine.work import Results, Run, Task
from astro_dist.sky.annotations import (
    ISLANDS,
    LEVELS,
    MESH,
    PIXELS,
    SOURCES,
    PixelWriter,
    read_parquet,
    write_levels,
    write_parquet,
)
from astro_dist.sky.annotations import Annotations as Annotations
from astro_dist.sky.catalogue import COLUMNS
from astro_dist.sky.classes import CLASS_NAMES
from astro_dist.sky.config import AnnotateConfig as AnnotateConfig
from astro_dist.sky.editing import Changes, apply_edits
from astro_dist.sky.expert import read_edits
from astro_dist.sky.finder import (
    annotate_pixels,
    block_parts,
    block_rows,
    detect,
    make_mesh,
    measure_block,
    mesh_cell,
    read_blocks,
)
from astro_dist.sky.finder import find_islands as find_islands
from astro_dist.sky.fits_tables import write_table
from astro_dist.sky.given import open_truth
from astro_dist.sky.islands import Pixels
from astro_dist.sky.labels import Plane
from astro_dist.sky.maps import SkyMap, open_maps
from astro_dist.sky.mesh import Mesh
from astro_dist.sky.noise_maps import NoiseMap, open_noise, take_noise
from astro_dist.sky.wide import Blocks

PARTS = "parts"
MEASURED, COMPONENTS, WIDE = "measured.fits", "components.fits", "wide.fits"
UNEVEN = 2.0
"""Backgrounds that differ by so many times the noise are counted."""
Piece = tuple[int, int, int]
"""Map, first row, last row + 1."""


@dataclass(frozen=True)
class Annotator:
    """The maps of a run and the pieces of them that each task reads.

    Attributes
    ----------
    cuts
        The pieces of each task, in the order of maps and rows. A piece begins where a row of mesh cells
        begins.
    noise
        The user's map of the noise or of the weights of each map, None where there is none.
    truth
        The image of source numbers of each simulated map, None where there is none.
    """

    run: Run
    maps: list[SkyMap]
    cuts: list[list[Piece]]
    noise: list[NoiseMap | None]
    truth: list[Plane | None]
    recent: dict[int, Mesh] = field(default_factory=dict, repr=False)
    """The meshes that were wanted last: tasks of one map follow each other."""

    @classmethod
    def open(cls, run: Run) -> "Annotator":
        """Open the maps of a run."""
        maps = open_maps(run)
        cuts = cut_maps(maps, run.section(AnnotateConfig))
        return cls(run, maps, cuts, open_noise(run, maps), open_truth(run, maps))

    @property
    def weighs(self) -> bool:
        """Whether a map has weights, which the tables of the first round hold then."""
        return any(one is not None and one.power is not None for one in self.noise)

    @property
    def config(self) -> AnnotateConfig:
        """The settings of the stage."""
        return self.run.section(AnnotateConfig)

    def tasks(self, kind: str) -> list[Task]:
        """Return the tasks of one round: ``mesh`` or ``pixels``."""
        return [Task(f"{kind}-{i:04d}", {"kind": kind, "pieces": cut}) for i, cut in enumerate(self.cuts)]

    def part(self, task: str) -> Path:
        """Return the path of the table that a task writes."""
        return self.run.output / PARTS / f"{task}.parquet"

    def meshes(self, pieces: Iterable[Piece]) -> dict[int, Mesh]:
        """Return the meshes of the maps that some pieces belong to, from the tables of the first round."""
        wanted = {piece[0] for piece in pieces}
        for index in self.recent.keys() - wanted:
            del self.recent[index]
        self.recent.update(self._read_meshes(wanted - self.recent.keys()))
        return {index: self.recent[index] for index in sorted(wanted)}

    def _read_meshes(self, wanted: set[int]) -> dict[int, Mesh]:
        if not wanted:
            return {}
        tasks = [task for task in self.tasks("mesh") if wanted & {p[0] for p in task.args["pieces"]}]
        tables = [read_parquet(self.part(task.name))[0] for task in tasks]
        rows = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
        return {index: self._mesh(index, rows) for index in sorted(wanted)}

    def _mesh(self, index: int, rows: Columns) -> Mesh:
        # Tasks wrote the cells of a map row by row, so that their values in order are the grid.
        sky_map, cell_pix = self.maps[index], mesh_cell(self.maps[index], self.config)
        grid = math.ceil(sky_map.shape[0] / cell_pix), math.ceil(sky_map.shape[1] / cell_pix)
        own = rows["map"] == index
        background, rms = (rows[name][own].reshape(grid) for name in ("background", "rms"))
        weight = rows["weight"][own].reshape(grid) if "weight" in rows else None
        parts, blocks = block_parts(sky_map, self.config), None
        if parts:
            blocks = Blocks.of_columns({name: values[own] for name, values in rows.items()}, grid, parts)
        return make_mesh(sky_map, self.config, background, rms, blocks, self.noise[index], weight)

    def pixels(self) -> Iterator[tuple[int, Pixels]]:
        """Yield each map's pixels of the second round, map by map."""
        parts: list[Pixels] = []
        for task in self.tasks("pixels"):
            table, _ = read_parquet(self.part(task.name))
            columns = [table[name] for name in ("y", "x", "value_jy_beam", "snr", "cut") if name in table]
            for index, _, y1 in task.args["pieces"]:
                # A task has its pieces in the order of the maps, so that the column `map` ascends.
                rows = slice(*np.searchsorted(table["map"], [index, index + 1]))
                parts.append(Pixels(*(column[rows] for column in columns)))
                # The last piece of a map ends it: its pixels go out before the next map's are read.
                if y1 == self.maps[index].shape[0]:
                    yield index, Pixels.join(parts)
                    parts = []


def cut_maps(maps: Sequence[SkyMap], config: AnnotateConfig) -> list[list[Piece]]:
    """Group the maps, cut between rows of mesh cells, into tasks of about ``task_mpix``.

    A task has at most one piece of each map.
    """
    cuts: list[list[Piece]] = [[]]
    # The room left over goes on to the next map, so that many small maps share a task.
    room = budget = config.task_mpix * 1e6
    for index, sky_map in enumerate(maps):
        cell_pix, (ny, nx) = mesh_cell(sky_map, config), sky_map.shape
        y0 = 0
        while y0 < ny:
            if room <= 0:
                cuts.append([])
                room = budget
            # Whole rows of cells, so that one task alone measures a cell; a task may exceed its room by less
            # than one row of them.
            y1 = min(y0 + cell_pix * math.ceil(room / (cell_pix * nx)), ny)
            cuts[-1].append((index, y0, y1))
            room -= (y1 - y0) * nx
            y0 = y1
    return cuts


def plan(run: Run, results: Results) -> list[Task]:
    """Return the tasks of the first round, and once these are done those of the second."""
    annotator = Annotator.open(run)
    first = annotator.tasks("mesh")
    # The second round reads the whole mesh of a map, so that its tasks wait for all of the first round.
    ready = all(task.name in results for task in first)
    return [*first, *annotator.tasks("pixels")] if ready else first


def prepare(run: Run) -> None:
    """Make the folder of the tables that tasks write."""
    (run.output / PARTS).mkdir(parents=True, exist_ok=True)


def run_task(annotator: Annotator, task: Task) -> Result:
    """Measure the noise in the pieces of a task, or find the pixels beyond the threshold."""
    pieces = [(index, y0, y1) for index, y0, y1 in task.args["pieces"]]
    columns = _measure(annotator, pieces) if task.args["kind"] == "mesh" else _detect(annotator, pieces)
    path = annotator.part(task.name)
    write_parquet(path, columns)
    # Kept in the record: `_nothing_found` names the highest snr without reading a table again.
    snr = columns.get("snr", np.zeros(0))
    name = path.relative_to(annotator.run.output).as_posix()
    return {
        "sha256": {name: sha256_file(path)},
        "rows": len(columns["map"]),
        "max_snr": float(snr.max(initial=0)),
    }


def _measure(annotator: Annotator, pieces: Sequence[Piece]) -> Columns:
    """Measure the mesh cells of some pieces; the cells of a map follow each other row by row."""
    tables = []
    for index, y0, y1 in pieces:
        sky_map, cell_pix = annotator.maps[index], mesh_cell(annotator.maps[index], annotator.config)
        for block in read_blocks(sky_map, annotator.config, y0, y1):
            image = sky_map.read(block)
            blocks = block_rows(image, sky_map, annotator.config)
            measured = measure_block(image, cell_pix)
            measured, weights = take_noise(measured, annotator.noise[index], block, cell_pix)
            for row, (background, rms) in enumerate(measured):
                table = {"map": np.full(len(rms), index, np.int32), "background": background, "rms": rms}
                if annotator.weighs:
                    unknown = np.full(len(rms), np.nan, np.float32)
                    table["weight"] = unknown if weights is None else weights[row]
                if blocks:
                    table |= blocks[row].columns()
                tables.append(table)
    return _stacked(tables)


def _detect(annotator: Annotator, pieces: Sequence[Piece]) -> Columns:
    """Find the pixels of some pieces beyond the merge threshold, in raster order."""
    meshes, tables = annotator.meshes(pieces), []
    for index, y0, y1 in pieces:
        sky_map = annotator.maps[index]
        for block in read_blocks(sky_map, annotator.config, y0, y1):
            found = detect(sky_map, meshes[index], block, annotator.config)
            columns = {name: values for name, values in vars(found).items() if values is not None}
            tables.append({"map": np.full(len(found), index, np.int32), **columns})
    return _stacked(tables)


def _stacked(tables: Sequence[Columns]) -> Columns:
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


def finish(run: Run, results: Results) -> Result:
    """Join the pixels to islands, write catalogue and tables, and return the figures."""
    annotator = Annotator.open(run)
    wide, changes = _write_products(annotator, results)
    searched = [index for index, one in enumerate(annotator.maps) if not one.background_only]
    weighted = sum(one is not None and one.power is not None for one in annotator.noise)
    facts = _facts(Annotations.load(run.output), searched)
    if wide:
        facts["wide_emission"] = wide
    if uneven := _count_uneven(run.output, searched, annotator.config):
        facts["maps_of_uneven_background"] = uneven
    if weighted:
        facts["weighted_maps"] = weighted
    if annotator.config.expert is not None:
        facts["expert"] = vars(changes)
    return facts


def _count_uneven(folder: Path, searched: Sequence[int], config: AnnotateConfig) -> int:
    """Return the maps whose background differs so much that it may be emission as wide as the map."""
    if not config.joins or not config.structure_sigma:
        return 0
    nodes, _ = read_parquet(folder / MESH)
    own = [nodes["map"] == index for index in searched]
    ranges = [np.ptp(nodes["background_jy_beam"][one]) for one in own]
    # What raises the background raises the noise of its cells too, and not that of all.
    noise = [np.percentile(nodes["rms_jy_beam"][one], 25) for one in own]
    return sum(bool(a > UNEVEN * b) for a, b in zip(ranges, noise, strict=True))


def _write_products(annotator: Annotator, results: Results) -> tuple[int, Changes]:
    """Write catalogues and tables; return the rows of that of wide emission, and what an expert changed."""
    islands: list[Columns] = []
    sources: list[Columns] = []
    wide: list[Columns] = []
    nodes, about = [], []
    meshes = annotator.meshes(piece for cut in annotator.cuts for piece in cut)
    folder, edits, changes = annotator.run.output, read_edits(annotator.run, annotator.maps), Changes()
    with publish_file(folder / PIXELS) as hidden, PixelWriter(hidden) as writer:
        for index, pixels in annotator.pixels():
            sky_map = annotator.maps[index]
            mesh = meshes[index]
            found = annotate_pixels(pixels, mesh, sky_map, annotator.config, annotator.truth[index])
            if sky_map.name in edits:
                labels = edits[sky_map.name]()
                sigmas = annotator.config.seed_sigma, annotator.config.merge_sigma
                found, own = apply_edits(found, labels, sky_map, *sigmas)
                changes += own
            # No row group without islands: `Annotations.load` counts groups by the maps of the catalogue.
            if len(found.islands):
                kept = found.islands.pixels
                writer.write(index, kept.y, kept.x, found.columns["island"][found.islands.owner])
            for tables, columns in ((islands, found.columns), (sources, found.sources), (wide, found.wide)):
                rows = len(columns.get("flux_jy", ()))
                tables.append({"map": np.full(rows, index, np.int32), **columns})
            nodes.append(_nodes(index, mesh))
            about.append({"name": sky_map.name, "shape": sky_map.shape, "cell_pix": mesh.cell_pix})
        parts = _stacked(islands)
        # Refused inside the block, so that no table of pixels is published for a run without islands.
        if not len(parts["map"]):
            raise ConfigError(_nothing_found(annotator, results))
    write_parquet(folder / ISLANDS, parts, about)
    write_parquet(folder / MESH, _stacked(nodes))
    write_levels(folder / LEVELS, meshes)
    measured = _stacked(sources)
    if annotator.config.joins:
        write_parquet(folder / SOURCES, measured)
        _write_catalogue(annotator, COMPONENTS, parts)
    _write_catalogue(annotator, MEASURED, measured)
    # Most maps have none, and then there is no table.
    if some := [columns for columns in wide if len(columns["map"])]:
        _write_catalogue(annotator, WIDE, _stacked(some))
    return sum(len(columns["map"]) for columns in some), changes


def _write_catalogue(annotator: Annotator, name: str, table: Columns) -> None:
    # A FITS table stands alone: maps and classes by name, since the lists are in the parquet files.
    words = {"map": np.array([sky_map.name for sky_map in annotator.maps])[table["map"]]}
    if "class" in table:
        words["class"] = np.array(CLASS_NAMES)[table["class"]]
    write_table(
        annotator.run.output / name,
        table | words,
        COLUMNS,
        name=name.removesuffix(".fits").upper(),
        cards={
            "SEEDSNR": (annotator.config.seed_sigma, "snr of a peak"),
            "MERGESNR": (annotator.config.merge_sigma, "snr of a pixel"),
        },
    )


def _nodes(index: int, mesh: Mesh) -> Columns:
    owner = np.full(mesh.rms.size, index, np.int32)
    return {"map": owner, "background_jy_beam": mesh.background.ravel(), "rms_jy_beam": mesh.rms.ravel()}


def _nothing_found(annotator: Annotator, results: Results) -> str:
    tasks = [results[task.name] for task in annotator.tasks("pixels")]
    count, highest = sum(t["rows"] for t in tasks), max(t["max_snr"] for t in tasks)
    config = annotator.config
    # A setting that is low enough already is not named.
    remedy = "seed_sigma" if highest < config.seed_sigma else "min_beam"
    return (
        f"no island in {len(annotator.maps)} map(s): {count} pixels are beyond {config.merge_sigma} times "
        f"the noise and the highest is {highest:.1f}, but an island needs {config.seed_sigma} and "
        f"{config.min_beam} beam areas; lower annotate.{remedy}"
    )


def _facts(annotations: Annotations, searched: Sequence[int]) -> Result:
    """Return the figures of a run; ``searched`` are the maps that may have islands."""
    classes = Counter(annotations.islands["class"].tolist())
    rules = Counter(annotations.islands["rule"].tolist())
    rms, _ = read_parquet(annotations.folder / MESH)
    unsearched = len(annotations.map_names) - len(searched)
    # Figures of sources only where there are some: those of islands alone are the figures of version 0.1.0.
    joined = annotations.sources["n_components"]
    cut = annotations.sources.get("flags", np.zeros(0))
    sources = {
        "sources": len(joined),
        "of_several_islands": int((joined > 1).sum()),
        "cut_by_edges_or_blanks": int((cut > 0).sum()),
    }
    return {
        "maps": len(annotations.map_names),
        **({"background_maps": unsearched} if unsearched else {}),
        **(sources if annotations.has_sources else {}),
        "islands": len(annotations.islands["map"]),
        "classes": {CLASS_NAMES[kind]: count for kind, count in sorted(classes.items())},
        "rules": dict(sorted(rules.items())),
        "rms_jy_beam": float(np.median(rms["rms_jy_beam"][np.isin(rms["map"], searched)])),
    }
