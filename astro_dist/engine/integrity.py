"""Whether what a run published is still there byte for byte, and what to do when it is not."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import fsync_folder, lock_folder, tree_digests
from astro_dist.engine.ledger import Ledger, Published

Checks = Mapping[str, Callable[[Path], list[str]]]
"""What looks inside a product for faults by checksums of its own, by stage."""


def verify_run(root: Path, checks: Checks | None = None) -> dict[str, list[str]]:
    """Read every published product again and return what is wrong by stage, one line per fault.

    A product whose files are all as published is looked into as well, where there is a check for it.

    Raises
    ------
    ConfigError
        When nothing was published in ``root``.
    IntegrityError
        When a record of the ledger cannot be read.
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
    """Set every damaged product aside and take its publication back, so that the next run makes it anew.

    Nothing is deleted. A product that is made from the same settings has the same bytes again, and
    what later stages made from it stays as it is.
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
    path, faults = root / record.product, []
    found = tree_digests(path) if path.exists() else {}
    for name, digest in record.files.items():
        shown = record.product if name == "." else f"{record.product}/{name}"
        if name not in found:
            faults.append(f"{shown}: missing")
        elif found[name] != digest:
            faults.append(f"{shown}: its bytes have changed since it was published")
    strange = sorted(set(found) - set(record.files))
    return faults + [f"{record.product}/{name}: not part of it" for name in strange]


def _set_aside(path: Path) -> str:
    """Rename a product, if it is there, and say so."""
    if not path.exists():
        return ""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    os.replace(path, aside)
    fsync_folder(path.parent)
    return f"{path.name} is now {aside.name}, remove it when you like; "
