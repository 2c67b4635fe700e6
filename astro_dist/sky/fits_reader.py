"""The place of the pixels in a FITS image, and reading some of them without the rest.

Plain images of any type are read by seeking in the file, tile-compressed ones through astropy's sections.
An exception of astropy on a malformed file becomes an error of this package with one line of text.
"""

import contextlib
import io
import os
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from astro_dist.engine.errors import AstroDistError, ConfigError, DataError, IntegrityError
from astro_dist.sky.checksum import Extent
from astro_dist.sky.fits_columns import check_columns, check_tiles
from astro_dist.sky.fits_headers import BLOCK, Hdu, Wanted, holds_image, lone_header, open_raw, read_hdus
from astro_dist.sky.windows import Window

# A piece of a band that stays in the processor's cache while it is turned and looked at.
PIECE_BYTES = 1 << 19
# By BITPIX; FITS is big-endian.
DTYPES = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}


@dataclass(frozen=True)
class Layout:
    """Place of one image in its file, and coding of its numbers; ``axes`` in numpy's order.

    ``marks`` are values, scaled, that mean no data; ``plane`` is the index along all axes but the last two.
    """

    hdu: int
    extent: Extent
    axes: tuple[int, ...]
    bitpix: int
    compressed: bool
    scale: float
    zero: float
    blank: int | None
    marks: tuple[float, ...] = ()
    plane: tuple[int, ...] = ()

    @property
    def plane_start(self) -> int:
        """Number of pixels before the plane."""
        index = 0
        for length, place in zip(self.axes[:-2], self.plane, strict=False):
            index = index * length + place
        return index * self.axes[-2] * self.axes[-1]


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
            # On one line and cut: messages of astropy may have many lines.
            reason = " ".join(str(error).split())[:200]
            raise kind(f"{path}: cannot be read as a radio map ({type(error).__name__}: {reason})") from None


@contextlib.contextmanager
def open_hdus(path: Path, **options: Any) -> Iterator[fits.HDUList]:
    """Open a FITS file whose headers are checked, through a handle that is always closed.

    Astropy leaves the handle of a file that it opened itself open when a header is garbled.
    """
    # No memory map: gzip has none, and a mapped file that is cut meanwhile ends the process (SIGBUS).
    with open_raw(path) as handle, fits.open(handle, memmap=False, **options) as hdus:
        yield hdus


