import os

import numpy as np
import pytest

from astro_dist.engine.errors import ConfigError, IntegrityError
from astro_dist.generate.regenerate import regenerate_stamp
from astro_dist.store.reader import StoreReader
from astro_dist.store.schema import IMAGE
from astro_dist.store.shards import write_shard
from tests.generate import small_run


def test_any_stamp_comes_out_the_same_bits(root, monkeypatch):
    with pytest.raises(ConfigError, match="no stamps yet"):
        regenerate_stamp(small_run.make_runner(root).run, 0)
    run = small_run.execute(root)
    store = StoreReader(root / "stamps.zarr")
    for stamp in (0, 3, len(store) - 1):
        with np.load(regenerate_stamp(run, stamp)) as arrays:
            assert arrays["image"].tobytes() == store.read("image", [stamp])[0].tobytes()
            assert arrays["instances"].tobytes() == store.read("instances", [stamp])[0].tobytes()
    with pytest.raises(ConfigError, match="holds the stamps 0 to"):
        regenerate_stamp(run, len(store))
    # A folder that may not be read, to root too.
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, mode: "cutouts.zarr" not in str(path))
        with pytest.raises(ConfigError, match=r"you may not read .*cutouts\.zarr"):
            regenerate_stamp(run, 0)
    images = store.read("image", range(6))
    images[2, 10, 10] += 1e-3
    write_shard(root / "stamps.zarr", IMAGE, 0, images, 6)
    with pytest.raises(IntegrityError, match="stamp 2: image"):
        regenerate_stamp(run, 2)
