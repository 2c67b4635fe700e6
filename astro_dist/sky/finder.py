"""Find, class, join and measure the islands of one map, by row bands."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.arrays import Columns, Image
from astro_dist.sky.background import build_mesh, cell_size, measure_cells
from astro_dist.sky.catalogue import measure, measure_wide
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.classify import RULES, Scene, classify, trim
from astro_dist.sky.config import AnnotateConfig
from astro_dist.sky.given import given_links, leave_settled, true_links
from astro_dist.sky.islands import Islands, Pixels, find_cuts, find_pixels, join_islands
from astro_dist.sky.joining import ALONE, find_links, group_islands
from astro_dist.sky.labels import Plane
from astro_dist.sky.lazy import THREADS, Scheduler, lazy_map
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.mesh import Mesh
from astro_dist.sky.noise_maps import NoiseMap, NoisyMesh, follow_weights, take_noise, weights_size
from astro_dist.sky.pairs import Candidates, Index
from astro_dist.sky.wide import Blocks, blocks_per_cell, measure_blocks
from astro_dist.sky.windows import Window

# Pixels of a map that are read at once: 16 MB as float32.
READ_PIX = 4_000_000


@dataclass(frozen=True, eq=False)
class MapIslands:
    """The mesh, the islands and the catalogue of one map.

    Attributes
    ----------
    mesh
        Background and rms.
    islands
        The islands with their pixels.
    columns
        The catalogue, see `catalogue.measure`, with ``class`` and ``rule``; where the catalogue has sources
        also ``source``, the number of the first island of the island's source, ``joined_by``, the rule of
        `joining` that joined it, and ``flags``, see `islands.Cut`.
    sources
        The same for the sources: ``source`` in place of ``island``, and ``n_components``, their islands.
        A source of several islands is extended, and its rule is ``joined``. Without sources, ``columns``.
    wide
        The wide emission that islands do not hold, see `catalogue.measure_wide`; empty where there is none.
    """

    mesh: Mesh
    islands: Islands
    columns: Columns
    sources: Columns
    wide: Columns = field(default_factory=dict)


def find_islands(
    sky_map: SkyMap, config: AnnotateConfig, truth: Plane | None = None, noise: NoiseMap | None = None
) -> MapIslands:
    """Find, class and measure the islands of one map, which is read twice by bands.

    Parameters
    ----------
    truth
        The number of the brightest source in each pixel of a simulated map: islands are joined by it.
    noise
        The user's map of the noise or of weights.

    Raises
    ------
    ConfigError
        When the map has no usable pixels.
    """
    mesh = measure_mesh(sky_map, config, noise)
    # Read again and not kept: a map may be larger than memory.
    blocks = read_blocks(sky_map, config, 0, sky_map.shape[0])
    pixels = [detect(sky_map, mesh, block, config) for block in blocks]
    return annotate_pixels(Pixels.join(pixels), mesh, sky_map, config, truth)


def measure_mesh(
    sky_map: SkyMap,
    config: AnnotateConfig,
    noise: NoiseMap | None = None,
    scheduler: Scheduler = "threads",
) -> Mesh:
    """Return background and rms of a whole map: a graph of dask over bands of whole rows of its cells.

    Parameters
    ----------
    noise
        The user's map of the noise or of weights.
    scheduler
        See `lazy.Scheduler`; the bits are the same.

    Raises
    ------
    ConfigError
        When the map has no usable pixels.
    """
    # Here, because tasks over parts of a map, which are most of the work, need no graph.
    from dask import compute  # type: ignore[attr-defined]

    bands = list(read_blocks(sky_map, config, 0, sky_map.shape[0]))
    measured = lazy_map(sky_map, bands[0].height).map_blocks(
        *(_measure_band, sky_map, config, noise),
        chunks=((1,) * len(bands), (1,)),
        meta=np.empty((0, 0), object),
    )
    (table,) = compute(  # type: ignore[no-untyped-call]
        measured, scheduler=scheduler, num_workers=THREADS
    )
    rows, weight, inner = ([one for band in table[:, 0] for one in band[i]] for i in range(3))
    background, rms = (np.stack(nodes) for nodes in zip(*rows, strict=True))
    joined, weighed = Blocks.join(inner) if inner else None, np.stack(weight) if weight else None
    return make_mesh(sky_map, config, background, rms, joined, noise, weighed)


def _measure_band(
    image: Image, sky_map: SkyMap, config: AnnotateConfig, noise: NoiseMap | None, block_info: Any = None
) -> NDArray[np.object_]:
    """Return the rows of cells of a band, their weights and their blocks, as the one entry of an array."""
    cell_pix, (y0, y1) = mesh_cell(sky_map, config), block_info[0]["array-location"][0]
    window = Window(y0, y1, 0, sky_map.shape[1])
    measured, weights = take_noise(measure_block(image, cell_pix), noise, window, cell_pix)
    entry = np.empty((1, 1), object)
    entry[0, 0] = measured, weights or [], block_rows(image, sky_map, config)
    return entry


def make_mesh(
    sky_map: SkyMap,
    config: AnnotateConfig,
    background: Image,
    rms: Image,
    blocks: Blocks | None,
    noise: NoiseMap | None,
    weight: Image | None,
) -> Mesh:
    """Return the mesh of a map from its cells.

    Parameters
    ----------
    background, rms
        ``(rows, columns)`` from `measure_block` and `take_noise`, NaN = not measured.
    blocks
        See `build_mesh`.
    noise, weight
        The user's map of the noise or of weights, and of the latter the weight of each cell.
    """
    size: float | None = 1.0
    if noise is not None and noise.power is not None and weight is not None:
        size = weights_size(rms, weight, noise.power)
        rms = follow_weights(rms, weight, noise.power)
    mesh = build_mesh(
        *(sky_map.shape, mesh_cell(sky_map, config), background, rms, sky_map.name),
        *(blocks, config.structure_sigma),
        given=noise is not None,
    )
    # Without a cell that has a weight and a noise, the weights have no size.
    return mesh if noise is None or size is None else NoisyMesh.of(mesh, noise, size)


def block_parts(sky_map: SkyMap, config: AnnotateConfig) -> int:
    """Return the blocks along the side of a cell in which wide emission is looked for; 0 where it is not."""
    if not config.joins or not config.structure_sigma:
        return 0
    return blocks_per_cell(mesh_cell(sky_map, config), sky_map.beam.fwhm_pix(sky_map.pixel))


def detect(sky_map: SkyMap, mesh: Mesh, block: Window, config: AnnotateConfig) -> Pixels:
    """Return the pixels of a block of full rows beyond the merge threshold, with what cuts them.

    A map that gives backgrounds alone has none.
    """
    if sky_map.background_only:
        return Pixels.none(with_cut=config.joins)
    if not config.joins:
        return find_pixels(sky_map.read(block), mesh, block, config.merge_sigma)
    # A row more on either side: blanks beside a pixel may lie there.
    around = block.grown(1) & Window.of_shape(sky_map.shape)
    assert around is not None
    image = sky_map.read(around)
    found = find_pixels(image[block.within(around)], mesh, block, config.merge_sigma)
    return replace(found, cut=find_cuts(image, around, sky_map.shape, found))


def annotate_pixels(
    pixels: Pixels, mesh: Mesh, sky_map: SkyMap, config: AnnotateConfig, truth: Plane | None = None
) -> MapIslands:
    """Connect, class, join and measure the islands of one map.

    Parameters
    ----------
    pixels
        All pixels of the map beyond the merge threshold, of either sign, in raster order.
    truth
        See `find_islands`.
    """
    seed, merge = config.seed_sigma, config.merge_sigma
    least_pix = config.min_beam * sky_map.beam.area_pix(sky_map.pixel)
    positive = join_islands(pixels[pixels.snr > 0], seed, least_pix)
    # The same thresholds: no source is negative, so that negative islands show the errors of the image.
    negative = join_islands(-pixels[pixels.snr < 0], seed, least_pix)
    scene = Scene(positive, negative, sky_map.beam, sky_map.pixel, seed, merge, sky_map.beam_area_pix)
    # Trimmed before classing: the area of a source would count its sidelobes too.
    scene = trim(scene, config.rules, least_pix)
    rule = classify(scene, config.rules)
    classes = np.array([RULES[name] for name in rule.tolist()], np.uint8)
    columns = measure(scene.islands, classes, mesh, sky_map, merge)
    columns |= {"class": classes, "rule": rule, "n_peaks": scene.n_peaks}
    if not config.joins:
        return MapIslands(mesh, scene.islands, columns, columns)
    columns |= join(scene.islands, columns, mesh, sky_map, config, truth)
    sources = measure_sources(scene.islands, columns, mesh, sky_map, merge)
    wide = {} if mesh.wide is None else measure_wide(mesh, mesh.wide, sky_map, columns)
    return MapIslands(mesh, scene.islands, columns, sources, wide)


def join(
    islands: Islands,
    columns: Columns,
    mesh: Mesh,
    sky_map: SkyMap,
    config: AnnotateConfig,
    truth: Plane | None,
) -> Columns:
    """Return ``source``, ``joined_by`` and ``flags`` of the islands of one map, see `MapIslands`."""
    source, rules = columns["island"], np.full(len(islands), ALONE, "<U6")
    if config.join.enabled and len(islands):

        def sky(y: Index, x: Index, parts: Index) -> Image:
            background, rms = mesh.evaluate_at(y, x)
            # A window for each part: one over all would be the whole map.
            values = map(partial(_read_at, sky_map), np.split(y, parts), np.split(x, parts))
            return np.asarray((np.concatenate(list(values)) - background) / rms)

        facts = sky_map.beam, sky_map.pixel, sky_map.shape, sky_map.frequency_hz
        found = Candidates(islands, columns["class"], columns["flux_jy"], *facts)
        given = given_links(found, sky_map, config.join)
        if truth is None:
            others = find_links(found, config.join, sky, config.merge_sigma)
        else:
            others = true_links(found, truth)
        links = [*given, *leave_settled(others, given)]
        source, rules = group_islands(links, found.moments[0], config.join.reach_beams)
    return {"source": source, "joined_by": rules, "flags": islands.cut}


def _read_at(sky_map: SkyMap, y: Index, x: Index) -> Image:
    window = Window(int(y.min()), int(y.max()) + 1, int(x.min()), int(x.max()) + 1)
    return np.asarray(sky_map.read(window)[y - window.y0, x - window.x0])


def measure_sources(islands: Islands, columns: Columns, mesh: Mesh, sky_map: SkyMap, merge: float) -> Columns:
    """Return the catalogue of the sources of one map, see `MapIslands`."""
    numbers, first, member, count = np.unique(
        columns["source"], return_index=True, return_inverse=True, return_counts=True
    )
    several = count > 1
    classes = np.where(several, SourceClass.EXTENDED, columns["class"][first]).astype(np.uint8)
    # Others are measured already, as islands.
    kept = several[member]
    whole = islands[kept].grouped(columns["source"][kept])
    table, flags = {}, islands.cut[first]
    for name, values in measure(whole, classes[several], mesh, sky_map, merge).items():
        table[name] = columns[name][first]
        table[name][several] = values
    flags[several] = whole.cut
    peaks = np.bincount(member, columns["n_peaks"], len(numbers)).astype(np.int32)
    rule = np.where(several, "joined", columns["rule"][first])
    facts = {"class": classes, "rule": rule, "n_peaks": peaks, "flags": flags}
    del table["island"]
    return {"source": numbers, **table, **facts, "n_components": count.astype(np.int32)}


def mesh_cell(sky_map: SkyMap, config: AnnotateConfig) -> int:
    """Return the side of the mesh cells of a map, pixels."""
    fwhm_pix = sky_map.beam.fwhm_pix(sky_map.pixel)
    return cell_size(sky_map.shape, fwhm_pix, config.mesh_beams, config.mesh_least_pix)


def read_blocks(sky_map: SkyMap, config: AnnotateConfig, y0: int, y1: int) -> Iterator[Window]:
    """Yield windows of about ``READ_PIX`` pixels, in whole rows of cells, that cover the rows of a map."""
    cell_pix, nx = mesh_cell(sky_map, config), sky_map.shape[1]
    # Whole rows of cells, since a cell is measured from one block alone.
    step = cell_pix * max(1, READ_PIX // (cell_pix * nx))
    for y in range(y0, y1, step):
        yield Window(y, min(y + step, y1), 0, nx)


def measure_block(image: Image, cell_pix: int) -> list[tuple[Image, Image]]:
    """Return background and rms of each row of cells in ``image``, which begins with a cell's first row."""
    return [measure_cells(image[y : y + cell_pix], cell_pix) for y in range(0, len(image), cell_pix)]


def block_rows(image: Image, sky_map: SkyMap, config: AnnotateConfig) -> list[Blocks]:
    """Return the blocks of each row of cells, see `measure_block`; none where they are not looked at."""
    cell_pix, parts = mesh_cell(sky_map, config), block_parts(sky_map, config)
    fwhm_pix, starts = sky_map.beam.fwhm_pix(sky_map.pixel), range(0, len(image), cell_pix) if parts else ()
    return [measure_blocks(image[y : y + cell_pix], cell_pix, parts, fwhm_pix) for y in starts]
