import io
from itertools import pairwise

import numpy as np
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from astro_dist.sky.checksum import encode_checksum, fold32, read_pieces, sum32


@given(st.binary(max_size=60), st.integers(0, 3))
def test_the_sum_is_that_of_big_endian_words(data, phase):
    padded = bytes(phase) + data
    padded += bytes(-len(padded) % 4)
    words = [int.from_bytes(padded[i : i + 4], "big") for i in range(0, len(padded), 4)]
    assert sum32(data, phase) == fold32(sum(words))


@given(st.binary(min_size=1, max_size=200), st.lists(st.integers(0, 200), max_size=5))
def test_sums_of_pieces_add_up(data, cuts):
    edges = sorted({0, len(data), *(c for c in cuts if c < len(data))})
    pieces = [(data[a:b], a % 4) for a, b in pairwise(edges)]
    assert fold32(sum(sum32(*piece) for piece in pieces)) == sum32(data)


@given(st.integers(0, 2**32 - 1))
def test_the_code_brings_any_sum_to_zero_without_punctuation(total):
    code = encode_checksum(total)
    assert len(code) == 16
    assert code.isalnum()
    # In a header the text begins one byte before a word, after the quote, and replaces sixteen zeros.
    added = fold32(sum32(code.encode(), 3) + (0xFFFFFFFF - sum32(b"0" * 16, 3)))
    assert fold32(total + added) in (0, 0xFFFFFFFF)


@given(st.integers(0, 2**32 - 1))
def test_the_code_is_astropys(total):
    assert encode_checksum(total) == fits.PrimaryHDU()._char_encode(np.uint32(~total & 0xFFFFFFFF))


def test_pieces_are_all_that_is_asked_for_and_no_more():
    handle = io.BytesIO(bytes(range(100)))
    assert b"".join(read_pieces(handle, 60)) == bytes(range(60))
    assert b"".join(read_pieces(handle, 60)) == bytes(range(60, 100))
