"""One map doubled from Python, without a run directory: `astro_dist.enhance`."""

# Annotations stay text: those of arrays are ten lines long where `help` shows them.
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astro_dist.engine.errors import ConfigError, DataError
from astro_dist.engine.foreign import expand_home
from astro_dist.enhance.chain_config import ChainConfig
from astro_dist.enhance.map_inputs import kept_of, layers_of
from astro_dist.enhance.projection import enlarge_bicubic, fill_blanks, project
from astro_dist.sky.fits_file import publish_image
from astro_dist.sky.sky_image import SkyImage
from astro_dist.sky.windows import Window

MOST_PIX = 1 << 26
"""Most pixels of an image that is doubled in one piece."""


def enhance_map(image: str | Path | ArrayLike, out: str | Path | None = None) -> NDArray[Any]:
    """Return a map with twice the pixels along both sides, and fluxes kept.

    The projected bicubic enlargement, as the command ``astro-dist enhance`` makes it without a network.

    Parameters
    ----------
    image
        A FITS file of any unit, or an array (h, w) or (planes, h, w) of brightness, NaN = no data.
    out
        A FITS file to write, with the coordinates of the new pixels; for FITS files alone.

    Returns
    -------
    ndarray
        The mean of each 2 x 2 block is the pixel of the input; its sum for files in flux or counts per pixel.

    Raises
    ------
    ConfigError
        The file cannot be read, or ``out`` is there already, or is given for an array.
    DataError
        The array has other axes, or more than 67 million pixels.

    Examples
    --------
    >>> import astro_dist, numpy
    >>> astro_dist.enhance(numpy.eye(4)).shape
    (8, 8)
    """
    if not isinstance(image, str | Path):
        if out is not None:
            raise ConfigError("an array has no coordinates to write; leave out away, or give a FITS file")
        return _double(np.asarray(image))
    source = SkyImage.open(expand_home(str(image)))
    large = _double(source.read(Window.of_shape(source.shape)))
    large = large * {"mean": 1.0, "sum": 0.25}[kept_of(source, ChainConfig())]
    large = large.astype(source.dtype).reshape(*source.axes[:-2], *large.shape[-2:])
    if out is not None:
        target = expand_home(str(out))
        if target.exists():
            raise ConfigError(f"{target} is there already; name another file")
        publish_image(target, next(layers_of(ChainConfig(), source, False))[1], large)
    return large


def _double(image: NDArray[Any]) -> NDArray[Any]:
    if image.ndim not in (2, 3) or min(image.shape) < 1 or not 1 <= image.size <= MOST_PIX:
        raise DataError(f"an array of shape {image.shape} is not doubled; give (h, w) or (planes, h, w)")
    if image.dtype.kind not in "fiub":
        raise DataError(f"an array of the type {image.dtype} is not doubled; give real numbers")
    planes = image if image.ndim == 3 else image[None]
    # Not nanmedian alone, which warns of a plane without data.
    levels = [float(np.nanmedian(plane)) if np.isfinite(plane).any() else 0.0 for plane in planes]
    level = np.broadcast_to(np.nan_to_num(levels)[:, None, None], planes.shape)
    large = project(enlarge_bicubic(fill_blanks(planes, level)), planes)
    kind = image.dtype if image.dtype.kind == "f" else np.float32
    return (large if image.ndim == 3 else large[0]).astype(kind)
