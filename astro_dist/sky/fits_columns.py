"""The columns of FITS tables, bounded here before astropy lays them over the rows, and images in tiles.

A tile-compressed image is a table with a row for each tile. Astropy decodes its tiles with C code of cfitsio,
so that everything that code takes from the file is compared with the size of the image: the number of tiles,
the place of their bytes, the parameters of the codec and, for gzip, the size of what comes out.
"""

import math
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.errors import ConfigError
from astro_dist.sky.fits_headers import BITPIX_SET, DEFLATE_RATIO, PACKED_BYTES, Hdu, is_gzip, open_raw

SIZES = {
    **{"L": 1, "B": 1, "A": 1, "I": 2, "J": 4, "K": 8, "E": 4, "D": 8, "C": 8, "M": 16},
    # Descriptors: two numbers of 32 or 64 bits, length and offset in the heap (standard 4.0, 7.3.5).
    **{"P": 8, "Q": 16},
}
_BINARY = re.compile(r"(\d{0,9})([LXBIJKAEDCMPQ])([LXBIJKAEDCM]?)(.*)", re.DOTALL)
_ASCII = re.compile(r"[AIFED](\d{1,9})(?:\.\d{1,9})?")
CODECS = ("RICE_1", "RICE_ONE", "GZIP_1", "GZIP_2", "NOCOMPRESS")
UNSAFE = ("HCOMPRESS_1", "PLIO_1")
"""Their decoders in astropy read and write without looking for the end of their buffers."""
TILE_BYTES = 1 << 28
"""Most bytes of one tile, unpacked."""
TABLE_BYTES = 1 << 26
"""Most bytes of the rows of a compressed image: 16 to 50 bytes a tile."""
MOST_TILE_AXES, MOST_TILE_COLUMNS = 9, 30
MOST_TILE_CARDS = 300
"""Most cards that astropy takes out of a compressed image's header, each in a time that grows with it."""
TRUSTED_BYTES = (1 << 27) // DEFLATE_RATIO
"""A packed tile of fewer bytes cannot become larger than 128 MB."""
DITHERS = ("SUBTRACTIVE_DITHER_1", "SUBTRACTIVE_DITHER_2")


def check_columns(hdu: Hdu) -> None:
    """Refuse a table whose columns do not fill its rows.

    Raises
    ------
    ConfigError
        In one line without the path.
    """
    n = hdu.number("TFIELDS")
    if hdu.extension == "TABLE":
        _check_text_columns(hdu, n)
        return
    widths = [_width(hdu, number) for number in range(1, n + 1)]
    if sum(widths) != hdu.axes[0]:
        raise ConfigError(
            f"{hdu.named}: its columns take {sum(widths)} bytes, NAXIS1 is {hdu.axes[0]}; fetch it again"
        )


def check_tiles(path: Path, hdu: Hdu) -> None:
    """Refuse a tile-compressed image that cannot be decoded safely; the rows of its tiles are read.

    Raises
    ------
    ConfigError
        In one line without the path.
    """
    # In this order: the rows are cut by column widths that `check_columns` has added up.
    _check_codec(hdu)
    check_columns(hdu)
    _check_shape(hdu)
    if is_gzip(path) and hdu.data_bytes > PACKED_BYTES:
        raise ConfigError(f"more than {PACKED_BYTES >> 20} MB of tiles inside gzip; unpack it (gunzip)")
    sides = [hdu.number(f"ZTILE{i + 1}") for i in range(len(hdu.image_axes))]
    tile_bytes = 8 * math.prod(map(min, hdu.image_axes, sides))
    with open_raw(path) as handle:
        handle.seek(hdu.data_start)
        rows = handle.read(hdu.axes[0] * hdu.axes[1])
        for name, places, item_bytes in _descriptors(hdu, rows):
            # Before any tile is sought or read: a length from the file bounds the read below.
            _check_places(hdu, name, places, item_bytes)
            # Tiles of GZIP_COMPRESSED_DATA could not be quantized and are gzip whatever ZCMPTYPE says.
            is_deflated = name == "GZIP_COMPRESSED_DATA" or hdu.text("ZCMPTYPE").startswith("GZIP")
            if is_deflated and name != "UNCOMPRESSED_DATA":
                for length, offset in places[places[:, 0] * item_bytes > TRUSTED_BYTES].tolist():
                    handle.seek(hdu.data_start + _heap_start(hdu) + offset)
                    _check_deflated(handle.read(length * item_bytes), tile_bytes)


def _check_codec(hdu: Hdu) -> None:
    codec = hdu.text("ZCMPTYPE")
    if codec in UNSAFE:
        raise ConfigError(
            f"its tiles are packed with {codec}, which cannot be unpacked safely; unpack it (funpack) or "
            "pack it otherwise (fpack -g or fpack -r)"
        )
    if codec not in CODECS:
        raise ConfigError(f"its tiles are packed with {codec[:20] or 'nothing known'}; unpack it (funpack)")
    names = {key[5:]: hdu.text(key).upper() for key in hdu.cards if key.startswith("ZNAME")}
    allowed = {"BLOCKSIZE": (16, 32), "BYTEPIX": (1, 2, 4)}
    for number, name in names.items():
        if name in allowed and hdu.number(f"ZVAL{number}") not in allowed[name]:
            raise ConfigError(
                f"{hdu.named}: its {name} is not {' or '.join(map(str, allowed[name]))}; unpack it (funpack)"
            )
    # ZDITHER0 is an index, from 1, into a table of 10,000 random numbers.
    if hdu.text("ZQUANTIZ") in DITHERS and hdu.number("ZDITHER0", 0) < 1:
        raise ConfigError(f"{hdu.named}: ZDITHER0 is not one of 1 to 10000; unpack it (funpack)")


