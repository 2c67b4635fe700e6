"""A map as HiPS tiles with its coverage, by reproject and mocpy, which are an extra.

Tiles of 512 pixels are FITS images in Jy/beam. The deepest order is the one whose pixels are nearest in size
to those of the map; that of a coarser one is the mean of four. A tile reads its own window of the map, so
that neither memory nor time grows with anything but the number of tiles.
"""

import importlib.util
import math
import os
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import PART, discard, publish_bytes, publish_file, tree_files
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.windows import Window, bands

Read = Callable[[Window], NDArray[np.float32]]
TILE_PIX, EDGE, PAD_PIX = 512, 17, 4
ORDER_0_ARCSEC = 3600 * math.degrees(math.sqrt(math.pi / 3))
"""Side of a HEALPix cell of order 0."""
COVER_PIX, STEP_PIX, BAND_ROWS = 16, 4, 512
PROPERTIES, COVERAGE, PAGE = "properties", "Moc.fits", "index.html"
DATE = "hips_release_date"


def refuse_missing(wish: str) -> None:
    """Raise `ConfigError`, naming ``wish``, where the packages of the extra are not installed."""
    missing = [name for name in ("reproject", "mocpy") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"{wish} needs {' and '.join(missing)}; pip install 'astro_dist[hips]', or leave it out"
        )


def find_order(pixel_arcsec: float) -> int:
    """Return the order of tiles whose pixels are nearest in size to those of a map, 0 at least."""
    return max(0, round(math.log2(ORDER_0_ARCSEC / TILE_PIX / pixel_arcsec)))


def write_hips(field: SkyMap, read: Read, folder: Path, properties: Mapping[str, str]) -> None:
    """Write the tiles of a map and its coverage into a folder, in the place of those that are there.

    Parameters
    ----------
    read
        ``(window) -> pixels``, those of the map or what is to be shown in their place.
    properties
        Of the file ``properties``, beside those that follow from the map.

    Notes
    -----
    The date of release is that of SOURCE_DATE_EPOCH, and left out where it is not set. The page that
    reproject adds is left out: it loads scripts from the web.
    """
    from reproject.hips import reproject_to_hips

    # reproject wants a new folder, and a task that was stopped before may have left some of the tiles.
    hidden = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:12]}{PART}")
    # Only the shape of this array is looked at: `_draw_tile` reads the map.
    shape_alone = np.broadcast_to(np.float32(0), field.shape)
    try:
        reproject_to_hips(
            (shape_alone, field.wcs.celestial),
            coord_system_out="equatorial",
            reproject_function=lambda _, header: _draw_tile(field, read, WCS(header), header),
            output_directory=str(hidden),
            level=find_order(math.sqrt(abs(field.pixel.dy_arcsec * field.pixel.dx_arcsec))),
            tile_size=TILE_PIX,
            properties=dict(properties),
        )
        for path in tree_files(hidden):
            if path.name != PAGE:
                publish_bytes(folder / path.relative_to(hidden), _settle(path))
    finally:
        discard(hidden)
    write_coverage(field, folder / COVERAGE)


def _settle(path: Path) -> bytes:
    """Return the bytes of a file of a HiPS, its properties without the date of the clock."""
    if path.name != PROPERTIES:
        return path.read_bytes()
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    lines = [line for line in path.read_text().splitlines() if not line.startswith(DATE)]
    if epoch is not None:
        lines.append(f"{DATE:<20} = {time.strftime('%Y-%m-%dT%H:%MZ', time.gmtime(int(epoch)))}")
    return "\n".join([*lines, ""]).encode()


def _draw_tile(
    field: SkyMap, read: Read, tile: WCS, header: Any
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the pixels of a tile by linear interpolation, and which of them the map has."""
    from reproject import reproject_interp

    shape = header["NAXIS2"], header["NAXIS1"]
    window = _window_of(field, tile, shape)
    if window is None:
        return np.full(shape, np.nan, np.float32), np.zeros(shape, np.float32)
    image, known = reproject_interp((read(window), field.wcs.celestial[window.slices]), tile, shape_out=shape)
    return image.astype(np.float32), known.astype(np.float32)


def _window_of(field: SkyMap, tile: WCS, shape: tuple[int, int]) -> Window | None:
    """Return the part of the map that a tile may show."""
    edges = (np.linspace(-1, side, EDGE) for side in shape)
    y, x = np.meshgrid(*edges, indexing="ij")
    places = tile.pixel_to_world(x, y).icrs
    # What lies on the other side of the sky has no place in a projection, or one far off.
    y, x = np.stack(field.pixel_of(places.ra.deg, places.dec.deg))
    seen = np.isfinite(y) & np.isfinite(x)
    if not seen.any():
        return None
    low = [math.floor(v[seen].min()) - PAD_PIX for v in (y, x)]
    high = [math.ceil(v[seen].max()) + PAD_PIX + 1 for v in (y, x)]
    return Window(low[0], high[0], low[1], high[1]) & Window.of_shape(field.shape)


def write_coverage(field: SkyMap, path: Path) -> None:
    """Write the cells of the sky that hold data as a MOC, in cells of 16 pixels or more."""
    from astropy_healpix import HEALPix
    from mocpy import MOC

    pixel = max(abs(field.pixel.dy_arcsec), abs(field.pixel.dx_arcsec))
    order = max(0, math.floor(math.log2(ORDER_0_ARCSEC / (COVER_PIX * pixel))))
    grid = HEALPix(nside=1 << order, order="nested")
    cells = [np.zeros(0, np.int64)]
    for band in bands(field.shape, BAND_ROWS):
        y, x = np.nonzero(np.isfinite(field.read(band)[::STEP_PIX, ::STEP_PIX]))
        ra, dec = field.sky_of(band.y0 + STEP_PIX * y, STEP_PIX * x)
        cells.append(np.unique(grid.lonlat_to_healpix(_degrees(ra), _degrees(dec))))
    found = np.unique(np.concatenate(cells))
    depth = np.full(len(found), order, np.uint8)
    with publish_file(path) as hidden:
        MOC.from_healpix_cells(found.astype(np.uint64), depth, order).save(str(hidden), format="fits")


def _degrees(values: NDArray[np.float64]) -> Any:
    from astropy import units

    return values * units.deg
