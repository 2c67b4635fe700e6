from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astro_dist.sky.beams import Pixel
from astro_dist.sky.fits_file import plane_wcs
from astro_dist.sky.maps import MapsConfig, SkyMap
from astro_dist.store.splits import (
    GUARD,
    TEST,
    TRAIN,
    VALIDATION,
    Footprints,
    assign_splits,
    touch,
    touches_any,
)

SUMSS = Path(__file__).parents[2] / "../shared/data/sumss"
SIZE = 32
CORNERS = np.array([(0, 0), (0, 1), (1, 1), (1, 0)]) * SIZE - 0.5


def outline(wcs, origins, size=SIZE):
    y, x = (origins[:, None, axis] + CORNERS[:, axis] / SIZE * size for axis in (0, 1))
    return Footprints.of_corners(*wcs.pixel_to_world_values(x, y))


def join(parts):
    return Footprints(
        *(np.concatenate([getattr(p, k) for p in parts]) for k in ("corners", "centres", "radii"))
    )


def split_of(maps, fractions=(0.8, 0.1, 0.1), block=128, seed=0):
    """Split windows of maps given as (wcs, origins)."""
    index = np.concatenate([np.full(len(origins), i) for i, (_, origins) in enumerate(maps)])
    centres = np.concatenate([origins for _, origins in maps]) + SIZE // 2
    outlines = join([outline(*one) for one in maps])
    return assign_splits(index, centres, outlines, fractions, block, 2 * SIZE, np.random.default_rng(seed))


def tiles(ny, nx, stride=SIZE):
    y, x = np.mgrid[0 : ny - SIZE + 1 : stride, 0 : nx - SIZE + 1 : stride]
    return np.column_stack([y.ravel(), x.ravel()])


def plane(shape, ra=40.0, dec=-70.0, dy=4.0, dx=4.0):
    return plane_wcs(shape, Pixel(dy, dx), ra, dec)


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 99),
    shift=st.tuples(st.floats(-0.5, 0.5), st.floats(-0.4, 0.4)),
    scale=st.floats(0.5, 2.0),
    dec=st.floats(-85, 85),
    jitter=st.booleans(),
)
def test_no_sky_position_is_in_two_splits(seed, shift, scale, dec, jitter):
    """Brute force: each of many random positions is compared with all windows of all maps."""
    rng = np.random.default_rng(seed)
    shape = (400, 480)
    wcss = [plane(shape, dec=dec)]
    wcss.append(plane(shape, 40 + shift[0] / np.cos(np.radians(dec)), dec + shift[1], 4 * scale, 5 * scale))
    wcss.append(plane(shape, 40.3, dec, 3.0, 3.5))
    maps = []
    for wcs in wcss:
        origins = rng.integers(0, (400 - SIZE, 480 - SIZE), (150, 2)) if jitter else tiles(*shape)
        maps.append((wcs, origins))
    split = split_of(maps, (0.6, 0.2, 0.2), seed=seed)
    ra, dec_deg = wcss[0].pixel_to_world_values(rng.uniform(-50, 530, 4000), rng.uniform(-50, 450, 4000))
    assert_parted(maps, split, ra, dec_deg)


def assert_parted(maps, split, ra, dec):
    """Check that each position of the sky is in windows of one split at most."""
    held = np.zeros((3, len(ra)), bool)
    parts = np.split(split, np.cumsum([len(origins) for _, origins in maps])[:-1])
    for (wcs, origins), of_map in zip(maps, parts, strict=True):
        x, y = wcs.world_to_pixel_values(ra, dec)
        middle = origins + SIZE / 2 - 0.5
        inside = np.maximum(abs(y - middle[:, :1]), abs(x - middle[:, 1:])) <= SIZE / 2
        for k in range(3):
            held[k] |= inside[of_map == k].any(axis=0)
    assert held.any(axis=1).sum() >= 2
    assert held.sum(axis=0).max() <= 1


@pytest.mark.skipif(not SUMSS.is_dir(), reason="the SUMSS maps are not there")
def test_neighbours_of_a_real_survey_that_overlap_share_no_sky():
    opened = [SkyMap.open(path, MapsConfig(), verify=False) for path in sorted(SUMSS.glob("*.fz"))[:4]]
    maps = [(one.wcs, tiles(*one.shape)) for one in opened]
    split = split_of(maps, block=512)
    assert (np.bincount(split, minlength=4) > 50).all()
    rng = np.random.default_rng(0)
    ra, dec = (np.degrees(rng.uniform(*ends, 5000)) for ends in np.radians([(42.0, 60.0), (-42.0, -30.0)]))
    assert_parted(maps, split, ra, dec)


