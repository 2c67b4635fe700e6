"""The store of pictures: whole shards, one array with planes, columns of classes, splits and groups."""

import numpy as np
import pytest
import xarray

from astro_dist.engine.errors import IntegrityError
from astro_dist.store.pictures import publish_pictures, write_pictures
from astro_dist.store.reader import StoreReader
from astro_dist.store.verify import verify_store

N, PER_SHARD = 7, 3
ATTRS = {"labels": ["a", "b"], "names": [f"n{i}" for i in range(N)]}


def make_store(path, planes=3, dtype="uint8", **columns):
    pictures = np.random.default_rng(1).integers(0, 255, (N, planes, 16, 16)).astype(dtype)
    for shard in range(3):
        write_pictures(path, shard, pictures[shard * PER_SHARD : (shard + 1) * PER_SHARD], PER_SHARD)
    base = {"label": np.arange(N) % 2, "split": np.arange(N) % 3, "group": np.arange(N), "file": np.arange(N)}
    publish_pictures(path, 16, PER_SHARD, {**base, **columns}, {**ATTRS, "planes": planes, "dtype": dtype})
    return pictures


@pytest.mark.parametrize(("planes", "dtype"), [(3, "uint8"), (1, "uint8"), (1, "float32")])
def test_what_is_written_is_read_and_verified(tmp_path, planes, dtype):
    pictures = make_store(tmp_path / "a.zarr", planes, dtype)
    store = StoreReader(tmp_path / "a.zarr")
    np.testing.assert_array_equal(store.read("picture", [5, 0, 5]), pictures[[5, 0, 5]])
    assert store.read("picture", []).shape == (0, planes, 16, 16)
    assert store.select("train").tolist() == [0, 3, 6]
    assert (store.attrs["labels"], store.attrs["kind"]) == (["a", "b"], "pictures")
    assert verify_store(tmp_path / "a.zarr") == []
    opened = xarray.open_zarr(tmp_path / "a.zarr")
    assert opened.picture.dims == ("row", "plane", "y", "x")
    np.testing.assert_array_equal(opened.picture, pictures)


def test_a_damaged_picture_is_found(tmp_path):
    make_store(tmp_path / "a.zarr")
    shard = tmp_path / "a.zarr" / "picture" / "c.1.0.0.0"
    data = bytearray(shard.read_bytes())
    data[20] ^= 1
    shard.write_bytes(data)
    (fault,) = verify_store(tmp_path / "a.zarr")
    assert "1 images are damaged" in fault
    with pytest.raises(IntegrityError, match="the array picture is damaged"):
        StoreReader(tmp_path / "a.zarr").read("picture", [3])
    shard.unlink()
    with pytest.raises(IntegrityError, match=r"the first is picture/c\.1\.0\.0\.0"):
        StoreReader(tmp_path / "a.zarr")


def test_synthetic_pictures_have_columns_of_their_own(tmp_path):
    make_store(tmp_path / "a.zarr", parent=np.arange(N)[::-1], variant=np.zeros(N), seed=np.arange(N))
    store = StoreReader(tmp_path / "a.zarr")
    assert store.attrs["further"] == ["parent", "seed", "variant"]
    assert store.columns["parent"].tolist() == list(range(N))[::-1]


@pytest.mark.parametrize(
    "columns", [{"label": np.full(N, 2)}, {"label": np.full(N, -1)}, {"file": np.full(N, N)}]
)
def test_a_class_that_the_store_does_not_have_is_refused(tmp_path, columns):
    make_store(tmp_path / "a.zarr", **columns)
    with pytest.raises(IntegrityError, match=r"it has \d labels|names and others"):
        StoreReader(tmp_path / "a.zarr")
