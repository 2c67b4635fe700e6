"""FITS files as this system writes them: equal byte for byte when made again, checksums included.

A large image is created empty and filled by row bands, each of which writes its own byte range and
returns its crc32 and its share of the checksum; `seal_banded` reads the file once, refuses bands
whose bytes changed and seals the header in place. Images are big-endian and unscaled; the rows of
further planes follow those of the first.
"""

import math
import os
import textwrap
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import DTypeLike, NDArray

from astro_dist import __version__
from astro_dist.engine.errors import ConfigError, IntegrityError
from astro_dist.engine.files import publish_bytes, publish_file
from astro_dist.engine.outputs import ranges_of
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.checksum import Extent, encode_checksum, fold32, sum32
from astro_dist.sky.coordinates import beam_on_sky, pixel_scale, wcs_cards
from astro_dist.sky.fits_headers import BLOCK, open_raw, read_hdus
from astro_dist.sky.fits_reader import DTYPES, explained, open_checked

HISTORY_LETTERS = 72
# A fixed comment, since astropy's own holds the time of day and no two files would be equal.
CHECK_COMMENT = "ones-complement sum, FITS standard 4.0"
BITPIX = {np.dtype(code): bitpix for bitpix, code in DTYPES.items()}


def plane_wcs(shape: Sequence[int], pixel: Pixel, ra_deg: float, dec_deg: float) -> WCS:
    """Return an ICRS SIN projection, north up and east left, centred on the middle of a map of ``shape``."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---SIN", "DEC--SIN"]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.crval = [ra_deg, dec_deg]
    # FITS counts pixels from 1.
    wcs.wcs.crpix = [(shape[1] + 1) / 2, (shape[0] + 1) / 2]
    wcs.wcs.cdelt = [-pixel.dx_arcsec / 3600, pixel.dy_arcsec / 3600]
    wcs.wcs.radesys = "ICRS"
    wcs.wcs.set()
    return wcs


def radio_header(
    shape: Sequence[int],
    wcs: WCS,
    beam: Beam | None = None,
    frequency_hz: float | None = None,
    *,
    unit: str = "Jy/beam",
    object_name: str = "",
    dtype: DTypeLike = np.float32,
    cards: Mapping[str, Any] | None = None,
    history: Iterable[str] = (),
) -> fits.Header:
    """Return the header of a synthetic two-dimensional radio image of ``shape`` (ny, nx).

    Parameters
    ----------
    unit
        BUNIT; empty for images that hold classes or numbers.
    cards
        More cards, each a value or a ``(value, comment)``.
    history
        HISTORY lines; characters that FITS does not have are escaped.

    Notes
    -----
    DATE is written only when SOURCE_DATE_EPOCH is set, so that the header is the same on any day.
    """
    header = _image_header(fits.Header(), shape, dtype)
    header["EXTEND"] = True
    if unit:
        header["BUNIT"] = unit
        header["BTYPE"] = "Intensity"
    if object_name:
        header["OBJECT"] = object_name
    if beam is not None:
        beam = beam_on_sky(beam, pixel_scale(wcs, shape))
        header["BMAJ"] = (beam.major_arcsec / 3600, "[deg] beam, full width at half maximum")
        header["BMIN"] = (beam.minor_arcsec / 3600, "[deg]")
        header["BPA"] = (beam.pa_deg, "[deg] major axis east of north")
    header.update(wcs_cards(wcs))
    if frequency_hz is not None:
        header["RESTFRQ"] = (frequency_hz, "[Hz] observing frequency")
        # The older spelling is the one that PyBDSF looks for where no axis is a frequency. Not axes of
        # length 1 instead: Aegean and spectral-cube's `Projection` read images of two axes only.
        header["RESTFREQ"] = (frequency_hz, "[Hz] the same")
        header["SPECSYS"] = "TOPOCENT"
    header["TELESCOP"] = "synthetic"
    header["ORIGIN"] = f"astro_dist {__version__}"
    header["SYNTH"] = (True, "this sky does not exist")
    if "SOURCE_DATE_EPOCH" in os.environ:
        moment = time.gmtime(int(os.environ["SOURCE_DATE_EPOCH"]))
        header["DATE"] = time.strftime("%Y-%m-%dT%H:%M:%S", moment)
    header.update(cards or {})
    add_history(header, history)
    return header


def add_history(header: fits.Header, lines: Iterable[str]) -> None:
    """Append HISTORY cards; characters other than printable ASCII, as in names of files, are escaped.

    Lines longer than a card are broken between words.
    """
    for line in lines:
        for part in textwrap.wrap(ascii(line)[1:-1], HISTORY_LETTERS, break_on_hyphens=False) or [""]:
            header.add_history(part)


@dataclass(frozen=True)
class BandedImage:
    """An image that many tasks fill row band by row band.

    Attributes
    ----------
    header
        Its cards, as from `radio_header`; size and BITPIX are set from the other attributes.
    shape, dtype
        ``(ny, nx)``, after the lengths of further axes, and the type of a pixel: u1, i2, i4, i8, f4 or f8.
    """

    header: fits.Header
    shape: Sequence[int]
    dtype: DTypeLike

    @property
    def data_bytes(self) -> int:
        """Size of the pixels, without the padding at the end."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize

    @property
    def rows(self) -> int:
        """Number of rows, over all planes."""
        return int(np.prod(self.shape[:-1]))

    @property
    def padding(self) -> bytes:
        """Zeros that fill the last block."""
        return bytes(-self.data_bytes % BLOCK)

    def head(self, datasum: int | None = None) -> bytes:
        """Return the header with both checksums for the sum of the pixels; without one, with none yet."""
        cards = _image_header(self.header, self.shape, self.dtype)
        if datasum is None:
            return _sealed(cards, 0, "0" * 16).tostring().encode("ascii")
        return _seal(cards, datasum)


