"""What a run directory may remove and replace: only what this run directory published or began itself.

`remove` is the one function that removes below a run directory; no other module deletes anything there. It is
called for hidden names of our own writers, for the ledger, and for a product after its successor is
published. A product that is as its publication says is replaced in steps that the next command can undo.
Anything else under the name of a product belongs to somebody else: it is set aside and never removed.
"""

import os
import re
import uuid
from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path, PurePath

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import PART, discard, fsync_folder, publish_folder, sha256_file

OURS = frozenset({".lock", "logs"})
"""Names that a run directory may hold before its ledger is there."""
SETTINGS = frozenset({"config.yaml", "manifest.json"})
NO_PRODUCT = "holds no published product; is it a run directory? Then put its ledger/ back"
BESIDE = (*sorted(SETTINGS), "stamp-*.npz")
"""Names of files that commands write beside the products."""
REPLACED = ".replaced"
# The mark in the hidden name lets `undo_replacements` look up whether the successor is published.
_REPLACED = re.compile(rf"\.(?P<name>.+)\.(?P<mark>[0-9a-f]{{12}}){re.escape(REPLACED + PART)}")
# Marks: 12 digits of a digest or a uuid, or a whole uuid (32). Foreign `.part` files do not match.
_LEFTOVER = re.compile(r"\.(?P<name>.+)\.(?:[0-9a-f]{12}|[0-9a-f]{32})\.part")
_VERSION = re.compile("[0-9a-f]{16}")
# A name that `remove` gave to something hidden has two dots at its front.
_DOOMED = re.compile(r"\.\..+\.[0-9a-f]{12}\.part")


def refuse_foreign(root: Path) -> None:
    """Refuse a folder that holds other things and no ledger: a run there would mix with them.

    Raises
    ------
    ConfigError
        Names what the folder holds. Nothing has been written.
    """
    if not os.path.isdir(root) or _holds_records(root):
        return
    there = set(os.listdir(root))
    others = sorted(there - OURS)
    # A command that was killed before its first stage leaves an empty ledger and the settings, perhaps begun.
    if os.path.isdir(root / "ledger") and all(_is_begun(path) for path in (root / "ledger").rglob("*")):
        others = [name for name in others if name != "ledger" and _written_name(name) not in SETTINGS]
    if others:
        shown = ", ".join(others[:4]) + (f" and {len(others) - 4} more" if len(others) > 4 else "")
        was_run = ", or, if this was a run, put its ledger/ back" if SETTINGS & there else ""
        raise ConfigError(
            f"{root} is no run directory and holds other things ({shown}); choose an empty or a new folder "
            f"with --out{was_run}"
        )


def refuse_inside(root: Path) -> None:
    """Refuse a folder inside the run directory of another run, whose products it would become part of."""
    for outer in root.parents:
        if _holds_versions(outer):
            raise ConfigError(
                f"{outer} is a run directory, and no other run may lie in it; choose a folder outside of it "
                "with --out"
            )


def _is_begun(path: Path) -> bool:
    """Return whether this in a ledger may be left of a writer that was killed before its first record."""
    return path.is_dir() or is_leftover(path.name)


def _written_name(name: str) -> str:
    """Return the name that a writer's hidden file is to have; another name as it is."""
    match = _LEFTOVER.fullmatch(name)
    return match["name"] if match else name


def require_run(root: Path) -> None:
    """Refuse a folder that no run has written records to.

    Raises
    ------
    ConfigError
        There is no such folder, or it holds no record.
    """
    if not _holds_records(root):
        raise ConfigError(f"{root} {NO_PRODUCT}")


def _holds_versions(root: Path) -> bool:
    """Return whether a folder has a ledger with records of a stage."""
    ledger = root / "ledger"
    names = (name for stage in _names_in(ledger) for name in _names_in(ledger / stage))
    return any(name == "begun.json" or _VERSION.fullmatch(name) for name in names)


def _names_in(folder: Path) -> list[str]:
    """Return the names in a folder, none where there is no folder."""
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError:
        # Taken as empty, a run would be begun inside another one.
        raise ConfigError(f"you may not read {folder}, which may belong to a run; ask its owner") from None


def _holds_records(root: Path) -> bool:
    """Return whether a folder has a ledger with a publication, or with records of a stage."""
    if _holds_versions(root):
        return True
    # Others have folders of this name too, with files of theirs.
    paths = [root / "ledger" / name for name in _names_in(root / "ledger") if name.endswith(".json")]
    files = [path for path in paths if path.is_file()]
    return any(b'"fingerprint"' in path.read_bytes() for path in files)


def remove(path: Path) -> None:
    """Remove a file, a folder or a link of this run directory, if it is there, at once.

    A link is unlinked, and what it points to stays. Products under their own names are not given to this
    function: see `replace_product`.
    """
    if not os.path.lexists(path):
        return
    # Deleting a tree takes time; a kill in the middle must not leave half of it under the old name.
    doomed = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}{PART}")
    os.replace(path, doomed)
    discard(doomed)


