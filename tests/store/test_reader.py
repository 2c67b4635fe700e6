import pickle

import numpy as np
import pytest

from astro_dist.engine.errors import IntegrityError
from astro_dist.store.reader import StoreReader, group_by_survey
from astro_dist.store.schema import SPLIT_NAMES
from tests.store.test_schema import make_columns, make_store


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path / "a.zarr", n=9, size=8, per_shard=4)


def expected(name, dtype, indices):
    return np.arange(9 * 64).reshape(9, 8, 8).astype(dtype)[indices]


@pytest.mark.parametrize(
    ("name", "dtype"), [("image", "f4"), ("mask", "u1"), ("instances", "u2"), ("valid", "?")]
)
def test_batches_come_in_the_order_asked_for(store, name, dtype):
    reader = StoreReader(store)
    indices = [8, 0, 3, 3, 5]
    batch = reader.read(name, indices)
    assert batch.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(batch, expected(name, dtype, indices))
    assert reader.read(name, np.array([], int)).shape == (0, 8, 8)


def test_it_knows_its_length_attributes_and_columns(store):
    reader = StoreReader(store)
    assert (len(reader), reader.attrs["size_pix"], reader.attrs["per_shard"]) == (9, 8, 4)
    for name, values in make_columns("cutouts", 9).items():
        np.testing.assert_array_equal(reader.columns[name], values)


def test_it_pickles_as_its_path_even_after_reading(store):
    reader = StoreReader(store)
    reader.read("image", [1])
    copy = pickle.loads(pickle.dumps(reader))
    np.testing.assert_array_equal(copy.read("mask", [2, 8]), expected("mask", "u1", [2, 8]))


def test_select_returns_good_cutouts_of_a_split(store):
    reader = StoreReader(store)
    reader.columns["split"] = np.array([0, 0, 1, 2, 3, 0, 1, 2, 3])
    reader.columns["flags"] = np.array([0, 1, 0, 0, 0, 0, 2, 0, 0])
    chosen = {name: reader.select(name).tolist() for name in SPLIT_NAMES}
    assert chosen == {"train": [0, 5], "validation": [2], "test": [3, 7], "guard": [4, 8]}


def test_positions_outside_the_store_are_refused(store):
    for wrong in ([9], [0, -1]):
        with pytest.raises(IndexError, match="9 images"):
            StoreReader(store).read("image", wrong)


def test_a_flipped_bit_raises_and_names_the_array(store):
    file = store / "image" / "c.1.0.0"
    data = bytearray(file.read_bytes())
    data[20] ^= 1
    file.write_bytes(data)
    reader = StoreReader(store)
    np.testing.assert_array_equal(reader.read("image", [0, 8]), expected("image", "f4", [0, 8]))
    with pytest.raises(IntegrityError, match=r"array image is damaged.*image/c\.1\.0\.0"):
        reader.read("image", [4])


@pytest.mark.parametrize("keep", [0, 10, 100])
def test_a_truncated_shard_raises(store, keep):
    file = store / "image" / "c.0.0.0"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(IntegrityError, match="array image is damaged"):
        StoreReader(store).read("image", [1])


@pytest.mark.parametrize("name", ["image/c.0.0.0", "valid/c.2.0.0"])
def test_a_missing_shard_is_named_when_opened(store, name):
    (store / name).unlink()
    with pytest.raises(IntegrityError, match=name):
        StoreReader(store)


def test_cutouts_are_grouped_by_survey():
    attrs = {"maps": [{"survey": "A"}, {"survey": "B"}, {"survey": "A"}]}
    columns = {"source_map": np.array([0, 1, 2, 1, 0])}
    groups = group_by_survey(attrs, columns, np.array([0, 1, 2, 3]))
    assert {i: group.tolist() for i, group in groups.items()} == {0: [0, 2], 1: [1, 3], 2: [0, 2], 3: [1, 3]}
