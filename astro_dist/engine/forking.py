"""A new run directory that begins with the products of another run.

A product that the new settings leave as it is comes into the new run with its records, as a link to the same
files where the disk allows it and else as a copy. All other products are left to the next ``run``. Products
are never written in place, so that neither run can change what the other one holds.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from astro_dist.engine.config import fingerprint
from astro_dist.engine.custody import refuse_inside
from astro_dist.engine.errors import ConfigError, IntegrityError
from astro_dist.engine.files import publish_new_folder
from astro_dist.engine.ledger import Ledger, Published
from astro_dist.engine.manifest import write_config, write_manifest
from astro_dist.engine.states import States
from astro_dist.engine.work import Run, Stage


def fork_run(
    source: Path, root: Path, config: Any, stages: Sequence[Stage], show: Callable[[str], None]
) -> tuple[list[str], list[str]]:
    """Make a run directory with all products of another run that a configuration leaves as they are.

    Parameters
    ----------
    source
        Run directory that the products are taken from; nothing in it changes.
    root
        Run directory to make.
    config, stages
        The resolved configuration of the new run and its stages, in order.

    Returns
    -------
    list of str, list of str
        The stages whose products were taken, and those that are still to be run.

    Raises
    ------
    ConfigError
        ``root`` exists or lies in a run directory, or no product of ``source`` is as ``config`` asks for.
    IntegrityError
        A product lacks a published file, or changed meanwhile.
    """
    if os.path.lexists(root):
        raise ConfigError(f"{root} exists already; name a new folder")
    refuse_inside(Path(os.path.realpath(root)))
    taken: list[str] = []
    with publish_new_folder(root) as folder:
        (folder / "ledger").mkdir()
        states = States(Run.of(folder, config), config, stages)
        for stage in stages:
            published = Ledger(source).published(stage.name)
            inputs = {s.name for s in stages if s.name in stage.inputs}
            # The basis of a stage can be named only once its inputs are here.
            if published is None or not inputs <= set(taken) or published.is_doubted:
                continue
            if published.fingerprint == fingerprint(states.basis(stage)):
                _take(source, folder, stage.name, published)
                taken.append(stage.name)
        if not taken:
            raise ConfigError(f"{source} holds no product with these settings; begin a new run with --out")
        write_config(folder, config, show)
        write_manifest(folder, config.seed, show)
    return taken, [stage.name for stage in stages if stage.name not in taken]


def _take(source: Path, folder: Path, stage: str, published: Published) -> None:
    """Bring one product with its records."""
    for name in published.files:
        _link(source / published.product / name, folder / published.product / name)
    records = Ledger(source).records(stage, published.fingerprint).folder
    for path in sorted(records.glob("*.json")):
        _link(path, folder / path.relative_to(source))
    if Ledger(source).published(stage) != published:
        raise IntegrityError(f"{source}: {stage} was made again meanwhile; give the command again")
    Ledger(folder).publish(stage, published)


def _link(path: Path, new: Path) -> None:
    new.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, new)
    except FileNotFoundError:
        raise IntegrityError(f"{path} was published and is gone; put it back, or repair the run") from None
    except OSError:
        # Another disk, a file system without links, or a file of somebody else.
        shutil.copy2(path, new)