def remove_empty(folder: Path) -> None:
    """Remove a folder of this run directory unless it holds something that is not ours."""
    if folder.is_dir() and not folder.is_symlink() and not os.listdir(folder):
        remove(folder)


def sweep(folder: Path, names: Collection[str] = ("*",)) -> int:
    """Remove hidden leftovers of killed writers directly in ``folder``; return how many.

    A leftover is ``.NAME.MARK.part`` with a mark of 12 hexadecimal digits, as writers here make them, where
    NAME matches one of ``names``. Folders that hold nothing but our own files take every name.
    """
    found = [(path, _LEFTOVER.fullmatch(path.name)) for path in folder.glob(f".*{PART}")]
    doomed = [path for path, match in found if match and any(fnmatchcase(match["name"], n) for n in names)]
    for path in doomed:
        discard(path)
    return len(doomed)


def sweep_outputs(final: Path, keep: Path, begun: Collection[str]) -> None:
    """Remove hidden outputs of a product, except ``keep``, in the versions that the ledger holds.

    Parameters
    ----------
    final
        The name of the product.
    keep
        The output of the version that is wanted now.
    begun
        The marks (12 digits) of the versions. A hidden name with another mark is somebody else's.
    """
    ours = {f".{final.name}.{mark}{PART}" for mark in begun} - {keep.name}
    for path in list(final.parent.glob(f".*{PART}")):
        if path.name in ours or _DOOMED.fullmatch(path.name):
            remove(path)


def set_aside(path: Path, reason: str) -> Path:
    """Rename a file, folder or link so that its name is free, and return the new path: ``NAME.REASON-1``."""
    aside = _free_name(path, reason)
    os.replace(path, aside)
    fsync_folder(path.parent)
    return aside


def _free_name(path: Path, reason: str) -> Path:
    number = 1
    # `lexists`, because a dangling link takes the name too. `os.replace` would overwrite an earlier one.
    while os.path.lexists(free := path.with_name(f"{path.name}.{reason}-{number}")):
        number += 1
    return free


def replace_product(output: Path, final: Path, mark: str, published: Mapping[str, str] | None) -> Path | None:
    """Give a finished output its final name; return where what stood there, and was not ours, lies now.

    A published product is first renamed to a hidden name, and removed only by `drop_replaced`, once its
    successor is published. A kill in between leaves what `undo_replacements` turns back.

    Parameters
    ----------
    output, final
        The hidden output and the name it is to have; harmless when the rename was done already.
    mark
        The first 12 digits of the successor's fingerprint.
    published
        The digests of the files that a publication of this run directory lists for ``final``; None
        without one. What holds anything else, or other bytes, is set aside.
    """
    aside = None
    # Without an output the rename was done by an earlier command, and the new product is already at `final`.
    if os.path.lexists(output) and os.path.lexists(final):
        if _is_published(final, published):
            os.replace(final, _replaced(final, mark))
            # Flushed before the second rename, so that a power cut cannot keep the second and lose the first.
            fsync_folder(final.parent)
        else:
            aside = set_aside(final, "yours")
    publish_folder(output, final)
    return aside


def _is_published(final: Path, published: Mapping[str, str] | None) -> bool:
    """Return whether a product holds nothing but files of its publication, byte for byte."""
    if published is None or find_strange(final, published):
        return False
    there = ((final / name, digest) for name, digest in published.items() if os.path.lexists(final / name))
    return all(path.is_file() and sha256_file(path) == digest for path, digest in there)


def find_strange(product: Path, files: Collection[str]) -> list[str]:
    """Return the names below a product, relative to it, that are neither its files nor folders of these.

    Every kind of entry counts: empty folders, pipes, links to nowhere. A folder is named without what is in
    it. The product itself may be a link.
    """
    if not product.is_dir():
        return [] if "." in files or not os.path.lexists(product) else ["."]
    folders = {parent.as_posix() for name in files for parent in PurePath(name).parents}
    strange = []
    for folder, inner, names in os.walk(product):
        here = Path(folder).relative_to(product)
        # A link in place of a folder is not the folder that was published, whatever it leads to.
        foreign = [n for n in inner if (here / n).as_posix() not in folders or Path(folder, n).is_symlink()]
        strange += [(here / name).as_posix() for name in foreign]
        strange += [name for n in names if (name := (here / n).as_posix()) not in files]
        # Assigned in place: `os.walk` goes into what is left.
        inner[:] = [name for name in inner if name not in foreign]
    return sorted(strange)


def take_out(product: Path, names: Collection[str]) -> Path:
    """Move what is not part of a product (which is no link) out of it; return the folder it is in now."""
    aside = _free_name(product, "yours")
    for name in names:
        (aside / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(product / name, aside / name)
    return aside


def is_leftover(name: str) -> bool:
    """Return whether a name is one that a writer here gives to a file or folder that is not finished."""
    return _LEFTOVER.fullmatch(name) is not None


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