def test_touching_is_what_the_pixel_grid_says_within_a_map():
    rng = np.random.default_rng(1)
    origins = rng.integers(0, 150, (120, 2))
    outlines = outline(plane((200, 200)), origins)
    a, b = (index.ravel() for index in np.mgrid[: len(origins), : len(origins)])
    gap = np.abs(origins[a] - origins[b]).max(axis=1) - SIZE
    found = touch(outlines[a], outlines[b])
    np.testing.assert_array_equal(found, gap <= 0)
    alone = outlines[np.array([0])]
    np.testing.assert_array_equal(touches_any(outlines, alone), found[b == 0])


@pytest.mark.parametrize("dec", [0.0, 60.0, 89.9, -89.99])
def test_windows_of_other_sizes_and_near_the_poles_touch_too(dec):
    small = outline(plane((64, 64), 359.99, dec), np.array([[16, 16]]))
    large = outline(plane((640, 640), 359.99, dec, 6, 6), np.array([[200, 200], [0, 0]]), size=240)
    np.testing.assert_array_equal(touches_any(large, small), [True, False])
    np.testing.assert_array_equal(touches_any(small, large), [True])


def test_fractions_come_close_where_there_are_many_blocks():
    split = split_of([(plane((2048, 2048), dy=1, dx=1), tiles(2048, 2048))], (0.7, 0.2, 0.1), block=256)
    share = np.bincount(split, minlength=4) / len(split)
    assert share[TEST] == pytest.approx(0.1, abs=0.02)
    assert 0.1 < share[VALIDATION] < 0.22
    assert share[TRAIN] + share[GUARD] == pytest.approx(0.7, abs=0.1)
    assert share[TRAIN] > 0.5


def test_the_lower_split_gives_way():
    """No window of train touches one of test, and test keeps all its windows."""
    maps = [(plane((1024, 1024)), tiles(1024, 1024))]
    parted = split_of(maps, seed=3)
    free = outline(*maps[0])
    assert not touches_any(free[np.flatnonzero(parted == TRAIN)], free[np.flatnonzero(parted == TEST)]).any()
    guards = free[np.flatnonzero(parted == GUARD)]
    assert touches_any(guards, free[np.flatnonzero(parted > TRAIN)]).all()
    assert np.sum(parted == TEST) == 16 * round(np.sum(parted == TEST) / 16)


@pytest.mark.parametrize("blocks", [1, 2, 3, 4, 10])
def test_every_split_gets_a_map_where_there_are_three(blocks):
    maps = [(plane((64, 64), ra=10.0 * i), tiles(64, 64)) for i in range(blocks)]
    split = split_of(maps)
    owners = np.bincount(split[::4], minlength=4).tolist()
    assert (
        owners
        == {1: [1, 0, 0, 0], 2: [1, 1, 0, 0], 3: [1, 1, 1, 0], 4: [2, 1, 1, 0], 10: [8, 1, 1, 0]}[blocks]
    )
    assert len(set(map(tuple, split.reshape(-1, 4)))) <= 3


def test_a_split_of_no_fraction_gets_nothing():
    maps = [(plane((64, 64), ra=10.0 * i), tiles(64, 64)) for i in range(6)]
    assert set(split_of(maps, (0.8, 0.2, 0.0))) == {TRAIN, VALIDATION}


def test_small_maps_are_cut_into_smaller_blocks():
    split = split_of([(plane((512, 512)), tiles(512, 512))], block=1024)
    assert set(split) == {TRAIN, VALIDATION, TEST, GUARD}


def test_windows_too_few_to_part_are_all_train():
    split = split_of([(plane((96, 96)), tiles(96, 96))], (0.4, 0.3, 0.3), block=64)
    assert TRAIN in split
    assert split_of([(plane((64, 64)), tiles(64, 64))]).tolist() == [TRAIN] * 4


def test_a_window_that_reaches_off_the_sky_is_a_guard():
    maps = [(plane((64, 64), ra=10.0 * i), tiles(64, 64)) for i in range(3)]
    maps[1] = plane((40000, 40000), dy=20, dx=20), np.array([[0, 0], [20000, 20000]])
    split = split_of(maps)
    assert split[4] == GUARD
    assert split[5] != GUARD
