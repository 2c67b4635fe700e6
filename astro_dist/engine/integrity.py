"""Comparison of published products with their records byte for byte, and repair of damaged products."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import fsync_folder, lock_folder, tree_digests
from astro_dist.engine.ledger import Ledger, Published

Checks = Mapping[str, Callable[[Path], list[str]]]
"""``{stage: check}``: functions that look for faults in a product by the product's own checksums."""


def verify_run(root: Path, checks: Checks | None = None) -> dict[str, list[str]]:
    """Read every published product again and return ``{stage: faults}``, one line for each fault.

    The check of a stage is called only where all files of the product have their published bytes.

    Raises
    ------
    ConfigError
        Nothing was published in ``root``.
    IntegrityError
        A record of the ledger cannot be read.
    """
    published = Ledger(root).all_published()
    if not published:
        raise ConfigError(f"{root} holds no published product; is it a run directory?")
    found = {name: _compare(root, record) for name, record in published.items()}
    for name, check in (checks or {}).items():
        if name in published and not found[name]:
            found[name] = check(root / published[name].product)
    return {name: faults for name, faults in found.items() if faults}


def repair_run(root: Path, show: Callable[[str], None], checks: Checks | None = None) -> None:
    """Set every damaged product aside and retract its publication, so that the next run makes it anew.

    Nothing is deleted. A byte-stable product that is made again from the same settings has the same bytes,
    so the products of later stages stay valid. ``show`` is called with each line for the user.
    """
    with lock_folder(root):
        ledger = Ledger(root)
        for stage, faults in verify_run(root, checks).items():
            for fault in faults:
                show(fault)
            record = ledger.published(stage)
            assert record is not None
            show(f"{stage}: {_set_aside(root / record.product)}the next run makes {record.product} anew")
            ledger.retract(stage)


def _compare(root: Path, record: Published) -> list[str]:
    """Return the faults of one product: missing, changed and strange files."""
    path, faults = root / record.product, []
    found = tree_digests(path) if path.exists() else {}
    for name, digest in record.files.items():
        shown = record.product if name == "." else f"{record.product}/{name}"
        if name not in found:
            faults.append(f"{shown}: missing")
        elif found[name] != digest:
            faults.append(f"{shown}: its bytes have changed since it was published")
    strange = sorted(set(found) - set(record.files))
    return faults + [f"{record.product}/{name}: not part of the product" for name in strange]


def _set_aside(path: Path) -> str:
    """Rename a product, if it is there; return a sentence about that for the user."""
    if not path.exists():
        return ""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    os.replace(path, aside)
    fsync_folder(path.parent)
    return f"{path.name} is now {aside.name}, remove that when you like; "
