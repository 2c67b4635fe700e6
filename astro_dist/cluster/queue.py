"""The jobs of a run that are in the queue of Slurm, or in none where no job was ever submitted."""

import os
import shutil
from pathlib import Path

from astro_dist.cluster.slurm import Queued, read_queue, read_settled_queue
from astro_dist.engine.errors import ConfigError

Queue = dict[str, list[Queued]]


def log_folder(root: Path) -> Path:
    """Return the folder with the sbatch files and the output of all jobs of a run."""
    return root / "logs" / "slurm"


def queue_of(root: Path) -> Queue:
    """Return the queued jobs of a run, by sbatch file; empty where nothing was ever submitted."""
    logs = log_folder(Path(os.path.realpath(root)))
    return read_queue(logs) if _holds_any(logs) else {}


def settled_queue_of(root: Path) -> Queue:
    """Return the queue of a run as `queue_of` does, once none of its jobs is ending."""
    logs = log_folder(Path(os.path.realpath(root)))
    return read_settled_queue(logs) if _holds_any(logs) else {}


def _holds_any(logs: Path) -> bool:
    """Return whether anything may have been submitted: a job's sbatch file is written before."""
    return logs.exists() and any(not path.name.startswith(".") for path in logs.iterdir())


def refuse_while_queued(root: Path) -> None:
    """Raise `ConfigError` when jobs of a run directory are in the queue: they would do the same work.

    On a machine without Slurm nothing is checked.
    """
    if shutil.which("squeue") is None:
        return
    try:
        queue = queue_of(root)
    except ConfigError as error:
        raise ConfigError(
            f"cannot check whether jobs of {root} are in the queue: {error}; if you are sure that none are, "
            f"remove {log_folder(root)}"
        ) from None
    # An empty queue needs no second call. Otherwise ending jobs are waited for, which may leave none.
    queue = queue and settled_queue_of(root)
    ids = sorted({row.id for rows in queue.values() for row in rows}, key=int)
    if ids:
        raise ConfigError(
            f"jobs of {root} are in the queue ({', '.join(ids)}); wait for them, or take them out first: "
            f"astro-dist cancel {root}"
        )