def _check_shape(hdu: Hdu) -> None:
    n = hdu.number("ZNAXIS")
    reserved = sum(key[:1] in "TZ" for key in hdu.cards)
    if (
        not 1 <= n <= MOST_TILE_AXES
        or hdu.number("TFIELDS") > MOST_TILE_COLUMNS
        or reserved > MOST_TILE_CARDS
    ):
        raise ConfigError(f"{hdu.named}: too many axes or columns for an image in tiles; unpack it (funpack)")
    axes, tile = hdu.image_axes, [hdu.number(f"ZTILE{i + 1}") for i in range(n)]
    if min(axes) < 1 or min(tile) < 1 or hdu.number("ZBITPIX") not in BITPIX_SET:
        raise ConfigError(f"{hdu.named}: its ZNAXISn, ZTILEn or ZBITPIX are impossible; fetch it again")
    tiles = math.prod(-(-length // side) for length, side in zip(axes, tile, strict=True))
    if tiles != hdu.axes[1]:
        raise ConfigError(f"{hdu.named}: {hdu.axes[1]} rows for {tiles} tiles; fetch it again")
    tile_bytes = math.prod(map(min, axes, tile)) * max(4, abs(hdu.number("ZBITPIX")) // 8)
    if tile_bytes > TILE_BYTES or hdu.axes[0] * tiles > TABLE_BYTES:
        raise ConfigError(
            f"{tiles} tiles of {tile_bytes >> 20} MB; unpack it (funpack), or pack it by rows (fpack -r)"
        )


def _descriptors(hdu: Hdu, rows: bytes) -> Iterator[tuple[str, NDArray[np.int64], int]]:
    """Yield name, (length, offset) of every tile, and bytes of an item, of each column of descriptors."""
    row_bytes, n_rows = hdu.axes[0], hdu.axes[1]
    if len(rows) < row_bytes * n_rows:
        raise ConfigError("the file is cut short; fetch it again")
    table = np.frombuffer(rows, np.uint8).reshape(n_rows, row_bytes)
    at = 0
    for number in range(1, hdu.number("TFIELDS") + 1):
        width = _width(hdu, number)
        kind, item = _split(hdu, number)[1:3]
        if kind in "PQ" and width:
            # A copy: a slice of the columns has no contiguous rows to view as integers.
            pair = np.ascontiguousarray(table[:, at : at + width]).view(">i4" if kind == "P" else ">i8")
            yield hdu.text(f"TTYPE{number}").upper(), pair.astype(np.int64), SIZES.get(item, 1)
        at += width


def _check_places(hdu: Hdu, name: str, places: NDArray[np.int64], item_bytes: int) -> None:
    """Refuse a tile whose bytes lie outside the heap."""
    heap_bytes = hdu.data_bytes - _heap_start(hdu)
    length, offset = places.T
    # Compared one by one: the sum of two lies may pass the end of 64 bits.
    inside = (length >= 0) & (offset >= 0) & (length <= heap_bytes // item_bytes) & (offset <= heap_bytes)
    if heap_bytes < 0 or not (inside & (offset <= heap_bytes - length * item_bytes)).all():
        raise ConfigError(f"{hdu.named}: the column {name[:30]} points outside the file; fetch it again")


def _check_deflated(packed: bytes, tile_bytes: int) -> None:
    """Refuse a packed tile that unpacks to more than the 8 bytes that a pixel takes at most."""
    done = 0
    # A gzip stream may have several members one after the other; the size is that of all.
    while packed:
        member = zlib.decompressobj(wbits=31)
        while packed and not member.eof:
            # Pieces of 16 MB, so that a bomb is refused before it is unpacked whole.
            done += len(member.decompress(packed, 1 << 24))
            packed = member.unconsumed_tail
            if done > tile_bytes:
                raise ConfigError(f"a tile unpacks to more than its {tile_bytes} bytes; fetch it again")
        packed = member.unused_data.lstrip(b"\0")


def _heap_start(hdu: Hdu) -> int:
    # Without THEAP the heap follows the rows at once.
    return hdu.number("THEAP", hdu.axes[0] * hdu.axes[1])


def _split(hdu: Hdu, number: int) -> tuple[int, str, str]:
    """Return repeat count, type and, for a descriptor, the type it points to, of a column."""
    match = _BINARY.fullmatch(form := hdu.text(f"TFORM{number}").upper())
    if not match:
        raise ConfigError(f"{hdu.named}: TFORM{number} is {form[:20] or 'missing'}; fetch it again")
    return int(match[1] or 1), match[2], match[3]


def _width(hdu: Hdu, number: int) -> int:
    repeat, kind, _ = _split(hdu, number)
    if kind in "PQ" and repeat > 1:
        raise ConfigError(f"{hdu.named}: TFORM{number} repeats a pointer; fetch it again")
    shape = re.findall(r"\d{1,9}", hdu.text(f"TDIM{number}"))
    if kind not in "PQ" and math.prod(map(int, shape)) > max(repeat, 1):
        raise ConfigError(f"{hdu.named}: TDIM{number} is larger than its column; fetch it again")
    # X counts bits, which fill whole bytes.
    return -(-repeat // 8) if kind == "X" else repeat * SIZES[kind]


def _check_text_columns(hdu: Hdu, n: int) -> None:
    for number in range(1, n + 1):
        form, start = hdu.text(f"TFORM{number}").upper(), hdu.number(f"TBCOL{number}")
        match = _ASCII.fullmatch(form)
        # TBCOL counts bytes from 1.
        if not match or not 1 <= start <= hdu.axes[0] + 1 - int(match[1]):
            raise ConfigError(f"{hdu.named}: TFORM{number} or TBCOL{number} is impossible; fetch it again")
