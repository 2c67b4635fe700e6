"""The place of the pixels in a FITS image, and reading some of them without the rest.

Plain images of any type are read by seeking in the file, tile-compressed ones through astropy's sections.
An exception of astropy on a malformed file becomes an error of this package with one line of text.
"""

import contextlib
import gzip
import os
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from astro_dist.engine.errors import AstroDistError, ConfigError, DataError, IntegrityError
from astro_dist.sky.checksum import Extent
from astro_dist.sky.windows import Window

DTYPES = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class Layout:
    """Place of one image in its file, and coding of its numbers; ``axes`` in numpy's order."""

    hdu: int
    extent: Extent
    axes: tuple[int, ...]
    bitpix: int
    compressed: bool
    scale: float
    zero: float
    blank: int | None


@contextlib.contextmanager
def explained(path: Path, kind: type[AstroDistError]) -> Iterator[None]:
    """Turn any exception raised inside into an error of one line that names the file.

    An `AstroDistError` keeps its type, others become ``kind``. Astropy's warnings are silenced.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except AstroDistError as error:
            raise type(error)(f"{path}: {error}") from None
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise kind(f"{path}: cannot be read as a radio map ({type(error).__name__}: {reason})") from None


@contextlib.contextmanager
def open_hdus(path: Path, **options: Any) -> Iterator[fits.HDUList]:
    """Open a FITS file through a handle that is always closed.

    Astropy leaves the handle of a file that it opened itself open when a header is garbled.
    """
    with open_raw(path) as handle, fits.open(handle, memmap=False, **options) as hdus:
        yield hdus


def find_image(path: Path) -> tuple[fits.Header, Layout]:
    """Return the header and the layout of the first image in a FITS file.

    Raises
    ------
    ConfigError
        When the file is missing, not FITS, cut short or holds no image.
    """
    _check_is_fits(path)
    # The first view hides tile compression; the second shows the table that holds the tiles.
    with open_hdus(path) as images, open_hdus(path, disable_image_compression=True) as tables:
        index, image = _first_image(images)
        header, extent = image.header.copy(), Extent.of(tables[index])
        layout = Layout(
            hdu=index,
            extent=extent,
            axes=tuple(int(header[f"NAXIS{i}"]) for i in range(header["NAXIS"], 0, -1)),
            bitpix=header["BITPIX"],
            compressed=isinstance(image, fits.CompImageHDU),
            scale=float(header.get("BSCALE", 1)),
            zero=float(header.get("BZERO", 0)),
            blank=header.get("BLANK") if header["BITPIX"] > 0 else None,
        )
    _check_layout(path, layout)
    return header, layout


def read_pixels(path: Path, layout: Layout, window: Window) -> NDArray[np.float32]:
    """Return the pixels of a window in the unit of the file, float32, with NaN where there are no data.

    Axes before the last two are taken at their first (and only) plane.

    Raises
    ------
    DataError
        When the file ends too early or its compressed pixels cannot be decoded.
    """
    if layout.compressed:
        index = (*(0 for _ in layout.axes[2:]), *window.slices)
        with explained(path, DataError), open_hdus(path) as hdus:
            return np.array(hdus[layout.hdu].section[index], np.float32)
    raw = _read_plain(path, layout, window)
    if (layout.scale, layout.zero) != (1, 0):
        values = (raw.astype(np.float64) * layout.scale + layout.zero).astype(np.float32)
    elif layout.bitpix == -32:
        # In place: the rows of a band are the largest array of a worker.
        values = raw.byteswap(inplace=True).view(raw.dtype.newbyteorder())
    else:
        values = raw.astype(np.float32)
    if layout.blank is not None:
        values[raw == layout.blank] = np.nan
    return values


def open_raw(path: Path) -> BufferedIOBase:
    """Open a file for reading its bytes, through gzip where the file is packed."""
    return gzip.open(path) if _is_gzip(path) else path.open("rb")


def verify_checksum(path: Path, layout: Layout) -> None:
    """Read the image once and compare it with the DATASUM and CHECKSUM in its header, where present.

    Raises
    ------
    IntegrityError
        When DATASUM or CHECKSUM is wrong.
    """
    with explained(path, IntegrityError), open_raw(path) as handle:
        if card := layout.extent.wrong_card(handle):
            raise IntegrityError(
                f"the {card} in its header is not that of the file, which is damaged or was edited; "
                "fetch it again, or remove CHECKSUM and DATASUM if the edit was yours"
            )


def _read_plain(path: Path, layout: Layout, window: Window) -> NDArray[Any]:
    nx = layout.axes[-1]
    raw = np.empty(window.shape, DTYPES[layout.bitpix])
    # Rows of full width follow each other in the file: one read for all instead of one each.
    runs = [raw] if window.width == nx else list(raw)
    try:
        with open_raw(path) as handle:
            for i, run in enumerate(runs):
                start = (window.y0 + i) * nx + window.x0
                handle.seek(layout.extent.data_start + start * raw.itemsize)
                if handle.readinto(run.reshape(-1).view(np.uint8).data) != run.nbytes:
                    raise EOFError
    except (EOFError, zlib.error):
        raise DataError(f"{path}: the file ends or breaks before row {window.y1}; fetch it again") from None
    return raw


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as handle:
        return handle.read(2) == GZIP_MAGIC


def _check_is_fits(path: Path) -> None:
    if not path.exists():
        raise ConfigError("there is no such file; mend the path")
    if not path.is_file() or not os.access(path, os.R_OK):
        raise ConfigError("not a file that can be read; mend the path or its permissions")
    with open_raw(path) as handle:
        if handle.read(9) != b"SIMPLE  =":
            raise ConfigError("not a FITS file; leave it out or give another")


def _check_layout(path: Path, layout: Layout) -> None:
    # The size of a packed file says nothing of its contents; a cut is found when it is read.
    size, end = path.stat().st_size, layout.extent.end
    if size < end and not _is_gzip(path):
        raise ConfigError(f"the file is cut short, {size} of {end} bytes are there; fetch it again")
    if min(layout.axes) < 1 or layout.bitpix not in DTYPES:
        raise ConfigError("its NAXISn or BITPIX are impossible; fetch it again")


def _first_image(hdus: fits.HDUList) -> tuple[int, Any]:
    for index, hdu in enumerate(hdus):
        if isinstance(hdu, fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU) and hdu.header["NAXIS"] > 1:
            return index, hdu
    raise ConfigError("no image in this FITS file; leave it out or give another")
