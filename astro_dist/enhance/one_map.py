"""One map doubled in memory, without a run directory: `astro_dist.enhance`, ``astro-dist enhance MAP.fits``.

The pixels are those that the stage `enhance` makes without a network.
"""

# Annotations stay text: those of arrays are ten lines long where `help` shows them.
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from astro_dist.engine.arrays import AnyImage
from astro_dist.engine.errors import ConfigError, DataError
from astro_dist.engine.files import check_new
from astro_dist.engine.foreign import expand_home
from astro_dist.engine.stopping import check_stop
from astro_dist.enhance.chain_config import ChainConfig
from astro_dist.enhance.inventions import NO_BEAM_PIX, Judge
from astro_dist.enhance.map_inputs import (
    LARGEST,
    LEAST_CELL_PIX,
    MESH_FWHM,
    build_meshes,
    cell_pix,
    fault_of,
    kept_of,
    layers_of,
    look_windows,
    measure_nodes,
    range_of,
    read_source,
    too_large,
)
from astro_dist.enhance.tiles import TileMaker
from astro_dist.sky.background import cell_size
from astro_dist.sky.config import FilesConfig
from astro_dist.sky.fits_file import publish_image
from astro_dist.sky.mesh import Mesh
from astro_dist.sky.sky_image import SkyImage
from astro_dist.sky.windows import Window, bands

MOST_PIX = 1 << 26
"""Most pixels of an image that is doubled in memory."""
CONFIG = ChainConfig()


@dataclass(frozen=True)
class Doubled:
    """A doubled image, (planes, H, W), and the sources that the input does not show and were taken back."""

    image: NDArray[Any]
    invented: list[dict[str, Any]]


def enhance_map(
    image: str | Path | ArrayLike, out: str | Path | None = None, hdu: int | str | None = None
) -> NDArray[Any]:
    """Return a map with twice the pixels along both sides, and fluxes kept.

    The projected bicubic enlargement; the pixels of the input are repeated where it would show a source that
    the input does not.

    Parameters
    ----------
    image
        A FITS file of any unit, or an array (h, w) or (planes, h, w) of brightness; what is NaN or masked is
        no data.
    out
        A FITS file to write, with the coordinates of the new pixels; for FITS files alone.
    hdu
        Number from 0 or EXTNAME of the image in a FITS file; by default the one image with a sky.

    Returns
    -------
    ndarray
        The mean of each 2 x 2 block is the pixel of the input; its sum for files in flux or counts per pixel.
        Float32, or float64 for such numbers and for integers of more than 16 bits.

    Raises
    ------
    ConfigError
        The file cannot be read, or holds nothing, or several images and ``hdu`` names none; ``out`` is there
        already or cannot be written; ``out`` or ``hdu`` are given for an array.
    DataError
        The array has other axes (those of a picture in colours too), a unit, or more than 67 million pixels.

    Examples
    --------
    >>> import astro_dist, numpy
    >>> astro_dist.enhance(numpy.eye(4)).shape
    (8, 8)
    """
    if isinstance(image, str | Path):
        return double_file(image, out, hdu).image
    if out is not None:
        raise ConfigError("an array has no coordinates to write; leave out away, or give a FITS file")
    if hdu is not None:
        raise ConfigError("hdu chooses an image of a FITS file; leave it out for an array")
    if hasattr(image, "unit"):
        raise DataError(
            f"an array with a unit ({image.unit}) is not doubled: of a flux in a pixel the sum is kept; give "
            "its .value, whose mean is kept, or a FITS file with BUNIT"
        )
    # Masks of a list of arrays too.
    given: Any = np.ma.asarray(image)
    return _double_array(np.asarray(given), np.ma.getmask(given))


