"""The command line: arguments are parsed, a command is called, errors become one line and an exit code.

Only the standard library is imported before a command is known, so that ``--help`` answers at once.
"""

import argparse
import errno
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from astro_dist import __version__, pipelines
from astro_dist.challenge.arguments import CHALLENGE

ALONE = " Runs this stage alone: the products of earlier stages must be in the run directory."
QUIET_OFFLINE = {
    "DS_ACCELERATOR_LOG_LEVEL": "error",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    # pydantic would look for plugins in every installed package, and no setting of ours needs one.
    "PYDANTIC_DISABLE_PLUGINS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
}
"""Environment in which libraries print little and use no network; the user's own values come first."""


Argument = tuple[str, dict[str, Any]]
"""The name of an argument and the settings of `argparse` for it."""


def _argument(name: str, **options: Any) -> Argument:
    return name, options


def _count(text: str) -> int:
    """Return a text as a whole number of at least one."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


RUN = _argument("run", type=Path, metavar="RUN", help="a run directory")
TO = _argument("--to", metavar="STAGE", help="only this stage and the stages it needs")
CONFIG = (
    _argument("config", type=Path, metavar="CONFIG", help="a YAML file"),
    _argument("--out", type=Path, metavar="RUN", help="run directory (default: runs/NAME)"),
    _argument(
        "--set",
        action="append",
        default=[],
        metavar="A.B=C",
        dest="assignments",
        help="change a setting; may be repeated",
    ),
)
EXECUTORS = ("serial", "processes", "ray")
REDO = "make this stage and those after it again, and replace their products"
RUNNER = (
    *CONFIG,
    _argument("--on", choices=EXECUTORS, help="executor of the tasks (machine.executor)"),
    _argument("--workers", type=int, metavar="N", help="number of workers at once (machine.workers)"),
    _argument("--redo", action="append", default=[], metavar="STAGE", help=REDO),
    _argument("--cluster", type=Path, metavar="FILE", help="submit to Slurm, with the settings of this file"),
    _argument("--dry-run", action="store_true", help="with --cluster: print the sbatch files only"),
)
NETWORK = _argument("stage", metavar="NAME", help="which network")
SITE = _argument("--cluster", type=Path, metavar="FILE", help="plan for Slurm too, with this file")
LOGS = (
    _argument("--stage", metavar="STAGE", help="of this stage only"),
    _argument("--lines", type=_count, default=20, metavar="N", help="how many lines of each (20)"),
)
PRODUCT = _argument("path", type=Path, metavar="PATH", help="a run directory, a store or a FITS file")
STAMP = _argument("--stamp", type=int, required=True, metavar="ID", help="its number in stamps.zarr")
WORDS = _argument("words", nargs="*", metavar="[PIPELINE] [FILE]", help="default: radio astro_dist.yaml")
JOB = (
    _argument("--stage", required=True),
    _argument("--share", action="store_true"),
    _argument("--begin"),
    _argument("--redo", action="append", default=[]),
)


def build_parser(stages: Mapping[str, str] | None = None, only: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of every command, or of the command ``only``, which costs far less.

    ``stages`` are by default the stages of the package.
    """
    stages = pipelines.commands() if stages is None else stages
    parser = argparse.ArgumentParser(
        prog="astro-dist",
        description="Make and judge synthetic astronomical images. Pipelines: "
        + "; ".join(f"{name}, {listing.help}" for name, listing in pipelines.PIPELINES.items())
        + ".",
        epilog="exit codes: 0 complete, 1 fault of astro-dist, 2 wrong input, 3 damaged data, "
        "4 tasks quarantined, 75 stopped: run the same command to resume",
    )
    parser.add_argument("--version", action="version", version=f"astro-dist {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (text, more, arguments) in describe_commands(stages).items():
        if only not in (None, name):
            continue
        # A command without a sentence is left out of the list; its own help begins with the sentence.
        sentence = f"{text[:1].upper()}{text[1:]}.{more}"
        said: dict[str, Any] = {"help": text, "description": sentence} if text else {}
        command = commands.add_parser(name, **said)
        for argument, options in arguments:
            command.add_argument(argument, **options)
    pipelines.add_tools(commands, only)
    return parser


def describe_commands(stages: Mapping[str, str]) -> dict[str, tuple[str, str, Sequence[Argument]]]:
    """Return ``{command: (what it does, what its own help adds, its arguments)}``."""
    trained = [words.partition(" ")[2] for words in stages if words.startswith("train ")]
    plain = {name: text for name, text in stages.items() if not name.startswith("train ")}
    return {
        "run": ("run all stages of a configuration that are not done", "", (*RUNNER, TO)),
        **{name: (text, ALONE, RUNNER) for name, text in plain.items()},
        "train": (f"train one network: {', '.join(trained)}", ALONE, (NETWORK, *RUNNER)),
        "plan": ("show what a run would do and cost; runs nothing", "", (*CONFIG, TO, SITE)),
        "status": ("show how far a run is", "", (RUN,)),
        "logs": ("show the last lines that the Slurm jobs of a run printed", "", (RUN, *LOGS)),
        "cancel": ("take the jobs of a run out of the Slurm queue", "", (RUN,)),
        "verify": ("read every product again and compare checksums", "", (PRODUCT,)),
        "repair": ("set damaged products aside, so that the next run makes them anew", "", (RUN,)),
        "regenerate": ("make one stamp again and compare it with the store", "", (RUN, STAMP)),
        "challenge": (
            "package a field as a data challenge; check and score what is handed in",
            "",
            CHALLENGE,
        ),
        "doctor": ("show what this machine can and cannot do, and why", "", ()),
        "init": ("write a commented starter configuration", "", (WORDS,)),
        # The sbatch files call it on a node; users have no need of it.
        "job": ("", "", (RUN, *JOB)),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = _parse(sys.argv[1:] if argv is None else argv)
    # Before any import of those libraries, which read their variables once.
    for name, value in QUIET_OFFLINE.items():
        os.environ.setdefault(name, value)
    from astro_dist.engine.errors import AstroDistError, ConfigError, print_error

    try:
        return _dispatch(arguments)
    except AstroDistError as error:
        return print_error(error)
    except PermissionError as error:
        reason = f"you may not read or write {error.filename}; ask its owner, or choose another directory"
        return print_error(ConfigError(reason))
    except OSError as error:
        if error.errno not in (errno.ENAMETOOLONG, errno.ELOOP):
            raise
        return print_error(ConfigError(f"{error.filename}: {error.strerror}; mend the path"))
    except KeyboardInterrupt:
        print("astro-dist: stopped; run the same command to go on", file=sys.stderr)
        # EX_TEMPFAIL of sysexits.h, as for `StoppedError`: the same command resumes.
        return 75
    except BrokenPipeError:
        # The reader of the output ended early, as `head` does; the flush at exit must not fail as well.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse a command line; import other packages' pipelines only for a command that this one lacks."""
    stages = pipelines.commands()
    word = next((word for word in argv[:1] if not word.startswith("-")), None)
    tools = {name for name, listing in pipelines.PIPELINES.items() if listing.tools}
    if word is None or word in tools | describe_commands(stages).keys():
        return build_parser(stages, word).parse_args(argv)
    if pipelines.outside_names():
        stages = {**stages, **pipelines.outside_commands()}
    return build_parser(stages).parse_args(argv)


def _dispatch(arguments: argparse.Namespace) -> int:
    command = arguments.command
    if hasattr(arguments, "tool"):
        return pipelines.use_tool(arguments)
    if command == "init":
        return _init(arguments.words)
    if command == "doctor":
        return _doctor()
    if command == "challenge":
        from astro_dist.report.challenge import run_challenge

        return run_challenge(arguments, pipelines.reopen)
    if command == "status":
        return _status(arguments.run)
    if command in ("logs", "cancel", "job"):
        return _slurm(command, arguments)
    if command == "verify":
        return _verify(arguments.path)
    if command == "repair":
        return _repair(arguments.run)
    if command == "regenerate":
        return _regenerate(arguments.run, arguments.stamp)
    if command == "plan":
        return _plan(arguments)
    only = None if command == "run" else getattr(arguments, "stage", command)
    return _run(arguments, only)


def _open(arguments: argparse.Namespace, only: str | None = None) -> Any:
    """Return the runner of the configuration that a command names, changed by the command's options."""
    assignments = list(arguments.assignments)
    for key, value in (
        ("executor", getattr(arguments, "on", None)),
        ("workers", getattr(arguments, "workers", None)),
    ):
        if value is not None:
            assignments.append(f"machine.{key}={value}")
    to = getattr(arguments, "to", None)
    redo = getattr(arguments, "redo", ())
    return pipelines.open_runner(arguments.config, arguments.out, assignments, to, only, redo)


def _run(arguments: argparse.Namespace, only: str | None) -> int:
    rank = None
    if arguments.command == "train":
        from astro_dist.train.ranks import launched_rank

        # A launcher such as torchrun starts this command once for each rank; the first rank alone publishes.
        rank = launched_rank()
        if rank is not None:
            # The launcher has started one process per rank already; a rank is its own worker.
            arguments.on = "serial"
    runner = _open(arguments, only)
    # After the configuration, most faults of which need none of these.
    from astro_dist.cluster.queue import refuse_while_queued
    from astro_dist.engine.errors import ConfigError
    from astro_dist.engine.progress import Display
    from astro_dist.engine.stopping import stop_on_signals

    if arguments.cluster is not None:
        from astro_dist.cluster.commands import submit_run

        return submit_run(runner, arguments.cluster, arguments.redo, arguments.dry_run)
    if arguments.dry_run:
        raise ConfigError("--dry-run shows sbatch files; give --cluster FILE too, or take `astro-dist plan`")
    refuse_while_queued(runner.root)
    with stop_on_signals():
        # 0 is the first rank and None a plain command: both run the stage, record and publish.
        if rank:
            runner.follow(arguments.redo)
            return 0
        runner.execute(Display(), arguments.redo)
    shown = runner.results() if only is None else {only: runner.root / runner.stages[0].product}
    for name, path in shown.items():
        print(f"{name}: {path}")
    return 0


def _slurm(command: str, arguments: argparse.Namespace) -> int:
    from astro_dist.cluster import commands

    if command == "logs":
        return commands.show_logs(arguments.run, arguments.stage, arguments.lines)
    if command == "cancel":
        return commands.cancel(arguments.run)
    return commands.run_job(pipelines.reopen(arguments.run, arguments.stage), arguments)


def _plan(arguments: argparse.Namespace) -> int:
    runner = _open(arguments)
    runner.refuse_place()
    from astro_dist.engine.progress import plan_lines
    from astro_dist.workers.machine import choose_machine

    # Called only for the `ConfigError` that it raises for missing GPUs.
    choose_machine(runner.config.machine)
    lines = plan_lines(runner.estimates())
    print(f"{runner.config.name} in {arguments.out or Path('runs') / runner.config.name}")
    print("\n".join(lines))
    if arguments.cluster is not None:
        from astro_dist.cluster.commands import plan_on_cluster

        print("\n".join(plan_on_cluster(runner, arguments.cluster)))
    return 0


def _status(root: Path) -> int:
    from astro_dist.cluster.status import status_lines

    print("\n".join(status_lines(pipelines.reopen(root))))
    return 0


def _verify(path: Path) -> int:
    from astro_dist.engine.errors import ConfigError, IntegrityError, printable
    from astro_dist.engine.integrity import find_remedy, verify_run, why_not

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
        for line in unchecked:
            print(line)
    else:
        raise ConfigError(f"{path} {why_not(path)}")
    for fault in faults:
        print(printable(fault))
    if faults:
        raise IntegrityError(f"{path}: {len(faults)} faults; {find_remedy(path)}")
    print(f"{path}: all files have their published bytes")
    return 0


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


def _repair(root: Path) -> int:
    from astro_dist.cluster.queue import refuse_while_queued
    from astro_dist.engine.errors import printable
    from astro_dist.engine.integrity import repair_run

    # A job would go on writing what the repair sets aside.
    refuse_while_queued(root)
    repair_run(root, lambda line: print(printable(line)), _checks(root))
    print(f"{root}: the published products have the bytes of their records")
    return 0


def _regenerate(root: Path, stamp: int) -> int:
    from astro_dist.generate.regenerate import regenerate_stamp

    path = regenerate_stamp(pipelines.reopen(root).run, stamp)
    print(f"stamp {stamp}: the same bytes as in the store; written to {path}")
    return 0


def _doctor() -> int:
    from astro_dist.doctor import describe_packages
    from astro_dist.workers.machine import describe_machine

    for what, finding, good in [*describe_machine(), *describe_packages()]:
        print(f"{'ok ' if good else 'note'} {what:<14} {finding}")
    return 0


def _init(words: Sequence[str]) -> int:
    from astro_dist.engine.config import describe
    from astro_dist.engine.errors import ConfigError
    from astro_dist.engine.files import publish_bytes

    # One word may be a pipeline or a file; a name of a pipeline comes first.
    named = [word for word in words[:1] if word in {*pipelines.PIPELINES, *pipelines.outside_names()}]
    rest = list(words[len(named) :]) or ["astro_dist.yaml"]
    if len(rest) > 1:
        raise ConfigError(f"init takes a pipeline and one file, not {' '.join(words)!r}")
    pipeline, path = pipelines.load(named[0] if named else pipelines.DEFAULT), Path(rest[0])
    if os.path.lexists(path):
        raise ConfigError(f"{path} exists already; name another file: astro-dist init OTHER.yaml")
    if not path.parent.is_dir():
        raise ConfigError(f"there is no folder {path.parent}; make it first, or name another file")
    try:
        publish_bytes(path, describe(pipeline.config()).encode())
    except OSError as error:
        raise ConfigError(f"cannot write {path} ({error.strerror}); name another file") from None
    print(f"{path}: every setting with its default; run it with `astro-dist run {path}`")
    return 0
