"""The stage `cleaning`: every picture without the objects found in it, and the masks of what was changed.

Shape letters: N pictures, P planes, S side in pixels.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from astro_dist.engine.ledger import Result
from astro_dist.engine.origins import FACT, as_facts, merge, of_facts
from astro_dist.engine.outputs import check_product
from astro_dist.engine.pixels import to_network
from astro_dist.engine.stopping import check_stop
from astro_dist.engine.work import Results, Run, Task
from astro_dist.enhance.clean import Cleaner, read_cleaner
from astro_dist.enhance.cleaning_config import MASK_STORE, PICTURE_STORE, CleaningConfig
from astro_dist.models.device import choose_device, pin
from astro_dist.store.pictures import UNREADABLE, publish_pictures, write_pictures
from astro_dist.store.reader import StoreReader
from astro_dist.store.verify import verify_store

OWN = ("schema_version", "kind", "size_pix", "per_shard", "further", "splits")
"""Attributes that each store has of its own."""


@dataclass(frozen=True)
class State:
    """The open store and cleaner of a worker."""

    run: Run
    reader: StoreReader
    cleaner: Cleaner


def open_state(run: Run) -> State:
    """Open store and network; a `Stage.open`."""
    # First of all: threads must be set before any network computes.
    pin(run.section(CleaningConfig).threads)
    check_product(run.root, "pictures")
    return State(run, StoreReader(run.product("pictures.zarr")), open_cleaner(run, choose_device(run)))


def open_cleaner(run: Run, device: str) -> Cleaner:
    """Return what cleans, with the network of the run where the settings ask for one."""
    config, network = run.section(CleaningConfig), None
    if config.method == "network":
        check_product(run.root, "cleaner")
        network = read_cleaner(run.product("models/cleaner"))
    return Cleaner(config, network, device)


def clean_shard(state: State, task: Task) -> Result:
    """Clean the pictures of a shard and write them with their masks; a `Stage.run`."""
    config, reader, index = state.run.section(CleaningConfig), state.reader, task.args["index"]
    rows = np.arange(index * config.shard, min((index + 1) * config.shard, len(reader)))
    labels, pictures, masks = reader.attrs["labels"], [], []
    for row, picture in zip(rows, reader.read("picture", rows), strict=True):
        check_stop()
        cleaned, mask = _clean(state.cleaner, picture, labels[int(reader.columns["label"][row])])
        pictures.append(cleaned)
        masks.append(np.where(mask, np.uint8(255), np.uint8(0))[None])
    digests: dict[str, str] = {}
    for store, found in ((PICTURE_STORE, pictures), (MASK_STORE, masks)):
        folder = state.run.output / store
        written = write_pictures(folder, index, np.stack(found), config.shard, config.threads)
        digests |= {f"{store}/{name}": digest for name, digest in written.items()}
    return {"masked": [int((mask > 0).sum()) for mask in masks], "sha256": digests}


def _clean(cleaner: Cleaner, picture: Any, label: str) -> tuple[Any, Any]:
    """Return a stored picture cleaned, in its own type, and the mask."""
    if picture.dtype == np.uint8:
        return cleaner.clean(picture, label)
    # Stored from -1 to 1, seen from 0 to 1; back only inside the mask, so that other bits stay.
    cleaned, mask = cleaner.clean((to_network(picture) + np.float32(1)) / np.float32(2), label)
    return np.where(mask, 2 * cleaned - 1, picture).astype(np.float32), mask


def finish(run: Run, results: Results) -> dict[str, Any]:
    """Write columns and attributes of both stores, and return how much was masked; a `Stage.finish`."""
    reader, config = StoreReader(run.product("pictures.zarr")), run.section(CleaningConfig)
    side_pix = int(reader.attrs["size_pix"])
    attrs = {name: value for name, value in reader.attrs.items() if name not in OWN}
    origins = as_facts(merge(*(of_facts(run.facts(stage)) for stage in run.inputs)))
    attrs |= {FACT: origins}
    publish_pictures(run.output / PICTURE_STORE, side_pix, config.shard, reader.columns, attrs)
    masks = attrs | {"planes": 1, "dtype": "uint8"}
    publish_pictures(run.output / MASK_STORE, side_pix, config.shard, reader.columns, masks)
    tasks = [results[name] for name in sorted(results, key=lambda name: (len(name), name))]
    masked = np.array([count for task in tasks for count in task["masked"]], np.float64)
    readable = ~np.isin(np.arange(len(masked)), reader.attrs.get(UNREADABLE, []))
    masked = masked[readable]
    changed = int((masked > 0).sum())
    return {
        FACT: origins,
        "pictures": len(masked),
        "changed": changed,
        "masked_share": round(float(masked.sum()) / max(1, len(masked)) / side_pix**2, 6),
        "notes": [f"objects were found in {changed} of {len(masked)} pictures, and painted over"],
    }


def verify(path: Path) -> list[str]:
    """Return the faults of both stores; a `Stage.check`."""
    return [*verify_store(path / PICTURE_STORE), *verify_store(path / MASK_STORE)]
