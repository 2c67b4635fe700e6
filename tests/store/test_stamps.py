import numpy as np

from astro_dist.store.reader import StoreReader
from astro_dist.store.stamps import publish_stamps, write_stamps
from astro_dist.store.verify import verify_store
from tests.store.test_schema import make_columns


def test_stamps_are_topped_up_and_read_back(tmp_path):
    path, size, per_shard, rng = tmp_path / "stamps.zarr", 16, 3, np.random.default_rng(2)
    image = rng.standard_normal((8, size, size)).astype(np.float32)
    mask = rng.integers(0, 4, image.shape, dtype=np.uint8)
    instances = mask.astype(np.uint16)
    attrs = {"stretch": "asinh", "survey": "small", "maps": [], "accept": {"min_snr": 5.0}}
    records = []
    for n in (6, 8):
        for shard in range(len(records), -(-n // per_shard)):
            here = slice(shard * per_shard, min((shard + 1) * per_shard, n))
            records.append(write_stamps(path, shard, image[here], mask[here], instances[here], per_shard))
        publish_stamps(path, size, per_shard, make_columns("stamps", n), attrs)
        reader = StoreReader(path)
        assert len(reader) == n
        assert verify_store(path) == []
    assert reader.attrs["accept"] == {"min_snr": 5.0}
    np.testing.assert_array_equal(reader.read("image", np.arange(8)), image)
    np.testing.assert_array_equal(reader.read("instances", [7, 0]), instances[[7, 0]])
    assert all((path / name).is_file() for record in records for name in record)
    assert sum(map(len, records)) == 9
