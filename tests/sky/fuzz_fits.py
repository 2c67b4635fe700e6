"""Cases of hostile FITS files: ``python -m tests.sky.fuzz_fits headers|tiles SEED COUNT FOLDER``."""

import gzip
import io
import os
import random
import sys
import warnings
from collections.abc import Iterable, Iterator
from functools import cache, partial
from itertools import chain
from pathlib import Path

import numpy as np
from astropy.io import fits

from astro_dist.engine.errors import ConfigError, DataError, IntegrityError
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.fits_file import plane_wcs, radio_header, verify_fits
from astro_dist.sky.fits_headers import EMPTY_HDU
from astro_dist.sky.labels import Plane
from astro_dist.sky.maps import MapsConfig, SkyMap
from astro_dist.sky.user_files import read_columns, read_plane
from astro_dist.sky.windows import Window
from tests.fuzz import Case, report

SHAPE = 40, 50
VALUES = (
    *("0", "1", "2", "-1", "3", "8", "16", "-32", "64", "99", "100", "999", "1000", "9999", "32767", "65536"),
    *("2147483647", "2147483648", "4294967296", "-2147483648", "9223372036854775807", "9223372036854775808"),
    *("-9223372036854775808", "1" + "0" * 40, "T", "F", "'T'", "''", "'x'", "1.5", "1E3", "1E308", "-1E-300"),
    *("NaN", "INF", "(1,2)", "", "'10000000J'", "'1QB(999999999)'", "'1PJ(4294967296)'", "'I99999'", "2.0"),
)
CARDS = (
    *("SIMPLE", "XTENSION", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "NAXIS3", "NAXIS999", "EXTEND", "PCOUNT"),
    *("GCOUNT", "GROUPS", "BLOCKED", "BSCALE", "BZERO", "BLANK", "BUNIT", "BMAJ", "BMIN", "BPA", "CTYPE1"),
    *("CTYPE2", "CTYPE3", "CRVAL1", "CRPIX1", "CDELT1", "CDELT2", "CUNIT1", "PC1_2", "CD1_1", "CROTA2"),
    *("WCSAXES", "WCSAXESA", "WCSNAME", "RADESYS", "EQUINOX", "LONPOLE", "LATPOLE", "PV2_1", "PV2_99"),
    *("A_ORDER", "B_ORDER", "AP_ORDER", "BP_ORDER", "CPDIS1", "DP1", "D2IMDIS1", "PS1_0", "RESTFRQ"),
    *("DATE-OBS", "MJD-OBS", "OBSGEO-X", "VELREF", "TFIELDS", "TFORM1", "TDIM1", "THEAP", "ZIMAGE"),
    *("DATASUM", "CHECKSUM", "LONGSTRN", "INHERIT", "HIERARCH NAXIS", "naxis", "CONTINUE", "END"),
)
TILE_CARDS = (
    *("BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "PCOUNT", "GCOUNT", "TFIELDS", "TTYPE1", "TFORM1", "TTYPE2"),
    *("TFORM2", "TTYPE3", "TFORM3", "TDIM1", "THEAP", "TSCAL1", "TNULL1", "ZIMAGE", "ZSIMPLE", "ZTENSION"),
    *("ZBITPIX", "ZNAXIS", "ZNAXIS1", "ZNAXIS2", "ZNAXIS3", "ZTILE1", "ZTILE2", "ZCMPTYPE", "ZNAME1"),
    *("ZVAL1", "ZNAME2", "ZVAL2", "ZNAME3", "ZVAL3", "ZQUANTIZ", "ZDITHER0", "ZBLANK", "ZSCALE", "ZZERO"),
    *("ZMASKCMP", "ZPCOUNT", "ZGCOUNT", "ZEXTEND", "BSCALE", "BLANK"),
)
CODECS = ("RICE_1", "GZIP_1", "GZIP_2", "NOCOMPRESS", "HCOMPRESS_1", "PLIO_1", "RICE_ONE", "XYZ")


def card(key: str, value: str) -> bytes:
    """Return a card of 80 bytes with any value."""
    return f"{key:<8}= {value:>20}".encode()[:80].ljust(80)


def padded(cards: list[bytes]) -> bytes:
    """Return cards and their padding as a header."""
    header = b"".join(cards)
    return header.ljust(-(-len(header) // 2880) * 2880)


def split(content: bytes, start: int = 0) -> tuple[list[bytes], bytes]:
    """Return the cards of the header at ``start``, END included, and what follows the header."""
    end = next(i for i in range(start, len(content), 80) if content[i : i + 8] == b"END     ")
    cards = [content[i : i + 80] for i in range(start, end + 80, 80)]
    return cards, content[start + -(-(end + 80 - start) // 2880) * 2880 :]


def make_map() -> bytes:
    """Return a small map."""
    header = radio_header(SHAPE, plane_wcs(SHAPE, Pixel(2, 2), 40.0, -35.0), Beam(8, 8), 1.4e9)
    image = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    file = io.BytesIO()
    fits.PrimaryHDU(image, header).writeto(file)
    return file.getvalue()


def make_tiles(codec: str, rng: random.Random) -> bytes:
    """Return a small tile-compressed map."""
    header = radio_header(SHAPE, plane_wcs(SHAPE, Pixel(2, 2), 40.0, -35.0), Beam(8, 8), 1.4e9)
    image = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    if codec == "PLIO_1":
        image = np.arange(2000).reshape(SHAPE).astype(np.int16)
    options = {"quantize_level": rng.choice([0, 16])} if codec != "PLIO_1" else {}
    if codec in ("RICE_1", "HCOMPRESS_1", "RICE_ONE"):
        options = {"quantize_level": 16, "quantize_method": rng.choice([-1, 1, 2])}
    if codec == "HCOMPRESS_1":
        options["tile_shape"] = (20, 25)
    hdu = fits.CompImageHDU(image, header, compression_type=codec if codec != "XYZ" else "RICE_1", **options)
    file = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(file)
    return file.getvalue()


def mutate(cards: list[bytes], keys: tuple[str, ...], rng: random.Random) -> list[bytes]:
    """Return a header with one to three lies."""
    cards = list(cards)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        key = rng.choice(keys)
        new = card(key, rng.choice(VALUES))
        place = next((i for i, old in enumerate(cards) if old[:8] == new[:8]), None)
        act = rng.random()
        if act < 0.7 and place is not None:
            cards[place] = new
        elif act < 0.8 and place is not None:
            del cards[place]
        elif act < 0.9:
            cards.insert(rng.randrange(len(cards)), new)
        elif act < 0.95:
            cards.insert(-1, bytes(rng.randrange(256) for _ in range(80)))
        else:
            i, j = rng.randrange(len(cards)), rng.randrange(len(cards))
            cards[i], cards[j] = cards[j], cards[i]
    return cards


def use(path: Path) -> None:
    """Do with a file what a run does with label images, density images, catalogues and, at last, maps."""
    for act in (_use_plane, read_plane, _use_table, verify_fits):
        try:
            act(path)
        except (ConfigError, DataError, IntegrityError) as error:
            if "\n" in str(error):
                raise ValueError(f"not one line: {error}") from None
    _use_map(path)


def _use_map(path: Path) -> None:
    sky_map = SkyMap.open(path, MapsConfig())
    ny, nx = sky_map.shape
    sky_map.read(Window(0, min(ny, 64), 0, min(nx, 64)))
    sky_map.sky_of([0, ny / 2], [0, nx / 2])


def _use_plane(path: Path) -> None:
    plane = Plane.open(path, 1)
    ny, nx = plane.shape
    plane.read(Window(max(0, ny - 64), ny, max(0, nx - 64), nx))


def _use_table(path: Path) -> None:
    read_columns(path, ("flux_jy",))


def make_cases(folder: Path, files: Iterable[tuple[str, bytes]]) -> Iterator[Case]:
    """Yield one case for each hostile file."""
    path = folder / "m.fits"
    for name, content in files:
        path.write_bytes(content)
        yield name, partial(use, path)


def lying_header(seed: int, number: int) -> tuple[str, bytes]:
    """Return the name and the bytes of a map with a lying header."""
    rng = random.Random(f"{seed} {number}")
    cards, data = split(make_map())
    cards = mutate(cards, CARDS, rng)
    content = padded(cards) + data
    if rng.random() < 0.1:
        content = gzip.compress(content, 1)
    return f"header {number}", content


def lying_tiles(seed: int, number: int) -> tuple[str, bytes]:
    """Return the name and the bytes of a tile-compressed map with lies in its header or its tiles."""
    rng = random.Random(f"{seed} {number}")
    codec = CODECS[number % len(CODECS)] if rng.random() < 0.3 else rng.choice(CODECS[:4])
    content = make_tiles(codec, rng)
    cards, data = split(content, 2880)
    if codec == "XYZ":
        cards = [card("ZCMPTYPE", "'XYZ'") if c.startswith(b"ZCMPTYPE") else c for c in cards]
    if rng.random() < 0.7:
        cards = mutate(cards, TILE_CARDS, rng)
    tiles = bytearray(data)
    for _ in range(rng.choice([0, 1, 5, 50])):
        tiles[rng.randrange(len(tiles))] = rng.choice([0, 255, 127, 128, rng.randrange(256)])
    return f"tiles {number} {codec}", content[:2880] + padded(cards) + bytes(tiles)


def _map_cards(**changes: str) -> list[bytes]:
    """Return the cards of a small map, with some changed or added before END."""
    cards, _ = split(make_map())
    kept = [old for old in cards[:-1] if old[:8].decode().strip() not in changes]
    # Before END, apart from the mandatory ones, whose order astropy wants.
    new = {key: card(key, value) for key, value in changes.items()}
    first = [new.pop(old[:8].decode().strip(), old) for old in cards[:5]]
    return [*first, *[old for old in kept if old not in cards[:5]], *new.values(), cards[-1]]


def _packed_zeros(n_mb: int) -> bytes:
    return _sixteen_mb() * (n_mb // 16)


@cache
def _sixteen_mb() -> bytes:
    return gzip.compress(bytes(1 << 24))


def _table(axes: tuple[int, int], *cards: bytes, fields: int = 1) -> bytes:
    first = ("XTENSION", "'BINTABLE'"), ("BITPIX", "8"), ("NAXIS", "2"), ("NAXIS1", str(axes[0]))
    last = ("NAXIS2", str(axes[1])), ("PCOUNT", "0"), ("GCOUNT", "1"), ("TFIELDS", str(fields))
    return EMPTY_HDU + padded([*(card(*pair) for pair in (*first, *last)), *cards, b"END".ljust(80)])


def make_bombs() -> Iterator[tuple[str, bytes]]:
    """Yield small files that would take hours or all memory, and some large but honest ones."""
    data = split(make_map())[1]
    for key, values in {
        "NAXIS": ("9223372036854775807", "1000", "-1", "1E3"),
        "NAXIS2": ("9223372036854775807", "4294967296", "-40"),
        "BITPIX": ("31", "-2147483648"),
        "PCOUNT": ("9223372036854775807", "-1"),
        "GCOUNT": ("9223372036854775807", "0"),
        "A_ORDER": ("20000",),
        "WCSAXES": ("2147483647", "30000"),
        "GROUPS": ("T",),
    }.items():
        for value in values:
            yield f"bad {key} {value}", padded(_map_cards(**{key: value})) + data
    yield "bad DP1", padded(_map_cards(CPDIS1="'TPD'", DP1="'NAXES: 2000000000'")) + data
    yield "bad END", make_map().replace(b"END     ", b"ENDE    ", 1)[:2880] * 20_000
    lines = [f"HISTORY line {i}".encode().ljust(80) for i in range(200_000)]
    cards = _map_cards()
    many = [card(f"K{i:07}", "1") for i in range(50_000)]
    yield "good HISTORY", padded([*cards[:-1], *lines, cards[-1]]) + data
    yield (
        "good cards",
        padded([*cards[:-1], *many[:10_000], cards[-1]]) + data,
    )
    yield (
        "bad cards",
        padded([*cards[:-1], *many, cards[-1]]) + data,
    )
    long = [card("LONG", "'abc&'"), *(b"CONTINUE  'xxxxxx&'".ljust(80) for _ in range(3_900))]
    yield "good CONTINUE", padded([*cards[:-1], *long, cards[-1]]) + data
    yield "bad CONTINUE", padded([*cards[:-1], *long * 3, cards[-1]]) + data
    axes = {"NAXIS": "999"} | {f"NAXIS{i}": "1" for i in range(3, 1000)}
    yield "good 999 axes", padded(_map_cards(**axes)) + data
    yield (
        "bad 20000 HDUs",
        EMPTY_HDU + padded([card("XTENSION", "'FOREIGN'"), *split(EMPTY_HDU)[0][1:]]) * 20_000,
    )
    yield "bad gzip header", gzip.compress(padded(_map_cards())[:1600]) + _packed_zeros(256)
    yield "bad gzip name", b"\x1f\x8b\x08\x08" + bytes(6) + b"x" * (1 << 25)
    yield "bad gzip of gzip", gzip.compress(gzip.compress(make_map()))
    one_axis = [("SIMPLE", "T"), ("BITPIX", "8"), ("NAXIS", "1"), ("NAXIS1", str(1 << 32))]
    prefix = padded([*(card(*pair) for pair in one_axis), cards[-1]])
    yield "bad gzip prefix", gzip.compress(prefix) + _packed_zeros(4096)
    huge = _map_cards(NAXIS1="100000", NAXIS2="100000")
    yield "bad gzip size", gzip.compress(padded(huge)) + _packed_zeros(16)
    yield "bad size", padded(huge) + data
    yield "good gzip", gzip.compress(make_map())
    yield "bad table rows", _table((4, 1 << 40), card("TFORM1", "'1J'"), card("TTYPE1", "'FLUX_JY'"))
    yield (
        "bad gzip table",
        gzip.compress(_table((4, 1 << 28), card("TFORM1", "'1J'"), card("TTYPE1", "'FLUX_JY'")))
        + _packed_zeros(1024),
    )
    yield "bad TFORM", _table((4, 1), card("TFORM1", "'999999999J'")) + bytes(2880)
    yield "bad TDIM", _table((4, 1), card("TFORM1", "'1J'"), card("TDIM1", "'(99999,99999)'")) + bytes(2880)
    yield from _make_tile_bombs()


def _make_tile_bombs() -> Iterator[tuple[str, bytes]]:
    rng = random.Random(1)
    for codec in ("HCOMPRESS_1", "PLIO_1"):
        yield f"bad {codec}", make_tiles(codec, rng)
    for key, value in {
        **{"TFIELDS": "4294967296", "ZNAXIS": "999", "ZTILE1": "0", "ZTILE2": "2147483647", "ZVAL1": "0"},
        **{"ZNAXIS1": "2147483647", "THEAP": "4611686018427387903", "ZDITHER0": "0", "ZVAL2": "8"},
    }.items():
        content = make_tiles("RICE_1", random.Random(4))
        cards, data = split(content, 2880)
        cards = [old for old in cards[:-1] if old[:8] != f"{key:<8}".encode()] + [card(key, value), cards[-1]]
        yield f"bad tile {key} {value}", content[:2880] + padded(cards) + data
    image = np.zeros((2000, 2000), np.float32)
    file = io.BytesIO()
    options = {"compression_type": "GZIP_1", "quantize_level": 0, "tile_shape": image.shape}
    header = radio_header(image.shape, plane_wcs(image.shape, Pixel(2, 2), 40.0, -35.0), Beam(8, 8), 1.4e9)
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(image, header, **options)]).writeto(file)
    cards, _ = split(file.getvalue(), 2880)
    yield "good large tile", file.getvalue()
    bomb = _packed_zeros(2048)
    cards = [card("PCOUNT", str(len(bomb))) if old[:8] == b"PCOUNT  " else old for old in cards]
    place = np.array([len(bomb), 0], ">i4" if b"1PB" in b"".join(cards) else ">i8").tobytes()
    yield "bad tile bomb", EMPTY_HDU + padded(cards) + place + bomb.ljust(-(-len(bomb) // 2880) * 2880)


def make_files(folder: Path) -> Iterator[Case]:
    """Yield what is no regular file, and links."""
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to("loop")
    (folder / "real.fits").write_bytes(make_map())
    (folder / "good link").symlink_to("real.fits")
    for name in ("zero", "random", "tty"):
        (folder / name).symlink_to(f"/dev/{name}")
    (folder / "core").symlink_to("/proc/kcore")
    (folder / "memory").symlink_to("/proc/self/mem")
    for name in ("pipe", "loop", "zero", "random", "tty", "core", "memory", "absent", "."):
        yield f"bad {name}", partial(use, folder / name)
    yield "good link", partial(use, folder / "good link")


def main(kind: str, seed: int, count: int, folder: Path) -> None:
    """Run the cases of one kind."""
    warnings.simplefilter("ignore")
    # Once before the limits are set, so that what astropy imports late is no part of a case.
    (folder / "m.fits").write_bytes(make_map())
    use(folder / "m.fits")
    if kind == "bombs":
        report(chain(make_cases(folder, make_bombs()), make_files(folder)))
    else:
        make = {"headers": lying_header, "tiles": lying_tiles}[kind]
        report(make_cases(folder, (make(seed, number) for number in range(count))))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
