import numpy as np
import pytest

from astro_dist.engine.errors import ConfigError
from astro_dist.store.schema import COLUMNS, STACKS, publish_store
from astro_dist.store.shards import encode_shard
from astro_dist.store.verify import verify_store
from tests.store.test_schema import make_attrs, make_columns, make_store


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path / "a.zarr", n=9, size=8, per_shard=4)


def flip(file, place):
    data = bytearray(file.read_bytes())
    data[place] ^= 8
    file.write_bytes(data)


@pytest.mark.parametrize("kind", ["cutouts", "stamps"])
def test_a_sound_store_has_no_faults(tmp_path, kind):
    assert verify_store(make_store(tmp_path / "s.zarr", kind)) == []


@pytest.mark.parametrize("name", [spec.name for spec in STACKS["cutouts"]])
def test_a_flipped_bit_in_an_image_or_in_the_index_is_found(store, name):
    file = store / name / "c.1.0.0"
    flip(file, 5)
    assert verify_store(store) == [f"{file}: 1 images are damaged, the first at 0"]
    flip(file, 5)
    flip(file, -10)
    assert verify_store(store) == [f"{file}: the index of the shard is damaged"]


def test_missing_and_superfluous_shards_are_found(store):
    (store / "mask" / "c.2.0.0").unlink()
    (store / "image" / "c.7.0.0").write_bytes(b"")
    faults = verify_store(store)
    assert len(faults) == 2
    assert "mask/c.2.0.0 is missing" in faults[0]
    assert "image/c.7.0.0: a shard beyond the end" in faults[1]


def test_images_missing_inside_a_shard_are_found(store):
    few = encode_shard(np.zeros((2, 8, 8), np.uint8), 4)
    (store / "mask" / "c.1.0.0").write_bytes(few)
    assert verify_store(store) == [f"{store / 'mask' / 'c.1.0.0'}: holds 2 images instead of the first 4"]


def test_images_of_another_size_are_found(store):
    (store / "mask" / "c.1.0.0").write_bytes(encode_shard(np.zeros((4, 4, 4), np.uint8), 4))
    assert verify_store(store) == [f"{store / 'mask' / 'c.1.0.0'}: 4 images are damaged, the first at 0"]


def test_damaged_columns_and_metadata_are_found(store):
    flip(store / "dec_deg" / "c.0", 6)
    assert "dec_deg is damaged" in verify_store(store)[0]
    (store / "zarr.json").write_text("{}")
    assert "not a" in verify_store(store)[0]


def test_a_store_longer_than_its_shards_is_found(store):
    columns = make_columns("cutouts", 10)
    publish_store(store, "cutouts", 8, 4, columns, make_attrs(10))
    faults = verify_store(store)
    assert len(faults) == len(STACKS["cutouts"])
    assert all("holds 1 images instead of the first 2" in fault for fault in faults)
    assert set(columns) == {spec.name for spec in COLUMNS["cutouts"]}


def test_an_array_inside_a_store_is_not_a_damaged_store(store):
    with pytest.raises(ConfigError, match="not a store"):
        verify_store(store / "image")