def create_banded(path: Path, image: BandedImage) -> None:
    """Create an image of zeros for `write_rows` to fill; a file that is already there is kept if it fits."""
    head = image.head()
    size = len(head) + image.data_bytes + len(image.padding)
    if path.exists() and path.stat().st_size == size:
        with path.open("rb") as handle:
            if _lasting_cards(handle.read(len(head))) == _lasting_cards(head):
                return
    with publish_file(path) as hidden, hidden.open("wb") as handle:
        handle.write(head)
        handle.flush()
        # Allocated and not sparse: a full disk is found here, before any band is computed.
        os.posix_fallocate(handle.fileno(), 0, size)


def write_rows(path: Path, y0: int, rows: NDArray[Any]) -> dict[str, int]:
    """Write full-width rows of an image made by `create_banded`, durably, into their own byte range.

    Parameters
    ----------
    y0
        Row of the image where ``rows[0]`` belongs; those of plane p begin at ``p * ny``.
    rows
        ``(h, nx)``, of the image's type.

    Returns
    -------
    dict
        ``offset``, ``bytes`` and ``crc32`` of these bytes in the file, as `astro_dist.engine.outputs`
        compares them; ``y0``, ``rows`` and ``datasum``, which `seal_banded` wants.
    """
    start, shape, dtype = _layout(_read_header(path))
    if rows.dtype.newbyteorder(">") != dtype or rows.shape[1] != shape[1] or y0 + len(rows) > shape[0]:
        raise ValueError(f"rows {rows.shape} {rows.dtype} from {y0} do not fit an image {shape} {dtype}")
    offset = y0 * shape[1] * dtype.itemsize
    data = np.ascontiguousarray(rows, dtype).reshape(-1).view(np.uint8).data
    handle = os.open(path, os.O_WRONLY)
    try:
        done = 0
        # `pwrite` and no memory map: bands of two nodes may share a page. A call may write a part only.
        while done < len(data):
            done += os.pwrite(handle, data[done:], start + offset + done)
        # The record is only returned for bytes that survive a crash of the node.
        os.fsync(handle)
    finally:
        os.close(handle)
    return {
        **{"offset": start + offset, "bytes": len(data), "crc32": zlib.crc32(data)},
        **{"y0": y0, "rows": len(rows), "datasum": sum32(data, offset % 4)},
    }


def seal_banded(
    path: Path, image: BandedImage, bands: Mapping[str, Mapping[str, int]]
) -> list[dict[str, int]]:
    """Write the header with DATASUM and CHECKSUM, and the zeros at the end; no pixel is read.

    Both sums follow from the records of the bands: DATASUM is a sum of 32-bit words, so that of the whole
    is the sum of the parts (FITS standard 4.0, appendix J).

    Parameters
    ----------
    bands
        The records of `write_rows` by task name; together they cover every row once.

    Returns
    -------
    list of dict
        ``offset``, ``bytes`` and ``crc32`` of the header and of the zeros.

    Raises
    ------
    IntegrityError
        When rows are missing or doubled.
    """
    tasks = sorted(bands, key=lambda task: bands[task]["y0"])
    edges = [0, *(bands[task]["y0"] + bands[task]["rows"] for task in tasks)]
    if [bands[task]["y0"] for task in tasks] != edges[:-1] or edges[-1] != image.rows:
        raise IntegrityError(
            f"{path.name}: the bands do not cover its {image.rows} rows once; run the stage again"
        )
    total = 0
    for task in tasks:
        total = fold32(total + bands[task]["datasum"])
    head = image.head(total)
    size = len(head) + image.data_bytes + len(image.padding)
    if not path.exists() or path.stat().st_size != size:
        create_banded(path, image)
    parts = {0: head, size - len(image.padding): image.padding}
    with path.open("rb+") as handle:
        for offset, data in parts.items():
            handle.seek(offset)
            handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())
    return [{"offset": at, "bytes": len(data), "crc32": zlib.crc32(data)} for at, data in parts.items()]


