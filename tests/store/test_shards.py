import json

import numpy as np
import pytest
import tensorstore
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from astro_dist.engine.errors import IntegrityError
from astro_dist.store.schema import IMAGE, INSTANCES, MASK, VALID, publish_store
from astro_dist.store.shards import (
    EMPTY,
    count_shards,
    decode_image,
    decode_index,
    encode_shard,
    shard_path,
    write_shard,
)
from astro_dist.store.verify import verify_store
from tests.store.test_schema import make_attrs, make_columns

SIZE, PER_SHARD, N = 16, 4, 10


def make_stacks():
    rng = np.random.default_rng(3)
    image = rng.standard_normal((N, SIZE, SIZE)).astype(np.float32)
    image[2], image[7, :5] = np.nan, np.nan
    mask = rng.integers(0, 4, image.shape, dtype=np.uint8)
    mask[4] = 0
    return {"image": image, "mask": mask, "instances": mask * np.uint16(700), "valid": np.isfinite(image)}


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "cutouts.zarr"
    stacks = make_stacks()
    for spec in (IMAGE, MASK, INSTANCES, VALID):
        for i in range(count_shards(N, PER_SHARD)):
            write_shard(path, spec, i, stacks[spec.name][i * PER_SHARD : (i + 1) * PER_SHARD], PER_SHARD)
    publish_store(path, "cutouts", SIZE, PER_SHARD, make_columns("cutouts", N), make_attrs(N))
    return path, stacks


@pytest.mark.parametrize("name", ["image", "mask", "instances", "valid"])
def test_zarr_and_tensorstore_read_every_bit_of_it(store, name):
    path, stacks = store
    by_zarr = zarr.open_group(path, mode="r")[name][:]
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{path / name}/"}}
    by_tensorstore = tensorstore.open(spec, open=True).result().read().result()
    for read in (by_zarr, by_tensorstore):
        assert read.dtype == stacks[name].dtype
        assert read.tobytes() == stacks[name].tobytes()


@pytest.mark.parametrize("name", ["image", "mask", "instances", "valid"])
def test_shards_of_zarr_itself_decode_too(store, tmp_path, name):
    """Shards that zarr-python writes for the same metadata can be read, except images that are all fill."""
    path, stacks = store
    declared = json.loads((path / name / "zarr.json").read_text())
    sharding = declared["codecs"][0]["configuration"]
    assert [codec["name"] for codec in sharding["codecs"]] == ["bytes", "zstd", "crc32c"]
    assert [codec["name"] for codec in sharding["index_codecs"]] == ["bytes", "crc32c"]
    endian = sharding["codecs"][0].get("configuration", {}).get("endian", "little")
    assert (sharding["index_location"], endian) == ("end", "little")
    (tmp_path / "theirs" / name).mkdir(parents=True)
    (tmp_path / "theirs" / name / "zarr.json").write_text(json.dumps(declared))
    theirs = zarr.open_array(tmp_path / "theirs" / name, mode="r+")
    theirs[:] = stacks[name]
    spec = {spec.name: spec for spec in (IMAGE, MASK, INSTANCES, VALID)}[name]
    data = shard_path(tmp_path / "theirs", spec, 0).read_bytes()
    index = decode_index(data, PER_SHARD)
    for i in np.flatnonzero(index[:, 0] != EMPTY):
        offset, length = index[i].tolist()
        image = decode_image(data, offset, length, spec, SIZE)
        np.testing.assert_array_equal(image, stacks[name][i])


@settings(max_examples=30, deadline=None)
@given(
    images=arrays(np.float32, st.tuples(st.integers(1, 5), st.just(4), st.just(4))),
    spare=st.integers(0, 3),
    threads=st.integers(1, 2),
)
def test_any_shard_decodes_to_its_images_and_marks_the_rest_empty(images, spare, threads):
    per_shard = len(images) + spare
    data = encode_shard(images, per_shard, threads)
    assert data == encode_shard(images.astype(">f4"), per_shard)
    index = decode_index(data, per_shard)
    assert np.all(index[len(images) :] == EMPTY)
    decoded = [decode_image(data, o, n, IMAGE, 4) for o, n in index[: len(images)].tolist()]
    assert np.stack(decoded).tobytes() == images.astype("<f4").tobytes()


def test_images_of_nothing_but_fill_are_written(store):
    path, _ = store
    index = decode_index(shard_path(path, MASK, 1).read_bytes(), PER_SHARD)
    assert index[0, 0] != EMPTY


def decode(data, n):
    return [
        decode_image(data, o, length, IMAGE, SIZE) for o, length in decode_index(data, PER_SHARD)[:n].tolist()
    ]


def test_every_flipped_bit_is_found():
    data = encode_shard(make_stacks()["image"][:3], PER_SHARD)
    rng = np.random.default_rng(0)
    for bit in rng.integers(0, 8 * len(data), 200):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << (bit % 8)
        with pytest.raises(IntegrityError):
            decode(bytes(damaged), 3)


def test_what_does_not_fit_is_refused(tmp_path):
    images = np.zeros((5, 4, 4), np.float32)
    with pytest.raises(ValueError, match="up to 4"):
        encode_shard(images, 4)
    with pytest.raises(ValueError, match="cannot hold 0"):
        encode_shard(images[:0], 4)
    with pytest.raises(ValueError, match="holds uint8, not float32"):
        write_shard(tmp_path, MASK, 0, images, 8)


def test_a_shard_is_written_whole_and_again_without_a_trace(tmp_path):
    images = make_stacks()["image"][:3]
    first = write_shard(tmp_path, IMAGE, 2, images, PER_SHARD)
    assert write_shard(tmp_path, IMAGE, 2, images, PER_SHARD, threads=2) == first
    assert [p.name for p in (tmp_path / "image").iterdir()] == ["c.2.0.0"]


def test_a_sound_store_verifies(store):
    assert verify_store(store[0]) == []
