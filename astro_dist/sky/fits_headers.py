"""The headers of a FITS file, read and bounded here before astropy sees the file.

Astropy believes every count in a header: as the bound of a loop, as a number of bytes, as a shape.
`read_hdus` walks over a file without astropy, reads no data, and refuses a count that FITS does not allow or
that the file is too short for. Whatever else is wrong with a header is left to astropy, which reports it.
"""

import contextlib
import gzip
import math
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path

from astro_dist.engine.errors import AstroDistError, ConfigError
from astro_dist.engine.foreign import check_regular, remedy_for

BLOCK, CARD = 2880, 80
GZIP_MAGIC = b"\x1f\x8b"
IMAGE_FOLDER = "write it as FITS, a CASA image by exportfits, a MIRIAD one by fits"
BITPIX_SET = {8, 16, 32, 64, -32, -64}
HEADER_BYTES = 32 << 20
"""Most bytes of headers up to the one that is looked for."""
MOST_CARDS = 16_000
"""Most cards that astropy parses of one file: each takes it some 50 microseconds, with the WCS."""
MOST_CONTINUED = 4_000
"""Most CONTINUE cards: astropy joins them in quadratic time."""
MOST_HDUS = 300
PREFIX_BYTES = 64 << 20
"""Most bytes that are unpacked from a gzip file before the header that is looked for."""
PACKED_BYTES = 256 << 20
"""Most data of an HDU in a gzip file that is read whole."""
DEFLATE_RATIO = 1032
"""Deflate packs at most this many bytes into one."""

# A counted keyword wherever astropy would find it: it takes lower case, HIERARCH and a value anywhere.
_COUNTED = re.compile(
    rb"\s*(?:HIERARCH\s+)?((?:Z?NAXIS|ZTILE|TFORM|TTYPE|TDIM|TBCOL|ZNAME|ZVAL)\d*|Z?BITPIX|Z?PCOUNT|Z?GCOUNT|"
    rb"TFIELDS|THEAP|ZDITHER0|ZQUANTIZ|ZIMAGE|ZCMPTYPE|GROUPS|WCSAXES[A-Z]?|[AB]P?_ORDER)\s*=",
    re.IGNORECASE,
)
_AXES_OF_DISTORTION = re.compile(rb"\s*(?:HIERARCH\s+)?D[PQ]\d.*NAXES\D*(\d+)", re.IGNORECASE)
_COMMENTARY = (b"HISTORY ", b"COMMENT ", b" " * 8)
_VALUE = re.compile(rb" *('(?:[^']|'')*'|[^/ ]*) *(?:/.*)?", re.DOTALL)
_NUMBER = rb" *[-+]?(?:\d+\.?\d*|\.\d+)"
_EXPONENT = re.compile(rb"\A(.{10}%b)[Dd] ?(?=[-+]?\d)" % _NUMBER, re.DOTALL)
_READABLE = re.compile(rb" *(?:'|/|$|[TF] *(?:/|$)|\()|%b(?:[Ee] ?[-+]?\d+)? *(?:/|$)" % _NUMBER)
# END alone, and not a longer keyword that begins with it.
_END = re.compile(rb"END[^A-Z0-9_-]")
LIMITS = {
    **{"NAXIS": 999, "ZNAXIS": 999, "TFIELDS": 999, "WCSAXES": 99, "ZDITHER0": 10_000},
    # The order of a SIP polynomial: astropy loops over its square, and the convention ends at 9.
    **{"A_ORDER": 9, "B_ORDER": 9, "AP_ORDER": 9, "BP_ORDER": 9},
}
LARGEST = 2**62
_SIZES = re.compile(r"Z?NAXIS\d+|ZTILE\d+|Z?PCOUNT|Z?GCOUNT|THEAP|TBCOL\d+")


