"""Foreign FITS files: refused in one line, soon and in little memory, or read."""

import random
from collections import Counter

import pytest

from astro_dist.engine.errors import ConfigError, IntegrityError
from astro_dist.sky.fits_headers import holds_image, holds_table, lone_header, read_hdus
from astro_dist.sky.fits_reader import find_image
from astro_dist.sky.fits_survey import beam_lines
from tests.fuzz import run_cases
from tests.sky.fuzz_fits import make_map, make_tiles, padded, split

FUZZ = "tests.sky.fuzz_fits"


@pytest.mark.parametrize("count", [200, pytest.param(2000, marks=pytest.mark.soak)])
def test_lying_headers_are_refused_or_read(tmp_path, count):
    ended = Counter(run_cases(FUZZ, "headers", 1, count, tmp_path).values())
    assert set(ended) <= {"ConfigError", "DataError", "IntegrityError", "read"}
    assert ended["read"] > count / 4


@pytest.mark.parametrize("count", [40, pytest.param(200, marks=pytest.mark.soak)])
def test_lying_tiles_are_refused_or_read(tmp_path, count):
    ended = Counter(run_cases(FUZZ, "tiles", 1, count, tmp_path).values())
    assert set(ended) <= {"ConfigError", "DataError", "read"}


def test_bombs_and_endless_files_are_refused_and_large_honest_ones_read(tmp_path):
    ended = run_cases(FUZZ, "bombs", 0, 0, tmp_path)
    wrong = [name for name, how in ended.items() if (how == "read") is not name.startswith("good")]
    assert wrong == []


def test_a_refusal_is_of_the_kind_that_is_asked_for(tmp_path):
    path = tmp_path / "m.fits"
    path.write_bytes(make_map().replace(b"                  -32", b"                  -33", 1))
    for kind in (ConfigError, IntegrityError):
        with pytest.raises(kind, match="BITPIX is impossible"):
            read_hdus(path, holds_image, kind=kind)
    path.write_bytes(make_map())
    with pytest.raises(ConfigError, match="no table"):
        read_hdus(path, holds_table)


def test_history_is_left_out_and_the_beam_in_it_found(tmp_path):
    cards, data = split(make_map())
    beam = b"HISTORY AIPS   CLEAN BMAJ=  1.2500E-03 BMIN=  1.2500E-03 BPA=   0.00".ljust(80)
    (tmp_path / "m.fits").write_bytes(
        padded([*cards[:-1], b"HISTORY long ago".ljust(80), b"COMMENT ".ljust(80), beam, cards[-1]]) + data
    )
    header, layout = find_image(tmp_path / "m.fits")
    assert "HISTORY" not in header
    assert "COMMENT" not in header
    assert beam_lines(read_hdus(tmp_path / "m.fits", holds_image)[-1]) == [beam.decode()[8:].strip()]
    assert layout.extent.data_start == len(padded([b" " * 80] * (len(cards) + 3)))
    assert lone_header(read_hdus(tmp_path / "m.fits", holds_image)[-1]).endswith(b" ")


@pytest.mark.parametrize("codec", ["HCOMPRESS_1", "PLIO_1"])
def test_codecs_that_cannot_be_trusted_are_named_with_a_remedy(tmp_path, codec):
    (tmp_path / "m.fits.fz").write_bytes(make_tiles(codec, random.Random(1)))
    with pytest.raises(ConfigError, match=rf"packed with {codec}.*funpack.*fpack -g or fpack -r"):
        find_image(tmp_path / "m.fits.fz")