def double_file(
    path: str | Path, out: str | Path | None = None, hdu: int | str | None = None, chooser: str = "hdu"
) -> Doubled:
    """Double the image of a FITS file, and write it where ``out`` is given; see `enhance_map`.

    Parameters
    ----------
    chooser
        What errors call ``hdu``.
    """
    target = None if out is None else expand_home(str(out))
    if target is not None:
        check_new(target)
    try:
        source = SkyImage.open(expand_home(str(path)), FilesConfig(hdu=hdu))
    except ConfigError as error:
        # Here no configuration chooses an image.
        raise ConfigError(str(error).replace("maps.hdu", chooser)) from None
    if (pixels := source.planes * source.shape[0] * source.shape[1]) > MOST_PIX:
        raise ConfigError(
            f"{path}: {pixels >> 20} million pixels, and {MOST_PIX >> 20} are doubled in memory; name it in "
            "enhance.files of a configuration, whose run takes any size"
        )
    factor = {"mean": 1.0, "sum": 0.25}[kept_of(source, CONFIG)]
    found = _double(source.read, source.shape, _measure(source), source.fwhm_pix, factor, source.dtype)
    large = found.image.reshape(*source.axes[:-2], *found.image.shape[-2:])
    if target is not None:
        publish_image(target, next(layers_of(CONFIG, source, False))[1], large)
    return Doubled(large, found.invented)


def _measure(source: SkyImage) -> list[Mesh]:
    """Return background and noise of each plane.

    Raises
    ------
    ConfigError
        No pixel holds data, all are equal, or some are beyond what single precision squares.
    """
    looks, nodes = [], []
    for window in look_windows(source, CONFIG):
        check_stop()
        pixels = source.read(window)
        if np.nanmax(np.abs(pixels), initial=0) > LARGEST:
            raise ConfigError(too_large(source))
        looks.append(range_of(pixels))
        nodes.append(measure_nodes(pixels, cell_pix(source, CONFIG)))
    if (fault := fault_of(source, looks)) is not None:
        raise ConfigError(fault)
    return build_meshes(np.concatenate(nodes, 2), source.shape, cell_pix(source, CONFIG), source.name)


def _double_array(image: NDArray[Any], mask: NDArray[np.bool_] | np.bool_) -> NDArray[Any]:
    if image.ndim not in (2, 3) or min(image.shape) < 1 or not 1 <= image.size <= MOST_PIX:
        raise DataError(f"an array of shape {image.shape} is not doubled; give (h, w) or (planes, h, w)")
    if image.ndim == 3 and image.shape[-1] in (3, 4) and image.shape[0] not in (1, 3):
        raise DataError(
            f"an array of shape {image.shape} is no map: planes come first, (planes, h, w); for a picture "
            "give PIL.Image.fromarray(array), or take SuperRes"
        )
    if image.dtype.kind not in "fiub":
        raise DataError(f"an array of the type {image.dtype} is not doubled; give real numbers")
    # Float64 for integers of more than 16 bits; floats stay what they are.
    kind = np.promote_types(image.dtype, np.float16 if image.dtype.kind == "f" else np.float32)
    planes = np.array(image if image.ndim == 3 else image[None], np.promote_types(kind, np.float32))
    planes[~np.isfinite(planes) | mask] = np.nan
    if np.nanmax(np.abs(planes), initial=0) > LARGEST:
        raise DataError(f"an array with values beyond {LARGEST:g} is not doubled; divide it")
    shape: tuple[int, int] = planes.shape[-2:]
    cell = cell_size(shape, NO_BEAM_PIX, MESH_FWHM, LEAST_CELL_PIX)
    nodes = measure_nodes(planes, cell)
    # A plane without any noise has no sources above it.
    still = np.isnan(nodes[:, 1]).all((1, 2))
    nodes[still, 0], nodes[still, 1] = 0, LARGEST
    meshes = build_meshes(nodes, shape, cell, "the array")
    found = _double(lambda window: planes[(slice(None), *window.slices)], shape, meshes, None, 1.0, kind)
    return found.image if image.ndim == 3 else found.image[0]


def _double(
    read: Callable[[Window], AnyImage],
    shape: tuple[int, int],
    meshes: list[Mesh],
    fwhm_pix: float | None,
    factor: float,
    kind: DTypeLike,
) -> Doubled:
    """Double an image by bands of rows, each with its halo."""
    maker = TileMaker(Judge(CONFIG.source_sigma, CONFIG.input_sigma, fwhm_pix))
    large, invented = np.empty((len(meshes), 2 * shape[0], 2 * shape[1]), kind), list[dict[str, Any]]()
    for core in bands(shape, CONFIG.band_rows):
        check_stop()
        around = core.grown(maker.halo_pix) & Window.of_shape(shape)
        assert around is not None
        tile = maker.make(read_source(read, meshes, around), core)
        large[:, 2 * core.y0 : 2 * core.y1] = factor * tile.image_PHW
        invented += tile.invented
    return Doubled(large, invented)
