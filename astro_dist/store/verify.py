"""The check of a whole store, byte for byte: every shard index, every image, every column."""

from pathlib import Path
from typing import Any

import numpy as np

from astro_dist.engine.errors import ConfigError, IntegrityError
from astro_dist.engine.foreign import read_mapping
from astro_dist.store.arrays import ArraySpec
from astro_dist.store.opening import METADATA_BYTES
from astro_dist.store.reader import missing_shards
from astro_dist.store.schema import read_attrs, read_columns, stacks_of
from astro_dist.store.shards import EMPTY, count_shards, decode_image, decode_index, shard_path


def verify_store(path: Path) -> list[str]:
    """Return the faults of a store, one line for each fault and shard; an empty list for a sound store.

    In a sound store all shard files are there and no others; indices and images pass their checksums,
    decode to the right size and fill the shard in order; the columns can be read and have one length; schema
    version and class names are those of this package.

    Raises
    ------
    ConfigError
        When the path is that of an array, such as those inside a store.
    """
    if _is_array(path):
        raise ConfigError(f"{path} is not a store but one array; give the folder of the whole store")
    try:
        attrs = read_attrs(path)
        columns = read_columns(path, attrs)
    except IntegrityError as error:
        # Shards are counted and measured by the attributes: without them nothing more can be checked.
        return [str(error)]
    n = len(next(iter(columns.values())))
    faults = [f"{path}: the shard {name} is missing" for name in missing_shards(path, attrs, n)]
    for spec in stacks_of(attrs["kind"], attrs):
        faults += _verify_array(path, spec, attrs, n)
    return faults


def _is_array(path: Path) -> bool:
    try:
        return bool(read_mapping(path / "zarr.json", METADATA_BYTES).get("node_type") == "array")
    except ConfigError:
        return False


def _verify_array(path: Path, spec: ArraySpec, attrs: dict[str, Any], n: int) -> list[str]:
    per_shard = attrs["per_shard"]
    known = [shard_path(path, spec, i) for i in range(count_shards(n, per_shard))]
    folder = path / spec.name
    # Files of other names are Zarr's metadata.
    present = (
        {file for file in folder.iterdir() if file.name.startswith("c.") and file.is_file()}
        if folder.is_dir()
        else set()
    )
    faults = [f"{file}: a shard beyond the end of the store" for file in sorted(present - set(known))]
    for i, file in enumerate(known):
        if file in present:
            count = min(per_shard, n - i * per_shard)
            faults += _verify_shard(file, spec, per_shard, attrs["size_pix"], count)
    return faults


def _verify_shard(file: Path, spec: ArraySpec, per_shard: int, size_pix: int, count: int) -> list[str]:
    data = file.read_bytes()
    try:
        index = decode_index(data, per_shard)
    except IntegrityError as error:
        return [f"{file}: {error}"]
    # Images fill a shard from its start, images of fill value included: a gap is a fault.
    is_filled = index[:, 0] != EMPTY
    if not np.array_equal(is_filled, np.arange(per_shard) < count):
        return [f"{file}: holds {int(is_filled.sum())} images instead of the first {count}"]
    damaged = []
    # Python's integers, since sums of numpy's unsigned ones wrap round.
    for i, (offset, length) in enumerate(index[:count].tolist()):
        try:
            decode_image(data, offset, length, spec, size_pix)
        except IntegrityError:
            damaged.append(i)
    return [f"{file}: {len(damaged)} images are damaged, the first at {damaged[0]}"] if damaged else []
