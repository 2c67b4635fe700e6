"""What a run directory may remove and replace: only what this run directory published or began itself.

A product that a publication covers is replaced in steps that the next command can undo. A name that no
publication covers belongs to somebody else: it is set aside and never removed.
"""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import PART, fsync_folder, publish_folder, remove

OURS = frozenset({".lock", "logs"})
"""Names that a run directory may hold before its ledger is there."""
REPLACED = ".replaced"
# The mark in the hidden name lets `undo_replacements` look up whether the successor is published.
_REPLACED = re.compile(rf"\.(?P<name>.+)\.(?P<mark>[0-9a-f]{{12}}){re.escape(REPLACED + PART)}")


def refuse_foreign(root: Path) -> None:
    """Refuse a folder that holds other things and no ledger: a run there would mix with them.

    Raises
    ------
    ConfigError
        Names what the folder holds. Nothing has been written.
    """
    if os.path.isdir(root / "ledger") or not os.path.isdir(root):
        return
    others = sorted(path.name for path in root.iterdir() if path.name not in OURS)
    if others:
        shown = ", ".join(others[:4]) + (f" and {len(others) - 4} more" if len(others) > 4 else "")
        raise ConfigError(
            f"{root} is no run directory and holds other things ({shown}); choose an empty or a new folder "
            "with --out"
        )


def set_aside(path: Path, reason: str) -> Path:
    """Rename a file, folder or link so that its name is free, and return the new path: ``NAME.REASON-1``."""
    number = 1
    # `lexists`, because a dangling link takes the name too. `os.replace` would overwrite an earlier one.
    while os.path.lexists(aside := path.with_name(f"{path.name}.{reason}-{number}")):
        number += 1
    os.replace(path, aside)
    fsync_folder(path.parent)
    return aside


def replace_product(output: Path, final: Path, mark: str, covered: bool) -> Path | None:
    """Give a finished output its final name; return where what stood there, and was not ours, lies now.

    A published product is first renamed to a hidden name, and removed only by `drop_replaced`, once its
    successor is published. A kill in between leaves what `undo_replacements` turns back.

    Parameters
    ----------
    output, final
        The hidden output and the name it is to have; harmless when the rename was done already.
    mark
        The first 12 digits of the successor's fingerprint.
    covered
        Whether a publication of this run directory covers what stands at ``final``.
    """
    aside = None
    # Without an output the rename was done by an earlier command, and the new product is already at `final`.
    if os.path.lexists(output) and os.path.lexists(final):
        if covered:
            os.replace(final, _replaced(final, mark))
            # Flushed before the second rename, so that a power cut cannot keep the second and lose the first.
            fsync_folder(final.parent)
        else:
            aside = set_aside(final, "yours")
    publish_folder(output, final)
    return aside


def drop_replaced(final: Path, mark: str) -> None:
    """Remove a product whose successor is published."""
    remove(_replaced(final, mark))


def undo_replacements(folders: Iterable[Path], published: Mapping[Path, str]) -> None:
    """Turn back the replacements that a kill left between the first rename and the publication.

    The old product gets its name back, its finished successor its hidden one: the same command goes on from
    there. Where the successor is published already, what it replaced is removed.

    Parameters
    ----------
    folders
        Where products lie.
    published
        ``{path of a product: fingerprint}`` of the publications.
    """
    for folder in set(folders):
        for path in sorted(folder.glob(f".*{REPLACED}{PART}")):
            found = _REPLACED.fullmatch(path.name)
            if found is None:
                continue
            final = folder / found["name"]
            # The publication decides: with it the new product counts, without it the old one.
            if published.get(final, "").startswith(found["mark"]):
                remove(path)
                continue
            hidden = folder / f".{found['name']}.{found['mark']}{PART}"
            # The successor moves back first, which frees the name; either step may have been done before.
            if os.path.lexists(final) and not os.path.lexists(hidden):
                os.replace(final, hidden)
            if not os.path.lexists(final):
                os.replace(path, final)
            fsync_folder(folder)


def _replaced(final: Path, mark: str) -> Path:
    return final.with_name(f".{final.name}.{mark}{REPLACED}{PART}")
