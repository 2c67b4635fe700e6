"""Runs from Python: the same as the commands `astro-dist run` and `astro-dist plan`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from astro_dist import pipelines
from astro_dist.api.opened import OpenRun, open_run

if TYPE_CHECKING:
    from astro_dist.runner import Runner


def configurations() -> list[str]:
    """Return the names of the configurations that come with the package.

    Examples
    --------
    >>> import astro_dist
    >>> "quickstart" in astro_dist.configurations()
    True
    """
    return pipelines.shipped()


def plan(config: str | Path, out: str | Path | None = None, **settings: Any) -> list[dict[str, Any]]:
    """Return what a run would do, a mapping for each stage; nothing is run.

    Parameters
    ----------
    config
        A YAML file, or the name of a configuration of the package.
    out
        Run directory; by default ``runs/NAME``.
    **settings
        Settings that replace those of the file; sections are mappings.

    Returns
    -------
    list of dict
        ``stage``, ``status`` and the greatest ``tasks``, ``bytes``, ``files``, ``memory_bytes``, ``cpu_s``.

    Raises
    ------
    ConfigError
        The settings are wrong, or cannot lead to the products.

    Examples
    --------
    >>> import astro_dist
    >>> rows = astro_dist.plan("quickstart", "runs/other", simulate={"shape": [512, 512]})
    >>> rows[0]["stage"], rows[0]["status"]
    ('simulate', 'todo')
    """
    runner = _open(config, out, settings)
    runner.refuse_place()
    return [
        {"stage": stage.name, "status": status, **asdict(cost)} for stage, status, cost in runner.estimates()
    ]


def run(
    config: str | Path,
    out: str | Path | None = None,
    *,
    to: str | None = None,
    redo: Sequence[str] = (),
    quiet: bool = True,
    **settings: Any,
) -> OpenRun:
    """Bring a run to its end and return it opened; the same call goes on after any stop.

    The work is done in this process, unless ``machine={"executor": "processes"}`` says otherwise: a script
    must then guard its calls with ``if __name__ == "__main__":``.

    Parameters
    ----------
    config, out, **settings
        As those of `plan`.
    to
        Last stage; by default all stages are run.
    redo
        Stages that are made again, and those after them.
    quiet
        Show notes alone, and no progress, on standard error.

    Raises
    ------
    ConfigError
        The settings are wrong, or products would be replaced that ``redo`` does not name.
    IntegrityError
        A product has other bytes than it was published with.
    QuarantinedError
        Some tasks failed for good; or all stages are done, and some of the user's data were left out.

    Examples
    --------
    >>> import astro_dist
    >>> small = {"shape": [300, 300]}
    >>> made = astro_dist.run("quickstart", out="runs/first", to="simulate", simulate=small)
    >>> sorted(made.stages)
    ['simulate']
    """
    from astro_dist.cluster.queue import refuse_while_queued
    from astro_dist.engine.progress import Display
    from astro_dist.engine.rounds import refuse_quarantined

    machine = {"executor": "serial", **settings.pop("machine", {})}
    runner = _open(config, out, {**settings, "machine": machine}, to, redo)
    refuse_while_queued(runner.root)
    runner.execute(Display(quiet=quiet), redo)
    refuse_quarantined(runner.ledger)
    return open_run(runner.root)


def _open(
    config: str | Path,
    out: str | Path | None,
    settings: Mapping[str, Any],
    to: str | None = None,
    redo: Sequence[str] = (),
) -> "Runner":
    root = None if out is None else Path(out)
    return pipelines.open_runner(Path(config), root, list(_assignments(settings)), to, redo=redo)


def _assignments(settings: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield settings as the words of ``--set``."""
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _assignments(value, f"{prefix}{name}.")
        else:
            # YAML and not JSON: there 1e-05 is a text.
            plain = yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("...\n").strip()
            yield f"{prefix}{name}={plain}"
