"""The pictures of rows: what a network sees is a function of the row, however it is read."""

import pickle
from collections import Counter

import numpy as np
import pytest

from astro_dist.engine.pixels import to_network
from astro_dist.flare import rows as rows_module
from astro_dist.flare.augment import augment
from astro_dist.flare.rows import Gallery, RowSamples, SetSamples, classes_of, rows_of
from astro_dist.pictures.images import resize
from astro_dist.store.reader import StoreReader
from tests.flare.grids import MACRO

KINDS = ("jitter", "flip", "crop")


@pytest.fixture
def gallery(finished_grid):
    return Gallery(finished_grid[1], 48, 7, KINDS)


@pytest.fixture
def some(finished_grid):
    """Three copies of four training pictures."""
    reader = StoreReader(finished_grid[1] / "pictures.zarr")
    return rows_of(reader, reader.select("train")[:4], 3)


def test_a_row_is_the_copy_of_its_picture_at_the_side_of_the_network(finished_grid, gallery, some):
    whole = StoreReader(finished_grid[1] / "pictures.zarr").read("picture", some.index)
    made = [
        resize(augment(picture, 7, int(index), int(copy), KINDS), 48)
        for picture, index, copy in zip(whole, some.index, some.copy, strict=True)
    ]
    seen = gallery.read(some)
    assert (seen.shape, seen.dtype) == ((12, 3, 48, 48), np.float32)
    assert np.array_equal(seen, to_network(np.stack(made)))
    assert np.array_equal(seen[:4], to_network(np.stack([resize(picture, 48) for picture in whole[:4]])))


def test_what_is_kept_in_memory_changes_nothing_and_does_not_travel(gallery, some, monkeypatch):
    first = gallery.read(some)
    assert len(gallery.kept) == 12
    assert np.array_equal(gallery.read(some.pick(np.array([5, 0, 5]))), first[[5, 0, 5]])
    again = pickle.loads(pickle.dumps(gallery))
    assert again.kept == again.stores == {}
    assert np.array_equal(again.read(some), first)
    monkeypatch.setattr(rows_module, "KEPT_BYTES", 5 * 3 * 48 * 48)
    small = Gallery(gallery.root, 48, 7, KINDS)
    for start in range(0, 12, 4):
        small.read(some.pick(np.arange(start, start + 4)))
    assert len(small.kept) == 4
    assert np.array_equal(small.read(some), first)


def test_every_row_comes_once_before_any_comes_again(gallery, some):
    samples = SetSamples(RowSamples(gallery, some, np.arange(8)), (3, "tiny", 0))
    places = [samples._place(n) for n in range(36)]
    assert [Counter(places[n : n + 12]) for n in (0, 12, 24)] == [Counter(range(12))] * 3
    assert places[:12] != places[12:24]
    # A sample is a function of its number: a training that goes on at step 5 sees what it would have seen.
    later = SetSamples(RowSamples(gallery, some, np.arange(8)), (3, "tiny", 0))
    assert np.array_equal(later.batch(20, 4).x, samples.batch(20, 4).x)
    other = SetSamples(RowSamples(gallery, some, np.arange(8)), (4, "tiny", 0))
    assert [other._place(n) for n in range(12)] != places[:12]


def test_macro_classes_are_those_of_the_settings():
    labels = sorted(name for members in MACRO.values() for name in members)
    names, classes = classes_of(labels, MACRO, "macro")
    assert names == list(MACRO)
    assert {name: names[place] for name, place in zip(labels, classes, strict=True)} == {
        member: owner for owner, members in MACRO.items() for member in members
    }
    assert classes_of(labels, {}, "fine")[1].tolist() == list(range(8))
