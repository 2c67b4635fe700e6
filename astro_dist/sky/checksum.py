"""The FITS checksum: ones-complement sums that can be taken piece by piece and added up."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BufferedIOBase
from typing import Any

import numpy as np

# A multiple of 4, so that pieces are whole words.
READ_BYTES = 1 << 24
SUM_WORDS = 1 << 20


@dataclass(frozen=True)
class Extent:
    """The bytes of one HDU of a FITS file and the sums in its header, where there are any."""

    header_start: int
    data_start: int
    data_bytes: int
    datasum: int | None
    has_checksum: bool

    @classmethod
    def of(cls, hdu: Any) -> "Extent":
        """Return the extent of an HDU, which astropy must have opened with tile compression left visible."""
        place = hdu.fileinfo()
        return cls.stated(hdu.header, place["hdrLoc"], place["datLoc"], hdu.size)

    @classmethod
    def stated(
        cls, header: Mapping[str, Any], header_start: int, data_start: int, data_bytes: int
    ) -> "Extent":
        """Return the extent of an HDU whose place is found; the sums are those of its header."""
        datasum = str(header.get("DATASUM", "")).strip()
        return cls(
            header_start=header_start,
            data_start=data_start,
            data_bytes=data_bytes,
            datasum=int(datasum) if datasum else None,
            has_checksum=bool(str(header.get("CHECKSUM", "")).strip()),
        )

    @property
    def end(self) -> int:
        """Offset of the first byte after the data, padding left out."""
        return self.data_start + self.data_bytes

    def wrong_card(self, handle: BufferedIOBase) -> str:
        """Return the name of the card, DATASUM or CHECKSUM, that the bytes contradict, or empty text.

        The HDU is read once, in pieces.
        """
        if self.datasum is None and not self.has_checksum:
            return ""
        handle.seek(self.header_start)
        # CHECKSUM is chosen so that header and data, that card included, sum to zero.
        head = sum32(handle.read(self.data_start - self.header_start))
        data = 0
        for piece in read_pieces(handle, self.data_bytes):
            data = fold32(data + sum32(piece))
        # In ones-complement arithmetic 0 and 0xFFFFFFFF are the same number.
        if self.datasum is not None and (data - self.datasum) % 0xFFFFFFFF:
            return "DATASUM"
        return "CHECKSUM" if self.has_checksum and (head + data) % 0xFFFFFFFF else ""


def sum32(data: bytes | memoryview, phase: int = 0) -> int:
    """Return the ones-complement sum of big-endian 32-bit words, FITS standard 4.0 section 4.4.2.7.

    ``phase`` is the offset of the first byte within its word (0 to 3): sums of adjoining pieces, each
    taken with its own phase, add up with `fold32` to the sum of the whole.
    """
    # Zeros complete the first and the last word: zeros add nothing to the sum.
    head = bytes(phase) + bytes(data[: 4 - phase])
    body = data[4 - phase :]
    whole = len(body) - len(body) % 4
    tail = bytes(body[whole:])
    ends = np.frombuffer(head + bytes(-len(head) % 4) + tail + bytes(-len(tail) % 4), ">u4")
    words = np.frombuffer(body[:whole], ">u4")
    # Native copies of a few MB at a time: numpy sums them faster than big-endian views.
    pieces = (
        words[i : i + SUM_WORDS].astype("<u4").sum(dtype=np.uint64) for i in range(0, len(words), SUM_WORDS)
    )
    return fold32(int(ends.sum(dtype=np.uint64)) + sum(map(int, pieces)))


def fold32(total: int) -> int:
    """Bring the carries of a sum of 32-bit words back in."""
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total


def encode_checksum(total: int) -> str:
    """Return the 16 letters and digits of a CHECKSUM card that bring an HDU of sum ``total`` to zero.

    FITS standard 4.0, appendix J: each byte of the complement is split into four characters that avoid
    punctuation, and the text is turned by one because it starts at the last byte of a word.
    """
    excluded = {*range(0x3A, 0x41), *range(0x5B, 0x61)}
    characters = [0] * 16
    for i, byte in enumerate((~total & 0xFFFFFFFF).to_bytes(4, "big")):
        quarter = [byte // 4 + 0x30 + (byte % 4 if j == 0 else 0) for j in range(4)]
        while excluded & set(quarter):
            # Moving 1 from one character of a pair to the other keeps the sum of the four.
            for j in (0, 2):
                if {quarter[j], quarter[j + 1]} & excluded:
                    quarter[j] += 1
                    quarter[j + 1] -= 1
        for j in range(4):
            characters[4 * j + i] = quarter[j]
    return bytes([characters[-1], *characters[:-1]]).decode("ascii")


def read_pieces(handle: BufferedIOBase, n_bytes: int) -> Iterator[bytes]:
    """Yield the next ``n_bytes`` of a file, fewer when it ends before, in pieces of whole words."""
    while n_bytes > 0 and (piece := handle.read(min(n_bytes, READ_BYTES))):
        n_bytes -= len(piece)
        yield piece