@dataclass(frozen=True)
class Hdu:
    """One HDU of a file: its number, its header, the place of its data, and its counted cards as text."""

    index: int
    header_start: int
    header: bytes
    data_start: int
    cards: dict[str, str]

    def number(self, key: str, default: int | None = None) -> int:
        """Return a counted card as a whole number."""
        text = self.cards.get(key, "" if default is None else str(default))
        # 19 digits hold every number of 64 bits.
        if not re.fullmatch(r"[+-]?\d{1,19}", text):
            raise ConfigError(
                f"{self.named}: {key} is {text[:30] or 'missing'}, not a whole number; mend its header"
            )
        return int(text)

    def card(self, key: str) -> str:
        """Return the value of any card as text, without quotes; empty text where there is none."""
        start = f"{key:<8}=".encode()
        found = (card for card in iterate_cards(self.header) if card.startswith(start))
        return _value(next(found, b"")).strip("'").strip()

    @property
    def name(self) -> str:
        """EXTNAME, in capitals."""
        return self.card("EXTNAME").upper()

    def text(self, key: str) -> str:
        """Return a counted card of text, or empty text."""
        return self.cards.get(key, "").strip("'").strip()

    @property
    def named(self) -> str:
        """What an error calls it."""
        return f"the header of HDU {self.index}"

    @property
    def extension(self) -> str:
        """The kind of extension; empty for the first HDU."""
        return self.text("XTENSION")

    @property
    def axes(self) -> list[int]:
        """NAXIS1, NAXIS2 and so on."""
        return [self.number(f"NAXIS{i + 1}") for i in range(self.number("NAXIS"))]

    @property
    def is_compressed(self) -> bool:
        """Whether it is a table that holds an image in tiles."""
        return self.extension in ("BINTABLE", "A3DTABLE") and self.cards.get("ZIMAGE") == "T"

    @property
    def is_table(self) -> bool:
        """Whether it is a table of rows."""
        return self.extension in ("BINTABLE", "TABLE", "A3DTABLE") and not self.is_compressed

    @property
    def image_axes(self) -> list[int]:
        """The lengths of the axes of the image it holds, the fastest first; none for a table."""
        if self.is_compressed:
            return [self.number(f"ZNAXIS{i + 1}") for i in range(self.number("ZNAXIS"))]
        return self.axes if self.extension in ("", "IMAGE", "IUEIMAGE") else []

    @property
    def data_bytes(self) -> int:
        """The size of its data, without the padding at the end."""
        # FITS standard 4.0, section 4.4.1.2; no axes at all means no data.
        axes = self.axes
        pixels = math.prod(axes) if axes else 0
        heap, groups = self.number("PCOUNT", 0), self.number("GCOUNT", 1)
        return abs(self.number("BITPIX")) * groups * (heap + pixels) // 8 if axes else 0

    @property
    def end(self) -> int:
        """Offset of the first byte after the data, padding left out."""
        return self.data_start + self.data_bytes


Wanted = Callable[[Hdu], bool]


def holds_image(hdu: Hdu) -> bool:
    """Return whether an HDU holds an image of two axes or more."""
    return len(hdu.image_axes) > 1


def holds_table(hdu: Hdu) -> bool:
    """Return whether an HDU holds a table of rows."""
    return hdu.is_table


def holds_plane(hdu: Hdu) -> bool:
    """Return whether an HDU holds an image whose axes after the first two have length 1."""
    axes = hdu.image_axes
    return len(axes) > 1 and math.prod(axes) == axes[0] * axes[1]


def is_gzip(path: Path) -> bool:
    """Return whether a file is packed with gzip."""
    with path.open("rb") as handle:
        return handle.read(2) == GZIP_MAGIC


def open_raw(path: Path) -> BufferedIOBase:
    """Open a file for reading its bytes, through gzip where the file is packed."""
    return gzip.open(path) if is_gzip(path) else path.open("rb")


def read_hdus(
    path: Path, wanted: Wanted | None = None, *, whole: bool = False, kind: type[AstroDistError] = ConfigError
) -> list[Hdu]:
    """Return the HDUs of a FITS file up to the first wanted one, checked; all of them without ``wanted``.

    Parameters
    ----------
    whole
        Astropy is to open the file itself (`fits_reader.open_checked`) and to read data whole: data whose
        size gzip hides are bounded.
    kind
        The error of a file that is at fault.

    Raises
    ------
    AstroDistError
        Of ``kind``, in one line without the path: the file is missing, not FITS, cut short, or has a header
        that FITS does not allow. `ConfigError` as well where no HDU is wanted.
    """
    try:
        check_regular(path, IMAGE_FOLDER)
        with open_bounded(path) as (handle, limit):
            hdus = list(walk_hdus(handle, limit, wanted, whole))
        # Without anything wanted a check of a whole file is under way, which reports a cut itself.
        for hdu in hdus if wanted is not None else ():
            check_fits_into(path, hdu, whole)
        parsed_whole = whole or wanted is None or hdus[-1].is_compressed
        check_cards(hdus if parsed_whole else hdus[-1:], parsed_whole)
        return hdus
    except ConfigError as error:
        raise kind(str(error)) from None
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise kind("its packed bytes break off or are damaged; fetch it again") from None


@contextlib.contextmanager
def open_bounded(path: Path) -> Iterator[tuple[BufferedIOBase, int | None]]:
    """Open a file; the limit on the bytes before a header is None where bytes can be skipped for nothing."""
    packed = is_gzip(path)
    if packed:
        check_gzip_name(path)
    with open_raw(path) as handle:
        if (start := handle.read(9)) != b"SIMPLE  =":
            raise ConfigError(remedy_for(start) or "not a FITS file; leave it out or give another")
        handle.seek(0)
        yield handle, PREFIX_BYTES if packed else None


