"""Images as tile-compressed FITS, written row by row and equal byte for byte when made again.

A tile is one row, packed with GZIP_1 (FITS standard 4.0, section 10), which loses nothing. A mask of 180
million pixels, nearly all of them 0, becomes a file of a few MB, and no more than some rows are in memory.
"""

import zlib
from collections.abc import Iterable
from io import BufferedRandom
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from astro_dist.engine.files import publish_file
from astro_dist.sky.checksum import encode_checksum, fold32, read_pieces, sum32
from astro_dist.sky.fits_file import BITPIX, CHECK_COMMENT
from astro_dist.sky.fits_headers import BLOCK

DESCRIPTOR = np.dtype([("bytes", ">i8"), ("offset", ">i8")])
LEVEL = 6
# zlib's code for a gzip container; its header holds no time.
GZIP = 31
_MOVED = {"SIMPLE", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "EXTEND", "CHECKSUM", "DATASUM"}


def write_packed(
    path: Path, header: fits.Header, shape: tuple[int, int], dtype: str, rows: Iterable[NDArray[np.generic]]
) -> None:
    """Publish an image of whole numbers, or of floats, as a tile-compressed FITS file.

    Parameters
    ----------
    header
        Cards of the image, as from `astro_dist.sky.fits_file.radio_header`.
    shape, dtype
        ``(ny, nx)``, and the type of a pixel: u1, i2, i4 or f4.
    rows
        Arrays (h, nx) that follow each other from the first row to the last.

    Raises
    ------
    ValueError
        The rows are not those of the shape.
    """
    kind = np.dtype(dtype).newbyteorder(">")
    primary = fits.PrimaryHDU()
    primary.add_checksum(when=CHECK_COMMENT)
    with publish_file(path) as hidden, hidden.open("w+b") as handle:
        handle.write(primary.header.tostring().encode("ascii"))
        start = handle.tell()
        # The sizes of the tiles are known at the end: the header and the table are written twice.
        head = _table_header(header, shape, kind, 0, 0).tostring()
        handle.write(head.encode("ascii") + bytes(shape[0] * DESCRIPTOR.itemsize))
        table = _write_tiles(handle, shape, kind, rows)
        heap = int(table["bytes"].sum())
        size = table.nbytes + heap
        handle.write(bytes(-size % BLOCK))
        handle.seek(start + len(head))
        handle.write(table.tobytes())
        handle.seek(start + len(head))
        datasum = 0
        for piece in read_pieces(handle, size):
            datasum = fold32(datasum + sum32(piece))
        longest = int(table["bytes"].max(initial=0))
        handle.seek(start)
        handle.write(_sealed(_table_header(header, shape, kind, heap, longest), datasum))


def _write_tiles(
    handle: BufferedRandom,
    shape: tuple[int, int],
    kind: np.dtype[np.generic],
    rows: Iterable[NDArray[np.generic]],
) -> NDArray[np.void]:
    """Write the tiles one after the other; return their sizes and places in the heap."""
    table, n, offset = np.zeros(shape[0], DESCRIPTOR), 0, 0
    for some in rows:
        if some.shape[1] != shape[1] or n + len(some) > shape[0]:
            raise ValueError(f"rows {some.shape} from {n} do not fit an image {shape}")
        for row in np.ascontiguousarray(some, kind):
            packer = zlib.compressobj(LEVEL, zlib.DEFLATED, GZIP)
            tile = packer.compress(row.tobytes()) + packer.flush()
            handle.write(tile)
            table[n] = len(tile), offset
            n, offset = n + 1, offset + len(tile)
    if n != shape[0]:
        raise ValueError(f"{n} rows of an image {shape}")
    return table


def _table_header(
    header: fits.Header, shape: tuple[int, int], kind: np.dtype[np.generic], heap: int, longest: int
) -> fits.Header:
    bitpix = BITPIX[kind]
    cards = [
        ("XTENSION", "BINTABLE", "binary table of packed tiles"),
        ("BITPIX", 8),
        ("NAXIS", 2),
        ("NAXIS1", DESCRIPTOR.itemsize),
        ("NAXIS2", shape[0]),
        ("PCOUNT", heap),
        ("GCOUNT", 1),
        ("TFIELDS", 1),
        ("TTYPE1", "COMPRESSED_DATA"),
        ("TFORM1", f"1QB({longest})"),
        ("ZIMAGE", True, "the table holds an image"),
        ("ZCMPTYPE", "GZIP_1", "nothing is lost"),
        ("ZBITPIX", bitpix),
        ("ZNAXIS", 2),
        ("ZNAXIS1", shape[1]),
        ("ZNAXIS2", shape[0]),
        ("ZTILE1", shape[1]),
        ("ZTILE2", 1),
    ]
    if bitpix < 0:
        cards.append(("ZQUANTIZ", "NONE"))
    made = fits.Header([fits.Card(*card) for card in cards])
    for card in header.cards:
        if card.keyword not in _MOVED:
            made.append(card, end=True)
    made["CHECKSUM"] = ("0" * 16, CHECK_COMMENT)
    # As many digits as the largest sum, so that the header keeps its length.
    made["DATASUM"] = ("0", CHECK_COMMENT)
    return made


def _sealed(header: fits.Header, datasum: int) -> bytes:
    header["DATASUM"] = (str(datasum), CHECK_COMMENT)
    total = fold32(sum32(header.tostring().encode("ascii")) + datasum)
    header["CHECKSUM"] = (encode_checksum(total), CHECK_COMMENT)
    text: str = header.tostring()
    return text.encode("ascii")
