"""What a run directory holds that no stage will use again, and its removal.

Products are never touched, and neither is anything that the same command would go on with: of a stage that is
not done, the output and the records of its present settings stay, and so do its checkpoints.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from astro_dist.engine.custody import remove
from astro_dist.engine.files import PART, lock_folder
from astro_dist.engine.ledger import Ledger
from astro_dist.engine.states import StageState


def clean_run(root: Path, states: Sequence[StageState], *, dry: bool = False) -> list[tuple[Path, int]]:
    """Remove what is left over; return the paths with their sizes on the disk in bytes.

    Parameters
    ----------
    states
        All stages of the run as they stand.
    dry
        Only look.

    Raises
    ------
    ConfigError
        Another command is using the run directory.
    """
    if dry:
        return [(path, _size(path)) for path in find_leftovers(root, states)]
    with lock_folder(root):
        found = [(path, _size(path)) for path in find_leftovers(root, states)]
        for path, _ in found:
            remove(path)
    return found


def find_leftovers(root: Path, states: Sequence[StageState]) -> list[Path]:
    """Return the outputs, checkpoints and notes below a run directory that no stage goes on with."""
    return [path for state in states for path in _of_stage(root, state, states)]


def _of_stage(root: Path, state: StageState, states: Sequence[StageState]) -> Iterator[Path]:
    name, final = state.stage.name, root / state.stage.product
    # The settings of a stage that waits for another are not final: any begun output may be its own.
    if state.status == "after":
        return
    marks = Ledger(root).marks(name)
    wanted = set() if state.status == "done" else {state.fingerprint[:12]}
    for mark in sorted(marks - wanted):
        if (hidden := final.with_name(f".{final.name}.{mark}{PART}")).exists():
            yield hidden
    if state.status != "done":
        return
    # `masks-` is also how checkpoints of a training `masks-large` begin; these are that stage's.
    others = tuple(f"{other.stage.name}-" for other in states if other.stage.name.startswith(f"{name}-"))
    for folder in (root / "checkpoints", root / "logs" / "progress"):
        for path in sorted(folder.glob(f"{name}-*")):
            if not path.name.startswith(others or ("\0",)):
                yield path


def _size(path: Path) -> int:
    """Return the bytes that a file or a folder takes on the disk."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file() and not p.is_symlink()]
    # Blocks are counted, because files of a field may be sparse.
    return sum(file.stat().st_blocks * 512 for file in files)
