"""Tiles hold the brightest pixel of each block to their stated error, in whatever order they are made."""

import base64
import json
import re
import zlib

import numpy as np
import pytest

from astro_dist.challenge import strips, tiles
from astro_dist.engine.files import tree_digests
from astro_dist.sky.windows import Window

SIGMA = 2e-5
SHAPE = (150, 201)


def unpack(path):
    """Return the numbers of a tile, as the page reads them."""
    name, height, width, data = json.loads("[" + re.fullmatch(r"tile\((.*)\)\n", path.read_text())[1] + "]")
    assert name == "/".join(path.with_suffix("").parts[-3:])
    low, high = np.frombuffer(zlib.decompress(base64.b64decode(data)), np.uint8).reshape(2, height, width)
    folded = low.astype(np.uint16) | high.astype(np.uint16) << 8
    steps = (folded >> 1) ^ (-(folded & 1)).astype(np.uint16)
    return np.cumsum(np.cumsum(steps, axis=0, dtype=np.uint16), axis=1, dtype=np.uint16).view(np.int16)


@pytest.fixture
def pixels():
    """Noise, a few sources of every brightness, and a part without data."""
    rng = np.random.default_rng(3)
    pixels = rng.normal(0, SIGMA, SHAPE).astype(np.float32)
    pixels.flat[rng.choice(pixels.size, 400)] = np.geomspace(1e-6, 3, 400) * rng.choice([-1, 1], 400)
    pixels[:20, :30] = np.nan
    return pixels


def make_tiles(folder, pixels, order=1):
    numbers = tiles.quantise(pixels, SIGMA)
    last = tiles.last_level(pixels.shape)
    for strip in [*strips.divide(pixels.shape).values()][::order]:
        tiles.write_strip(folder, strip, last, lambda window: numbers[window.slices])
    tiles.write_coarse(folder, pixels.shape, lambda window: numbers[window.slices])


def test_every_level_has_the_brightest_pixels_of_its_blocks(tmp_path, pixels, monkeypatch):
    monkeypatch.setattr(strips, "TILE_PIX", 16)
    make_tiles(tmp_path / "map", pixels)
    assert tiles.last_level(SHAPE) == 4
    found = {path.relative_to(tmp_path / "map").as_posix() for path in (tmp_path / "map").rglob("*.js")}
    for level in range(5):
        factor = 1 << level
        expected = np.full([-(-n // factor) for n in SHAPE], -np.inf)
        for (y, x), value in np.ndenumerate(pixels):
            if np.isfinite(value):
                expected[y // factor, x // factor] = max(expected[y // factor, x // factor], value)
        whole = np.full(expected.shape, np.nan)
        for y in range(0, whole.shape[0], 16):
            for x in range(0, whole.shape[1], 16):
                name = f"{level}/{y // 16:03d}-{x // 16:03d}.js"
                found.remove(name)
                tile = tiles.restore(unpack(tmp_path / "map" / name), SIGMA)
                assert tile.shape == whole[y : y + 16, x : x + 16].shape
                whole[y : y + 16, x : x + 16] = tile
        assert np.array_equal(np.isnan(whole), np.isinf(expected))
        seen = np.isfinite(whole)
        error = SIGMA / 8 * np.sqrt(1 + abs(expected[seen]) / (tiles.S * SIGMA))
        assert (abs(whole - expected)[seen] <= 1.02 * error).all()
    assert not found


def test_strips_are_apart_state_their_files_and_may_come_in_any_order(tmp_path, pixels, monkeypatch):
    monkeypatch.setattr(strips, "TILE_PIX", 16)
    for name, order in (("one/map", 1), ("two/map", -1)):
        make_tiles(tmp_path / name, pixels, order)
    digests = tree_digests(tmp_path / "one")
    assert tree_digests(tmp_path / "two") == digests
    stated = [
        path
        for strip in strips.divide(SHAPE).values()
        for pattern in tiles.strip_files(strip)
        for path in (tmp_path / "one/map").glob(pattern)
    ]
    assert len(stated) == len(set(stated))
    fine = {path for path in (tmp_path / "one/map").rglob("*.js") if int(path.parent.name) <= strips.FINE}
    assert set(stated) == fine


def test_labels_are_runs_and_empty_tiles_have_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(strips, "TILE_PIX", 16)
    labels = np.zeros((40, 33), np.int64)
    labels[3:7, 10:22] = tiles.KINDS * (2**31 - 1) + 2
    labels[20:22, 2:4] = 1
    rows = ((row, labels[16 * row : 16 * row + 16]) for row in range(3))
    tiles.write_labels(tmp_path / "labels", rows)
    again, n = np.zeros_like(labels), 0
    for path in sorted((tmp_path / "labels/0").iterdir()):
        _, height, width, data = json.loads("[" + path.read_text()[5:-2] + "]")
        row, column = (16 * int(part) for part in path.stem.split("-"))
        tile = [0] * (height * width)
        for start, length, number, kind in (
            np.frombuffer(zlib.decompress(base64.b64decode(data)), "<i4").reshape(4, -1).T
        ):
            tile[start : start + length] = [tiles.KINDS * int(number) + int(kind)] * int(length)
        again[row : row + height, column : column + width] = np.reshape(tile, (height, width))
        n += 1
    assert np.array_equal(again, labels)
    assert n == 3
    assert {path.name for path in (tmp_path / "labels/2").iterdir()} == {"000-000.js"}


def test_numbers_beyond_the_scale_are_its_end():
    numbers = tiles.quantise(np.array([[0, 1e9, -1e9, np.nan, np.inf]], np.float32), SIGMA)
    assert numbers.tolist() == [[0, tiles.BRIGHTEST, -tiles.BRIGHTEST, tiles.BLANK, tiles.BRIGHTEST]]
    assert strips.divide((1, 1)) == {"tiles_00": Window(0, 1, 0, 1)}
