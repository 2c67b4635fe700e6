"""`verify`, `repair`, `regenerate` and `clean`: what is done with the products of a run."""

import argparse
import sys
from pathlib import Path
from typing import Any

from astro_dist import pipelines
from astro_dist.commands.printing import answer


def verify(arguments: argparse.Namespace) -> int:
    """Read a run, a store or a FITS file again and compare checksums."""
    from astro_dist.engine.errors import ConfigError, IntegrityError, printable
    from astro_dist.engine.integrity import find_remedy, verify_run, why_not

    path: Path = arguments.path
    unchecked: list[str] = []
    if (path / "ledger").is_dir() or (path / "config.yaml").is_file():
        faults = [fault for found in verify_run(path, _checks(path)).values() for fault in found]
    elif any((path / name / "challenge.json").is_file() for name in (".", "public")):
        from astro_dist.challenge.about import verify_package

        faults = verify_package(path)
    elif (path / "zarr.json").is_file():
        from astro_dist.store.verify import verify_store

        faults = verify_store(path)
    elif path.is_file() and path.suffix.lower() in (".fits", ".fz"):
        from astro_dist.sky.fits_file import verify_fits

        faults, unchecked = verify_fits(path)
    else:
        raise ConfigError(f"{path} {why_not(path)}")
    found = [printable(fault) for fault in faults]
    whole = [] if found else [f"{path}: all files have their published bytes{_say_missing(path)}"]
    value = {"path": path, "whole": not found, "faults": found, "unchecked": unchecked}
    if arguments.json or unchecked or found or whole:
        answer(arguments.json, value, lambda: [*unchecked, *found, *whole])
    if found:
        raise IntegrityError(f"{path}: {len(found)} faults; {find_remedy(path)}")
    return 0


def _say_missing(root: Path) -> str:
    """Say which stages of a run are still to come; nothing of anything else, or of a complete run."""
    from astro_dist.engine.errors import ConfigError

    if not ((root / "config.yaml").exists() and (root / "ledger").is_dir()):
        return ""
    try:
        runner = pipelines.reopen(root)
    except ConfigError:
        return ""
    published = runner.ledger.all_published()
    left = [stage.name for stage in runner.stages if stage.name not in published]
    return f"; still to come: {', '.join(left)}" if left else ""


def _checks(root: Path) -> dict[str, Any]:
    """Return the checks of products by stage, none where the configuration of the run cannot be used."""
    from astro_dist.engine.errors import ConfigError

    if not ((root / "config.yaml").exists() and (root / "ledger").is_dir()):
        return {}
    try:
        return {stage.name: stage.check for stage in pipelines.reopen(root).known}
    except ConfigError as error:
        print(f"note: products are compared with their records only: {error}", file=sys.stderr)
        return {}


def repair(arguments: argparse.Namespace) -> int:
    """Set damaged products aside."""
    from astro_dist.cluster.queue import refuse_while_queued
    from astro_dist.engine.errors import printable
    from astro_dist.engine.integrity import repair_run

    root: Path = arguments.run
    # A job would go on writing what the repair sets aside.
    refuse_while_queued(root)
    repair_run(root, lambda line: print(printable(line)), _checks(root))
    print(f"{root}: the published products have the bytes of their records")
    return 0


def regenerate(arguments: argparse.Namespace) -> int:
    """Make one stamp again and compare it with the store."""
    from astro_dist.generate.regenerate import regenerate_stamp

    path = regenerate_stamp(pipelines.reopen(arguments.run).run, arguments.stamp)
    print(f"stamp {arguments.stamp}: the same bytes as in the store; written to {path}")
    return 0


def clean(arguments: argparse.Namespace) -> int:
    """Remove what no stage of a run goes on with: begun outputs of other settings, old checkpoints."""
    from astro_dist.cluster.queue import refuse_while_queued
    from astro_dist.engine.cleaning import clean_run

    runner = pipelines.reopen(arguments.run)
    refuse_while_queued(runner.root)
    found = clean_run(runner.root, runner.states(), dry=arguments.dry_run)
    verb = "would remove" if arguments.dry_run else "removed"
    for path, size in found:
        print(f"{verb} {path.relative_to(runner.root)} ({size / 1e6:.1f} MB)")
    total = sum(size for _, size in found)
    print(f"{runner.root}: {verb} {total / 1e6:.1f} MB; products, logs and what a run goes on with stay")
    return 0
