"""Comparison of published products with their records byte for byte, and repair of damaged products."""

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from astro_dist.engine.config import fingerprint
from astro_dist.engine.custody import NO_PRODUCT, find_strange, is_leftover, require_run, set_aside, take_out
from astro_dist.engine.errors import ConfigError, IntegrityError
from astro_dist.engine.files import find_owner, lock_folder, tree_digests
from astro_dist.engine.ledger import DAMAGED, Ledger, Published
from astro_dist.engine.manifest import CONFIG, MANIFEST, config_fault, manifest_fault
from astro_dist.engine.record import read_record

Checks = Mapping[str, Callable[[Path], list[str]]]
"""``{stage: check}``: functions that look for faults in a product by the product's own checksums."""


OTHER_BYTES = "its bytes have changed since it was published"

LEDGER = "ledger"
"""The name under which faults of records and of the files beside the products are listed."""


def verify_run(root: Path, checks: Checks | None = None, alone: bool = False) -> dict[str, list[str]]:
    """Read every record and every published product again and return ``{stage: faults}``, a line each.

    Faults of records, of ``config.yaml`` and of ``manifest.json`` are listed under `LEDGER`. The check of a
    stage is called only where all files of its product have their published bytes. With ``alone`` the caller
    holds the driver lock; otherwise what a driver may be writing in a product is no fault.

    Raises
    ------
    ConfigError
        Nothing was published in ``root``.
    """
    published = _readable(root)
    beside = [config_fault(root), manifest_fault(root) if published else None]
    if published and not os.path.lexists(root / CONFIG):
        beside.append(f"{CONFIG}: missing; the command that began the run writes it again")
    found = {LEDGER: [fault for _, fault in find_bad_records(root)]}
    found[LEDGER] += [fault for fault in beside if fault is not None]
    if not published and not found[LEDGER]:
        raise ConfigError(f"{root} {NO_PRODUCT}")
    alone = alone or find_owner(root) is None
    found |= {name: _compare(root, record, alone) for name, record in published.items()}
    for name, check in (checks or {}).items():
        if name in published and not found[name]:
            found[name] = check(root / published[name].product)
    return {name: faults for name, faults in found.items() if faults}


def why_not(path: Path) -> str:
    """Return why a path cannot be verified."""
    if not os.path.lexists(path):
        return "does not exist"
    if path.suffix.lower() in (".gz", ".bz2", ".xz", ".zip", ".z"):
        return f"is packed; unpack it and verify {path.with_suffix('')}"
    return "is neither a run directory, nor a store, nor a FITS file (.fits or .fz), nor a challenge"


def find_remedy(path: Path) -> str:
    """Return what helps against damage: a product of a run can be made again, other files cannot."""
    places = (path.absolute(), *path.absolute().parents)
    run = next((place for place in places if (place / "ledger").is_dir()), None)
    if run is None:
        return "it is no product of a run here: fetch it again"
    return f"`astro-dist repair {run}` sets them aside, and the next run makes them again"


def find_bad_records(root: Path) -> list[tuple[Path, str]]:
    """Return the damaged records of a run directory, each with the line that says so."""
    bad = []
    ledger = Ledger(root)
    # Hidden records (`.finished.json`, `.numerics.json`) are part of the search; claims are not records.
    for path in sorted(p for p in ledger.root.rglob("*.json") if ".claims" not in p.parts):
        try:
            if path.parent == ledger.root:
                ledger.published(path.stem)
            else:
                read_record(path)
        except IntegrityError as error:
            bad.append((path, f"{path.relative_to(root)}: {str(error).partition('; ')[0]}"))
    return bad


