"""The store of generated stamps: `write_stamps` adds whole shards, `publish_stamps` the columns at the end.

The number of stamps is open while shards are written, since generation tops up until enough objects are
accepted. Shard files carry no total; `publish_stamps` sets it. Beside the arrays lies one file per shard with
its accepted objects (`astro_dist.field.library.write_objects`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from astro_dist.store.schema import IMAGE, INSTANCES, MASK, publish_store
from astro_dist.store.shards import shard_path, write_shard

OBJECTS = "objects"


def write_stamps(
    path: Path,
    shard: int,
    image_jy_beam: NDArray[Any],
    mask: NDArray[Any],
    instances: NDArray[Any],
    per_shard: int,
) -> dict[str, str]:
    """Publish one shard of stamps and return ``{file: sha256}`` for the task's record.

    Parameters
    ----------
    path
        Folder of the store, which is made when absent.
    shard
        Number of the shard: it holds the stamps from ``shard * per_shard`` on.
    image_jy_beam
        Shape (n, s, s), float32, Jy/beam above a background of zero.
    mask, instances
        Same shape, uint8 and uint16: class and object (1..n in each stamp) of every pixel.
    per_shard
        Stamps in a full shard; only the last shard of the store may hold fewer.
    """
    arrays = ((IMAGE, image_jy_beam), (MASK, mask), (INSTANCES, instances))
    digests = {}
    for spec, values in arrays:
        digest = write_shard(path, spec, shard, values, per_shard)
        # Relative to the store, whose folder is renamed once the stage is complete.
        digests[str(shard_path(path, spec, shard).relative_to(path))] = digest
    return digests


def objects_path(path: Path, shard: int) -> Path:
    """Return the path of the file of accepted objects of a shard."""
    return path / OBJECTS / f"{shard:05}.parquet"


def objects_files(path: Path) -> list[Path]:
    """Return the files of accepted objects of a store, in the order of the shards."""
    return sorted((path / OBJECTS).glob("*.parquet"))


def publish_stamps(
    path: Path, size_pix: int, per_shard: int, columns: Mapping[str, Any], attrs: Mapping[str, Any]
) -> None:
    """Add columns, attributes and metadata: `astro_dist.store.reader.StoreReader` then opens the store.

    Parameters
    ----------
    path
        Folder of the store with all its shards.
    size_pix, per_shard
        Side of a stamp, and stamps in a full shard.
    columns
        ``{name: values of shape (N,)}``: donor, background_donor, symmetry, rms_jy_beam,
        beam_major_arcsec, beam_minor_arcsec, beam_pa_deg.
    attrs
        JSON-able: stretch, survey, maps, accept and whatever else belongs to all stamps.
    """
    publish_store(path, "stamps", size_pix, per_shard, columns, attrs)