def check_gzip_name(path: Path) -> None:
    """Refuse a gzip header without an end: Python looks for the end byte by byte."""
    with path.open("rb") as handle:
        head = handle.read(1 << 16)
    # RFC 1952: flag 4 is an extra field of given length; 8 and 16 are texts that end with a zero byte.
    fields, at = head[3:4], 10
    flags = fields[0] if fields else 0
    if flags & 4:
        at += 2 + int.from_bytes(head[at : at + 2], "little")
    for flag in (8, 16):
        if flags & flag:
            at = head.find(b"\0", at) + 1 or len(head) + 1
    if at > len(head):
        raise ConfigError("the gzip header of this file has no end; fetch it again")


def walk_hdus(handle: BufferedIOBase, limit: int | None, wanted: Wanted | None, whole: bool) -> Iterator[Hdu]:
    """Yield the HDUs of an open file up to the first wanted one, see `read_hdus`."""
    # One allowance for all headers together: each of 300 could otherwise take the most.
    start, found, left = 0, False, HEADER_BYTES
    for index in range(MOST_HDUS):
        if limit is not None and start > (PACKED_BYTES if whole else limit):
            raise ConfigError(
                f"more than {start >> 20} MB come before the data looked for; unpack it (gunzip)"
            )
        handle.seek(start)
        header = _read_header(handle, index, left)
        if not header:
            break
        left -= len(header)
        hdu = _parse(index, start, header)
        found = wanted is None or wanted(hdu)
        yield hdu
        if found and wanted is not None:
            return
        start = hdu.data_start + -(-hdu.data_bytes // BLOCK) * BLOCK
    else:
        raise ConfigError(f"more than {MOST_HDUS} HDUs; write the one that is meant to a file of its own")
    if not found:
        what = "table" if wanted is holds_table else "image of two axes" if wanted is holds_plane else "image"
        raise ConfigError(f"no {what} in this FITS file; leave it out or give another")


def _read_header(handle: BufferedIOBase, index: int, most: int) -> bytes:
    """Return the header at the handle's place, whole blocks; nothing at the end of the HDUs."""
    pieces: list[bytes] = []
    done = 0
    while done < most:
        # Small at first: inside gzip every byte is unpacked.
        piece = handle.read(20 * BLOCK if done else BLOCK)
        # Bytes that follow the last HDU and are no extension are allowed in FITS and end the walk.
        if not done and index and not piece.startswith(b"XTENSION"):
            return b""
        if not piece:
            raise ConfigError(f"the header of HDU {index} has no END, the file is cut short; fetch it again")
        for found in _END.finditer(piece):
            # Only at the start of a card: the text of a comment may hold the word.
            if found.start() % CARD == 0:
                pieces.append(piece[: (found.start() // BLOCK + 1) * BLOCK])
                return b"".join(pieces)
        pieces.append(piece)
        done += len(piece)
    raise ConfigError(f"no END within {HEADER_BYTES >> 20} MB of headers; fetch the file again")


def iterate_cards(header: bytes) -> Iterator[bytes]:
    """Yield the cards of a header, 80 bytes each, up to END."""
    for at in range(0, len(header), CARD):
        card = header[at : at + CARD]
        if _END.match(card):
            return
        yield card


def _parse(index: int, start: int, header: bytes) -> Hdu:
    found = {"XTENSION": _value(header[:CARD])} if index else {}
    for card in iterate_cards(header):
        if card[:8] in _COMMENTARY or b"=" not in card:
            continue
        if (axes := _AXES_OF_DISTORTION.match(card)) and int(axes[1]) > 9:
            raise ConfigError(f"{axes[1].decode()[:20]} axes of a distortion in its WCS; take that out")
        if not (match := _COUNTED.match(card)):
            continue
        key = match[1].decode().upper()
        if card[:10] != f"{key:<8}= ".encode():
            raise ConfigError(f"the card {key} of HDU {index} is not as FITS writes it; mend its header")
        # Two alike are harmless; of two that differ astropy may take the one that is not checked here.
        if found.setdefault(key, value := _value(card)) != value:
            raise ConfigError(f"HDU {index} has the card {key} twice and not alike; take one out")
    hdu = Hdu(index, start, header, start + len(header), found)
    _check_counts(hdu)
    return hdu


def _value(card: bytes) -> str:
    # latin-1 has a character for every byte, so that a garbled card raises nothing here.
    match = _VALUE.match(card, 10)
    return match[1].decode("latin-1") if match else ""


def _check_counts(hdu: Hdu) -> None:
    if not hdu.index and _value(hdu.header[:CARD]) != "T":
        raise ConfigError("SIMPLE is not T, so it does not follow the FITS standard; convert it")
    if hdu.number("BITPIX") not in BITPIX_SET:
        raise ConfigError(f"{hdu.named}: its BITPIX is impossible; fetch it again")
    for key in hdu.cards:
        # WCSAXESA and so on count the axes of further WCS.
        limit = LIMITS.get("WCSAXES" if key.startswith("WCSAXES") else key)
        if limit is None and _SIZES.fullmatch(key):
            limit = LARGEST
        if limit is not None and not 0 <= hdu.number(key) <= limit:
            raise ConfigError(f"{hdu.named}: its {key} of {hdu.number(key)} is impossible; fetch it again")
    if hdu.cards.get("GROUPS") == "T" and not hdu.index:
        raise ConfigError("it holds random groups (visibilities?) and no image; give an image")
    if hdu.extension in ("", "IMAGE", "BINTABLE", "TABLE") and hdu.number("GCOUNT", 1) != 1:
        raise ConfigError(f"{hdu.named}: its GCOUNT is not 1; fetch it again")
    if hdu.extension in ("BINTABLE", "TABLE") and (len(hdu.axes), hdu.number("BITPIX")) != (2, 8):
        raise ConfigError(f"{hdu.named}: a table has BITPIX 8 and two axes; fetch it again")
    if hdu.cards.get("ZIMAGE", "F") not in ("T", "F"):
        raise ConfigError(f"{hdu.named}: its ZIMAGE is neither T nor F; mend it")


def check_fits_into(path: Path, hdu: Hdu, whole: bool) -> None:
    """Refuse an HDU whose data end behind the end of the file, or are too large to unpack ``whole``."""
    size, packed = path.stat().st_size, is_gzip(path)
    if packed:
        if whole and hdu.data_bytes > PACKED_BYTES:
            raise ConfigError(f"more than {PACKED_BYTES >> 20} MB of data inside gzip; unpack it (gunzip)")
        # The size inside gzip shows only when all is unpacked; this is the most that it can be.
        size *= DEFLATE_RATIO
    if size < hdu.end:
        where = "are there" if not packed else "can be there at most"
        raise ConfigError(f"the file is cut short, {size} of {hdu.end} bytes {where}; fetch it again")


def lone_header(hdu: Hdu, whole: bool = False) -> bytes:
    """Return a FITS file of an HDU's header alone, for astropy; an extension follows an empty first HDU.

    Left out of one that is not ``whole`` are COMMENT and HISTORY, of which some maps have millions of lines.
    """
    cards = iterate_cards(hdu.header)
    kept = [_quoted(card) for card in cards if whole or card[:8] not in _COMMENTARY]
    header = b"".join((*kept, b"END".ljust(CARD)))
    return (EMPTY_HDU if hdu.index else b"") + header.ljust(-(-len(header) // BLOCK) * BLOCK)


def _quoted(card: bytes) -> bytes:
    """Return a card as all readers take it: NaN, INF and a unit without quotes as text, exponents with E."""
    if card[8:10] != b"= " or card[:8] in _COMMENTARY:
        return card
    card = _EXPONENT.sub(rb"\1E", card).ljust(CARD)
    if _READABLE.match(card, 10):
        return card
    text = card[10:].split(b" /")[0].strip().replace(b"'", b"''")[:66]
    return card[:10] + (b"'%s'" % text.ljust(8)).ljust(70)


def check_cards(hdus: list[Hdu], parsed_whole: bool) -> None:
    """Bound the cards of some HDUs that astropy will parse: all, or those that `lone_header` keeps."""
    cards = [card for hdu in hdus for card in iterate_cards(hdu.header)]
    if not parsed_whole:
        cards = [card for card in cards if card[:8] not in _COMMENTARY]
    continued = sum(card.startswith(b"CONTINUE") for card in cards)
    for count, most in ((len(cards), MOST_CARDS), (continued, MOST_CONTINUED)):
        if count > most:
            kind = "CONTINUE cards" if most == MOST_CONTINUED else "cards"
            raise ConfigError(f"{count} {kind} in its headers, more than {most}; shorten its HISTORY")


EMPTY_HDU = b"".join(
    card.ljust(CARD).encode()
    for card in (
        f"SIMPLE  = {'T':>20}",
        f"BITPIX  = {8:>20}",
        f"NAXIS   = {0:>20}",
        f"EXTEND  = {'T':>20}",
        "END",
    )
).ljust(BLOCK)