def repair_run(root: Path, show: Callable[[str], None], checks: Checks | None = None) -> None:
    """Set damaged records and products aside, so that the next run makes anew what they stood for.

    Nothing is deleted. A product whose publication is damaged is covered by nothing any more: the next run
    sets it aside and makes it again. A byte-stable product that is made again from the same settings has the
    same bytes, so the products of later stages stay valid. ``show`` is called with each line for the user.
    """
    require_run(root)
    with lock_folder(root):
        ledger = Ledger(root)
        for path, fault in find_bad_records(root):
            show(fault)
            show(f"{path.relative_to(root)} is now {set_aside(path, 'damaged').name}")
        for wrong, name in ((config_fault(root), CONFIG), (manifest_fault(root), MANIFEST)):
            if wrong is not None and (root / name).exists():
                show(wrong)
                show(f"{name} is now {set_aside(root / name, 'damaged').name}; the next run writes it")
        for stage, faults in verify_run(root, checks, alone=True).items():
            record = ledger.published(stage) if stage != LEDGER else None
            # Faults listed under `LEDGER` belong to no stage; those files were set aside above.
            if record is None:
                continue
            for fault in faults:
                show(fault)
            if (aside := _take_out_strange(root, record, faults)) is not None:
                show(f"{stage}: what is not part of {record.product} lies in {aside.name} now")
                continue
            show(f"{stage}: {_set_aside(root / record.product)}the next run makes {record.product} anew")
            # The product is renamed before its publication is deleted: after a kill in between, the product
            # is reported as missing and the repair goes on.
            if any(OTHER_BYTES in fault for fault in faults):
                _doubt(ledger, stage, show)
            ledger.retract(stage)


def _readable(root: Path) -> dict[str, Published]:
    """Return the publications whose records are sound."""
    ledger, found = Ledger(root), {}
    for path in sorted(ledger.root.glob("[!.]*.json")):
        # Damaged publications are listed by `find_bad_records`.
        with contextlib.suppress(IntegrityError):
            published = ledger.published(path.stem)
            if published is not None:
                found[path.stem] = published
    return found


def _compare(root: Path, record: Published, alone: bool) -> list[str]:
    """Return the faults of one product: missing, changed and strange files."""
    path, faults = root / record.product, []
    found = tree_digests(path) if path.exists() else {}
    for name, digest in record.files.items():
        shown = record.product if name == "." else f"{record.product}/{name}"
        if name not in found:
            faults.append(f"{shown}: missing")
        elif found[name] != digest:
            faults.append(f"{shown}: {OTHER_BYTES}")
    strange = find_strange(path, record.files)
    if not alone:
        strange = [name for name in strange if not is_leftover(Path(name).name)]
    return faults + [f"{record.product}/{name}: not part of the product" for name in strange]


def _take_out_strange(root: Path, record: Published, faults: Sequence[str]) -> Path | None:
    """Move strange files out of a product that has no other fault; return where they are, None otherwise."""
    path = root / record.product
    strange = find_strange(path, record.files)
    # A link may lead to a folder of the user's, where everything is strange.
    if "." in strange or len(strange) < len(faults) or path.resolve() != root.resolve() / record.product:
        return None
    return take_out(path, strange)


def _doubt(ledger: Ledger, damaged: str, show: Callable[[str], None]) -> None:
    """Correct what publications say that were made from a damaged input without comparing it.

    Version 0.1.0 read its inputs as they were. Its publications name the digests that were right, although
    the bytes may have been damaged already. With a corrected basis a stage counts as made from another input:
    `status` shows it and the next run makes it again. What was compared stays as it is.
    """
    for name, record in ledger.all_published().items():
        inputs = record.basis.get("inputs", {})
        if damaged in inputs and not record.compared:
            basis = {**record.basis, "inputs": {**inputs, damaged: DAMAGED}}
            ledger.publish(name, replace(record, basis=basis, fingerprint=fingerprint(basis)))
            show(
                f"{name}: made from {damaged} by a version that did not compare its inputs, maybe after the "
                "damage; the next run makes it anew"
            )


def _set_aside(path: Path) -> str:
    """Rename a product, if it is there; return a sentence about that for the user."""
    if not os.path.lexists(path):
        return ""
    return f"{path.name} is now {set_aside(path, 'damaged').name}, remove that when you like; "