class Part(io.RawIOBase):
    """The first bytes of a file, all that astropy is to see of it.

    Astropy looks for one more HDU behind the last that it is asked for, and what lies there is not checked.
    """

    def __init__(self, handle: BufferedIOBase, size: int) -> None:
        self.handle, self.size = handle, size

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the place in the file."""
        return self.handle.tell()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a place, the end of the part at most."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self.tell(), os.SEEK_END: self.size}[whence]
        return self.handle.seek(min(base + offset, self.size))

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        left = max(self.size - self.tell(), 0)
        return self.handle.read(left if size < 0 else min(size, left))


@contextlib.contextmanager
def open_checked(path: Path, hdus: list[Hdu], **options: Any) -> Iterator[fits.HDUList]:
    """Open a FITS file of which astropy sees what is checked, up to the end of the last of some HDUs."""
    # With the padding to a whole block, without which astropy calls the file truncated.
    end = hdus[-1].data_start + -(-hdus[-1].data_bytes // BLOCK) * BLOCK
    with open_raw(path) as handle, fits.open(Part(handle, end), memmap=False, **options) as opened:
        yield opened


@contextlib.contextmanager
def open_whole(path: Path, wanted: Wanted, most_bytes: int) -> Iterator[fits.HDUList]:
    """Check a FITS file up to the first wanted HDU and open it, for reading that HDU's data whole.

    Raises
    ------
    ConfigError
        In one line without the path: see `read_hdus`, or the data are larger than ``most_bytes``.
    """
    checked = read_hdus(path, wanted, whole=True)
    for hdu in checked:
        if hdu.is_compressed:
            check_tiles(path, hdu)
        elif hdu.is_table:
            check_columns(hdu)
        if hdu.data_bytes > most_bytes:
            raise ConfigError(
                f"HDU {hdu.index} has {hdu.data_bytes >> 20} MB; give {most_bytes >> 20} at most"
            )
    with open_checked(path, checked) as hdus:
        yield hdus


def find_image(path: Path) -> tuple[fits.Header, Layout]:
    """Return the header and the layout of the first image in a FITS file.

    The header comes without COMMENT and HISTORY.

    Raises
    ------
    ConfigError
        When the file is missing, not FITS, cut short, packed unsafely or holds no image.
    """
    return describe_image(path, read_hdus(path, holds_image)[-1])


def describe_image(path: Path, hdu: Hdu) -> tuple[fits.Header, Layout]:
    """Return the header, without COMMENT and HISTORY, and the layout of the image of a checked HDU."""
    if hdu.is_compressed:
        check_tiles(path, hdu)
    # The first view hides tile compression; the second shows the table that holds the tiles.
    header, table = parse_header(hdu), parse_header(hdu, disable_image_compression=True)
    scale, zero, is_float = (
        float(header.get("BSCALE", 1)),
        float(header.get("BZERO", 0)),
        header["BITPIX"] < 0,
    )
    blank = header.get("BLANK")
    # FITS allows BLANK for integers only; some writers name with it the floating-point number that they use.
    named = is_float and isinstance(blank, int | float) and not isinstance(blank, bool)
    layout = Layout(
        hdu=hdu.index,
        extent=Extent.stated(table, hdu.header_start, hdu.data_start, hdu.data_bytes),
        axes=tuple(reversed(hdu.image_axes)),
        bitpix=header["BITPIX"],
        compressed=hdu.is_compressed,
        scale=scale,
        zero=zero,
        blank=None if is_float else blank,
        marks=(float(blank) * scale + zero,) if named else (),
    )
    if min(layout.axes) < 1 or layout.bitpix not in DTYPES:
        raise ConfigError("its NAXISn or BITPIX are impossible; fetch it again")
    return header, layout


def parse_header(hdu: Hdu, whole: bool = False, **options: Any) -> fits.Header:
    """Return the header of an HDU as astropy reads it; astropy sees nothing else of the file.

    COMMENT and HISTORY come with a ``whole`` one alone.
    """
    alone = io.BytesIO(lone_header(hdu, whole))
    with warnings.catch_warnings(action="ignore"), fits.open(alone, **options) as hdus:
        return hdus[1 if hdu.index else 0].header.copy()


def read_pixels(
    path: Path, layout: Layout, window: Window, look: Callable[[NDArray[np.float32]], None] | None = None
) -> NDArray[np.float32]:
    """Return the pixels of a window in the unit of the file, float32, with NaN where there are no data.

    Axes before the last two are taken at the layout's plane, by default the first.

    Parameters
    ----------
    look
        Called with all pixels, in contiguous pieces, before the values that mean no data become NaN. Pieces
        are passed while they are in the processor's cache.

    Raises
    ------
    DataError
        When the file ends too early or its compressed pixels cannot be decoded.
    """
    if layout.compressed:
        values = _read_tiles(path, layout, window, np.float32)
    elif layout.bitpix == -32 and (layout.scale, layout.zero) == (1, 0) and window.width == layout.axes[-1]:
        values, look = _read_floats(path, layout, window, look), None
    else:
        values = _read_numbers(path, layout, window)
    if look is not None:
        look(values)
    for mark in layout.marks:
        values[values == np.float32(mark)] = np.nan
    return values


def read_exact(path: Path, layout: Layout, window: Window) -> NDArray[np.int64] | NDArray[np.float64]:
    """Return the pixels of a window with all digits of the file: int64 for whole numbers, else float64.

    No data are 0 among whole numbers, and NaN among others.

    Raises
    ------
    ConfigError
        When a whole number needs more than 64 bits with a sign.
    DataError
        See `read_pixels`.
    """
    is_whole = layout.bitpix > 0 and layout.scale == 1 and layout.zero.is_integer()
    if layout.compressed:
        raw = _read_tiles(path, layout, window, None, do_not_scale_image_data=is_whole)
    else:
        raw = _read_plain(path, layout, window)
    if is_whole:
        with explained(path, ConfigError):
            values = _shift(raw, int(layout.zero))
        return values if layout.blank is None else np.where(raw == layout.blank, 0, values)
    numbers = raw.astype(np.float64)
    if not layout.compressed:
        numbers = numbers * layout.scale + layout.zero
        if layout.blank is not None:
            numbers[raw == layout.blank] = np.nan
    return np.where(np.isin(numbers, layout.marks), np.nan, numbers) if layout.marks else numbers


def _shift(raw: NDArray[Any], zero: int) -> NDArray[np.int64]:
    limits = np.iinfo(np.int64)
    if raw.size and not limits.min <= int(raw.min()) + zero <= int(raw.max()) + zero <= limits.max:
        raise ConfigError(f"it holds numbers above {limits.max}; number its objects anew, below that")
    # Unsigned, because sums of these wrap round: BZERO of unsigned 64-bit numbers is no signed one.
    unsigned = raw.astype(np.int64).view(np.uint64)
    return (unsigned + np.uint64(zero % (1 << 64))).view(np.int64)


def _read_tiles(path: Path, layout: Layout, window: Window, dtype: Any, **options: Any) -> NDArray[Any]:
    # `section` unpacks only the tiles of the window, and scales them.
    plane = layout.plane or (0,) * (len(layout.axes) - 2)
    with explained(path, DataError), open_hdus(path, **options) as hdus:
        return np.array(hdus[layout.hdu].section[(*plane, *window.slices)], dtype)


def _read_numbers(path: Path, layout: Layout, window: Window) -> NDArray[np.float32]:
    raw = _read_plain(path, layout, window)
    if (layout.scale, layout.zero) != (1, 0):
        # Through float64: 32-bit integers have more digits than float32 holds.
        values = (raw.astype(np.float64) * layout.scale + layout.zero).astype(np.float32)
    elif layout.bitpix == -32:
        # In place: the rows of a band are the largest array of a worker.
        values = raw.byteswap(inplace=True).view(raw.dtype.newbyteorder())
    else:
        values = raw.astype(np.float32)
    if layout.blank is not None:
        # BLANK is a value of the raw integers: rounding may hide it after scaling.
        values[raw == layout.blank] = np.nan
    return values


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


def _read_floats(
    path: Path, layout: Layout, window: Window, look: Callable[[NDArray[np.float32]], None] | None
) -> NDArray[np.float32]:
    """Return full rows of 32-bit floats, in pieces that are turned and looked at when they are read."""
    values = np.empty(window.shape, np.float32)
    rows = max(1, PIECE_BYTES // (values.itemsize * window.width))
    # Copying from a small array of the other byte order takes a third of the time of turning in place.
    raw = np.empty((min(rows, window.height), window.width), DTYPES[-32])
    with _opened(path, window) as handle:
        for y in range(0, window.height, rows):
            piece = values[y : y + rows]
            _fill(handle, layout, window.y0 + y, window.x0, raw[: len(piece)])
            np.copyto(piece, raw[: len(piece)])
            if look is not None:
                look(piece)
    return values


def _read_plain(path: Path, layout: Layout, window: Window) -> NDArray[Any]:
    raw = np.empty(window.shape, DTYPES[layout.bitpix])
    # Rows of full width follow each other in the file: one read for all instead of one each.
    rows = window.height if window.width == layout.axes[-1] else 1
    # Small windows are read by the thousand: what is the same for every row is computed once.
    first, step = _place(layout, window.y0, window.x0, raw.itemsize), layout.axes[-1] * raw.itemsize
    with _opened(path, window) as handle:
        for i, run in enumerate(raw.reshape(-1, rows * window.width).view(np.uint8)):
            handle.seek(first + i * step)
            if handle.readinto(run.data) != len(run):
                raise EOFError
    return raw


@contextlib.contextmanager
def _opened(path: Path, window: Window) -> Iterator[BufferedIOBase]:
    try:
        with open_raw(path) as handle:
            yield handle
    except (EOFError, zlib.error):
        raise DataError(f"{path}: the file ends or breaks before row {window.y1}; fetch it again") from None


def _place(layout: Layout, y: int, x: int, itemsize: int) -> int:
    """Return where the pixel in row ``y`` and column ``x`` begins in the file."""
    return layout.extent.data_start + (layout.plane_start + y * layout.axes[-1] + x) * itemsize


def _fill(handle: BufferedIOBase, layout: Layout, y: int, x: int, run: NDArray[Any]) -> None:
    """Read the pixels from row ``y`` and column ``x`` on that follow each other in the file."""
    handle.seek(_place(layout, y, x, run.itemsize))
    # Straight into the array: `read` would hold a second copy of the band.
    if handle.readinto(run.reshape(-1).view(np.uint8).data) != run.nbytes:
        raise EOFError