def seal_all(
    folder: Path, images: Iterable[tuple[str, BandedImage]], results: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Seal every banded image of a stage; return what was written in the form of results."""
    stated = {}
    for name, image in images:
        bands = {
            f"{task} {i}": part
            for task, result in results.items()
            for i, part in enumerate(ranges_of(result, name))
        }
        head, end = seal_banded(folder / name, image, bands)
        stated[f"head of {name}"] = {"ranges": {name: head}}
        stated[f"end of {name}"] = {"ranges": {name: end}}
    return stated


def publish_image(path: Path, image: BandedImage, pixels: NDArray[Any]) -> None:
    """Write an image that is there as a whole, header with both checksums first, whole or not at all."""
    data = np.ascontiguousarray(pixels, np.dtype(image.dtype).newbyteorder(">")).tobytes()
    publish_bytes(path, image.head(sum32(data)) + data + image.padding)


def verify_fits(path: Path) -> tuple[list[str], list[str]]:
    """Return the faults that a file's own checksums show, and its HDUs without a checksum, a line each.

    Raises `IntegrityError` when it cannot be read as FITS at all, `ConfigError` where no HDU has a checksum.
    """
    faults, unchecked = [], []
    with explained(path, IntegrityError):
        checked = read_hdus(path, kind=IntegrityError)
        with open_checked(path, checked, disable_image_compression=True) as hdus:
            extents = [Extent.of(hdu) for hdu in hdus]
    with explained(path, IntegrityError), open_raw(path) as handle:
        size = path.stat().st_size
        for number, extent in enumerate(extents):
            if extent.datasum is None and not extent.has_checksum:
                unchecked.append(f"{path}: HDU {number} has no CHECKSUM, so that its bytes cannot be checked")
            elif size < extent.end:
                faults.append(f"{path}: HDU {number} is cut short, {size} of {extent.end} bytes are there")
            elif card := extent.wrong_card(handle):
                faults.append(f"{path}: HDU {number} does not hold what its {card} says")
    if len(unchecked) == len(extents):
        raise ConfigError(f"{path}: it has no CHECKSUM and no DATASUM, so that its bytes cannot be checked")
    return faults, unchecked


def _image_header(header: fits.Header, shape: Sequence[int], dtype: DTypeLike) -> fits.Header:
    """Return a copy that begins with the mandatory cards of a primary image."""
    header = header.copy()
    first = {"SIMPLE": True, "BITPIX": BITPIX[np.dtype(dtype).newbyteorder(">")], "NAXIS": len(shape)}
    first |= {f"NAXIS{i + 1}": int(length) for i, length in enumerate(reversed(shape))}
    for position, (key, value) in enumerate(first.items()):
        if key in header:
            header[key] = value
        else:
            header.insert(position, (key, value))
    return header


def _sealed(header: fits.Header, datasum: int, checksum: str) -> fits.Header:
    header = header.copy()
    header["CHECKSUM"] = (checksum, CHECK_COMMENT)
    header["DATASUM"] = (str(datasum), CHECK_COMMENT)
    return header


def _lasting_cards(head: bytes) -> list[bytes]:
    """Return the cards of a header but the two that `seal_banded` changes."""
    cards = [head[i : i + 80] for i in range(0, len(head), 80)]
    return [card for card in cards if not card.startswith((b"CHECKSUM", b"DATASUM"))]


def _seal(header: fits.Header, datasum: int) -> bytes:
    """Return the bytes of a header with both sums in place, of the same length as before."""
    blank = _sealed(header, datasum, "0" * 16).tostring().encode("ascii")
    # CHECKSUM is chosen so that the whole HDU, this card included, sums to zero.
    checksum = encode_checksum(fold32(sum32(blank) + datasum))
    text: str = _sealed(header, datasum, checksum).tostring()
    return text.encode("ascii")


def _read_header(path: Path) -> fits.Header:
    with path.open("rb") as handle:
        return fits.Header.fromfile(handle)


def _layout(header: fits.Header) -> tuple[int, tuple[int, int], np.dtype[Any]]:
    """Return the offset of the data, its rows and their length, and the type of a pixel on disk."""
    start, lengths = len(header.tostring()), [header[f"NAXIS{i + 1}"] for i in range(header["NAXIS"])]
    return start, (math.prod(lengths[1:]), lengths[0]), np.dtype(DTYPES[header["BITPIX"]])
