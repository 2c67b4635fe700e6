"""Regeneration of one stamp from its index, and its comparison with the store."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.custody import set_aside
from astro_dist.engine.errors import ConfigError, IntegrityError
from astro_dist.engine.files import publish_bytes, tree_files
from astro_dist.engine.work import Run, for_stage
from astro_dist.generate.stage import GENERATE
from astro_dist.models.device import numerics
from astro_dist.store.reader import StoreReader


def regenerate(run: Run, stamp: int) -> dict[str, NDArray[Any]]:
    """Draw one stamp as `generate` drew it.

    Parameters
    ----------
    run
        A run that has published cutouts and models.
    stamp
        Index of the stamp.

    Returns
    -------
    dict
        ``image`` (s, s) float32 Jy/beam, ``mask`` uint8 and ``instances`` uint16.
    """
    from astro_dist.generate.stamps import StampMaker

    batch, place = StampMaker(run).make_batch_of(stamp)
    return {
        "image": batch.image_jy_beam[place],
        "mask": batch.mask[place],
        "instances": batch.instances[place],
    }


def regenerate_stamp(run: Run, stamp: int, show: Callable[[str], None] = print) -> Path:
    """Draw a published stamp again, compare it with the store bit for bit, and write it to an npz file.

    Raises
    ------
    ConfigError
        The run has no stamps or not so many, or they were drawn on another kind of machine.
    IntegrityError
        The stamp differs from that in the store.
    """
    published = run.ledger.published(GENERATE.name)
    if published is None:
        raise ConfigError(f"{run.root} has no stamps yet; `astro-dist generate` draws them")
    for name in ("cutouts.zarr", GENERATE.product):
        _refuse_unreadable(run.root / name)
    run = for_stage(run, GENERATE, published.fingerprint)
    store = StoreReader(run.product(GENERATE.product))
    if not 0 <= stamp < len(store):
        raise ConfigError(f"--stamp {stamp}: {run.root} holds the stamps 0 to {len(store) - 1}")
    # Before the drawing: on another kind of machine the last bits differ, which would look like damage.
    run.records.settle_numerics(numerics(run), "--redo generate")
    arrays = regenerate(run, stamp)
    # Bytes and not values: NaN differs from itself, and -0.0 equals 0.0.
    differing = [
        name for name, array in arrays.items() if array.tobytes() != store.read(name, [stamp])[0].tobytes()
    ]
    if differing:
        raise IntegrityError(
            f"stamp {stamp}: {', '.join(differing)} came out different from the store's; "
            f"`astro-dist verify {run.root}` says whether the store is damaged"
        )
    path = run.root / f"stamp-{stamp:06}.npz"
    packed = io.BytesIO()
    np.savez(packed, image=arrays["image"], mask=arrays["mask"], instances=arrays["instances"])
    # Drawn again it has the same bytes; anything else of that name is somebody's own.
    if os.path.lexists(path) and (path.is_symlink() or not _holds(path, packed.getvalue())):
        show(f"{path} was not written by this command; it is now {set_aside(path, 'yours').name}")
    publish_bytes(path, packed.getvalue())
    return path


def _refuse_unreadable(store: Path) -> None:
    """Refuse a store with a folder or file that may not be read, which Zarr takes for damaged or empty."""
    try:
        closed = next((path for path in tree_files(store) if not os.access(path, os.R_OK)), None)
    except PermissionError as error:
        closed = error.filename
    if closed is not None:
        raise ConfigError(f"you may not read {closed}; ask its owner")


def _holds(path: Path, data: bytes) -> bool:
    return path.is_file() and path.read_bytes() == data
