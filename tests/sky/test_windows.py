import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astro_dist.engine.errors import ConfigError
from astro_dist.sky.windows import Window, bands, tile_map

edges = st.tuples(st.integers(-20, 20), st.integers(1, 15))
windows = st.builds(lambda y, x: Window(y[0], y[0] + y[1], x[0], x[0] + x[1]), edges, edges)


@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 30), st.integers(1, 30))
def test_tiles_cover_every_pixel_and_stay_inside(ny, nx, size, stride):
    size, stride = min(size, ny, nx), min(stride, size, ny, nx)
    tiles = tile_map((ny, nx), size, stride)
    count = np.zeros((ny, nx), int)
    for tile in tiles:
        assert tile & Window(0, ny, 0, nx) == tile
        assert tile.shape == (size, size)
        count[tile.slices] += 1
    assert count.min() >= 1
    assert len(set(tiles)) == len(tiles)
    assert tiles == sorted(tiles)
    if ny % size == nx % size == 0 and stride == size:
        assert count.max() == 1


@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 80))
def test_bands_partition_the_rows(ny, nx, height):
    cut = bands((ny, nx), height)
    rows = [y for band in cut for y in range(band.y0, band.y1)]
    assert rows == list(range(ny))
    assert all(band.width == nx and band.height <= height for band in cut)


def test_a_map_smaller_than_a_window_is_refused_with_both_sizes():
    with pytest.raises(ConfigError, match=r"100 x 300 .* 128 x 128"):
        tile_map((100, 300), 128, 64)


@pytest.mark.parametrize("stride", [0, 129])
def test_a_stride_that_leaves_gaps_is_refused(stride):
    with pytest.raises(ConfigError, match="stride"):
        tile_map((300, 300), 128, stride)


@given(windows, windows)
def test_overlap_is_the_set_of_common_pixels(a, b):
    plane = np.zeros((2, 80, 80), bool)
    for layer, window in zip(plane, (a, b), strict=True):
        layer[window.shifted(30, 30).slices] = True
    both = a & b
    common = plane.all(axis=0)
    assert both == (b & a)
    if both is None:
        assert not common.any()
        return
    assert common[both.shifted(30, 30).slices].all()
    assert common.sum() == both.height * both.width


@given(windows, windows)
def test_within_finds_the_same_pixels_in_a_piece(a, b):
    overlap = a & b
    if overlap is None:
        return
    plane = np.arange(6400).reshape(80, 80)
    piece = plane[b.shifted(30, 30).slices]
    assert np.array_equal(piece[overlap.within(b)], plane[overlap.shifted(30, 30).slices])


def test_within_refuses_a_window_that_sticks_out():
    with pytest.raises(ValueError, match="not inside"):
        Window(0, 5, 0, 5).within(Window(1, 9, 0, 9))


def test_shape_centre_and_growth():
    window = Window(2, 7, 10, 14)
    assert window.shape == (5, 4)
    assert window.centre == (4.0, 11.5)
    assert window.grown(2) == Window(0, 9, 8, 16)
    assert window.grown(2).grown(-2) == window
    assert Window.of_shape((5, 4)).shape == window.shape


def test_an_empty_window_cannot_be_made():
    with pytest.raises(ValueError, match="empty"):
        Window(3, 3, 0, 1)
    with pytest.raises(ValueError, match="empty"):
        Window(0, 4, 0, 4).grown(-2)
