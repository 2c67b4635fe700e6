"""Find, class and measure the islands of one map, by row bands."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from astro_dist.engine.arrays import Columns, Image
from astro_dist.sky.background import build_mesh, cell_size, measure_cells
from astro_dist.sky.catalogue import measure
from astro_dist.sky.classify import RULES, Scene, classify, trim
from astro_dist.sky.config import AnnotateConfig
from astro_dist.sky.islands import Islands, Pixels, find_pixels, join_islands
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.mesh import Mesh
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
        The catalogue, see `catalogue.measure`, with ``class`` and ``rule``.
    """

    mesh: Mesh
    islands: Islands
    columns: Columns


def find_islands(sky_map: SkyMap, config: AnnotateConfig) -> MapIslands:
    """Find, class and measure the islands of one map, which is read twice by bands.

    Raises
    ------
    ConfigError
        When the map has no usable pixels.
    """
    cell_pix, blocks = mesh_cell(sky_map, config), list(read_blocks(sky_map, config, 0, sky_map.shape[0]))
    rows = [measured for block in blocks for measured in measure_block(sky_map.read(block), cell_pix)]
    background, rms = (np.stack(nodes) for nodes in zip(*rows, strict=True))
    mesh = build_mesh(sky_map.shape, cell_pix, background, rms, sky_map.name)
    # Read again and not kept: a map may be larger than memory.
    pixels = [find_pixels(sky_map.read(block), mesh, block, config.merge_sigma) for block in blocks]
    return annotate_pixels(Pixels.join(pixels), mesh, sky_map, config)


def annotate_pixels(pixels: Pixels, mesh: Mesh, sky_map: SkyMap, config: AnnotateConfig) -> MapIslands:
    """Join, class and measure the islands of one map.

    Parameters
    ----------
    pixels
        All pixels of the map beyond the merge threshold, of either sign, in raster order.
    """
    seed, merge = config.seed_sigma, config.merge_sigma
    least_pix = config.min_beam * sky_map.beam.area_pix(sky_map.pixel)
    positive = join_islands(pixels[pixels.snr > 0], seed, least_pix)
    # The same thresholds: no source is negative, so that negative islands show the errors of the image.
    negative = join_islands(-pixels[pixels.snr < 0], seed, least_pix)
    scene = Scene(positive, negative, sky_map.beam, sky_map.pixel, seed, merge)
    # Trimmed before classing: the area of a source would count its sidelobes too.
    scene = trim(scene, config.rules, least_pix)
    rule = classify(scene, config.rules)
    classes = np.array([RULES[name] for name in rule.tolist()], np.uint8)
    columns = measure(scene.islands, classes, mesh, sky_map, merge)
    columns |= {"class": classes, "rule": rule, "n_peaks": scene.n_peaks}
    return MapIslands(mesh, scene.islands, columns)


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
