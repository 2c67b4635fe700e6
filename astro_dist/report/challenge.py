"""What ``astro-dist challenge`` does: which arguments belong together, and what is printed."""

from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from astro_dist.challenge.config import ChallengeConfig
from astro_dist.engine.config import validate
from astro_dist.engine.errors import ConfigError, printable

BELONG = {
    "package": {"out", "public", "hips", "training"},
    "validate": {"package", "columns"},
    "score": {"package", "out", "instances", "beam", "columns"},
}
"""The options of each action."""
FIELD = "field"


def run_challenge(arguments: Namespace, reopen: Callable[[Path], Any]) -> int:
    """Do one action; return the exit code.

    Parameters
    ----------
    reopen
        ``(run directory) -> runner``, which lies above this room.
    """
    action, paths = arguments.action, list(arguments.paths)
    _refuse_options(arguments)
    if action == "package":
        return _package(arguments, reopen)
    if arguments.package is None:
        raise ConfigError(f"{action} needs the package; add --package DIR")
    columns = _read_columns(arguments.columns)
    if action == "score":
        from astro_dist.challenge.score import Options
        from astro_dist.challenge.validate import remark_on_faults
        from astro_dist.report.scores import score_files

        if arguments.beam is not None and not 0 < arguments.beam < 36000:
            raise ConfigError(f"--beam {arguments.beam:g} is no width of a beam in arcsec; mend it")
        out = arguments.out or Path("scores")
        options = Options(arguments.instances, arguments.beam, columns)
        for line in score_files(paths, arguments.package, out, options):
            print(line)
        for line in remark_on_faults(paths, arguments.package, columns):
            print(printable(line))
        return 0
    from astro_dist.challenge.validate import validate_files

    return validate_files(paths, arguments.package, columns=columns)


def _read_columns(words: Sequence[str]) -> dict[str, str]:
    """Return the table's names of our columns, from words such as ``flux_jy=S_int [mJy]``."""
    from astro_dist.challenge.submission import NEEDED, OTHERS, PLACES, WIDTHS
    from astro_dist.engine.config import nearest

    found, known = dict[str, str](), (*NEEDED, *PLACES, *WIDTHS, *OTHERS)
    for word in words:
        ours, _, theirs = word.partition("=")
        if ours not in known:
            raise ConfigError(f"--columns: unknown column {ours!r}; {nearest(ours, known)}")
        if not theirs.strip():
            raise ConfigError(f"--columns {ours}: names no column of the table; write {ours}=NAME")
        found[ours] = theirs.strip()
    return found


def _refuse_options(arguments: Namespace) -> None:
    known = set().union(*BELONG.values())
    given = {name for name in known if getattr(arguments, name) not in (None, False, [])}
    if wrong := sorted(given - BELONG[arguments.action]):
        raise ConfigError(f"--{wrong[0]} is no option of `challenge {arguments.action}`; leave it out")


def _show_size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{-(-size // 1000)} kB"


def _package(arguments: Namespace, reopen: Callable[[Path], Any]) -> int:
    root, *fields = arguments.paths
    if arguments.out is None:
        raise ConfigError("package needs a new folder; add --out DIR")
    # A run has one field so far, under this name.
    for name in fields:
        if str(name) != FIELD:
            raise ConfigError(f"{root} has no field {str(name)!r}; it has {FIELD}")
    changed: dict[str, Any] = {} if arguments.training is None else {"training_share": arguments.training}
    if arguments.hips:
        changed["hips"] = True
    validate(ChallengeConfig, changed)
    from astro_dist.challenge.package import announce, find_notes, pack, refuse_taken
    from astro_dist.challenge.packing import Packing
    from astro_dist.challenge.stage import refuse_hips
    from astro_dist.engine.outputs import check_product

    refuse_taken(arguments.out)
    run = reopen(root).run
    if run.ledger.published("assemble") is None:
        raise ConfigError(f"{root} has no finished field; `astro-dist run` its configuration first")
    check_product(root, "assemble")
    config = validate(ChallengeConfig, {**run.section(ChallengeConfig).model_dump(), **changed})
    refuse_hips(config)
    packing = Packing.open(run, root / FIELD, config)
    for name, size in announce(packing).items():
        if not (arguments.public and name.startswith("hidden")):
            print(f"{name}: up to {_show_size(size)}")
    for note in find_notes(packing):
        print(f"note: {note}")
    pack(packing, arguments.out, public_only=arguments.public)
    print(f"{arguments.out}: whole; `astro-dist verify {arguments.out}` reads it again")
    return 0
