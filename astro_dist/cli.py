"""The command line: arguments are parsed, a command is called, errors become one line and an exit code.

Only the standard library is imported before a command is known, so that ``--help`` answers at once.
"""

import argparse
import errno
import importlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

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
SET = _argument(
    "--set",
    action="append",
    default=[],
    metavar="A.B=C",
    dest="assignments",
    help="change a setting; may be repeated",
)
CONFIG = (
    _argument("config", type=Path, metavar="CONFIG", help="a YAML file"),
    _argument("--out", type=Path, metavar="RUN", help="run directory (default: runs/NAME)"),
    SET,
)
EXECUTORS = ("serial", "processes", "ray")
REDO = "make this stage and those after it again, and replace their products"
ON = _argument("--on", choices=EXECUTORS, help="executor of the tasks (machine.executor)")
RUNNER = (
    *CONFIG,
    ON,
    _argument("--workers", type=int, metavar="N", help="number of workers at once (machine.workers)"),
    _argument("--redo", action="append", default=[], metavar="STAGE", help=REDO),
    _argument("--cluster", type=Path, metavar="FILE", help="submit to Slurm, with the settings of this file"),
    _argument("--dry-run", action="store_true", help="with --cluster: print the sbatch files only"),
)
FILES = _argument("config", type=Path, nargs="+", metavar="FILE", help="a YAML file, or pictures, FITS")
MODEL = "a run or folder with a network, for pictures (by default that of the package); maps take none"
ENHANCE = (
    FILES,
    _argument("--out", type=Path, metavar="DIR", help="run directory (runs/NAME); folder of the files"),
    *RUNNER[2:],
    _argument("--model", metavar="PATH", help=MODEL),
    _argument("--samples", type=_count, metavar="N", help="samples whose mean a picture is (4)"),
    _argument("--calls", type=_count, metavar="N", help="calls per sample (1: what the network expects)"),
    _argument("--hdu", metavar="HDU", help="number from 0 or EXTNAME of the image in FITS files"),
)
ENHANCED = """ With a configuration runs this stage alone: the products of earlier stages must be in the run
directory. Pictures and FITS images are doubled into --out, as PNG and FITS; what is there already stays."""
FURTHER = {"enhance": (ENHANCED, ENHANCE)}
"""Stages whose command takes more than a configuration: what its own help adds, and its arguments."""
NETWORK = _argument("stage", metavar="NAME", help="which network")
SITE = _argument("--cluster", type=Path, metavar="FILE", help="plan for Slurm too, with this file")
LOGS = (
    _argument("--stage", metavar="STAGE", help="of this stage only"),
    _argument("--lines", type=_count, default=20, metavar="N", help="how many lines of each (20)"),
)
PRODUCT = _argument("path", type=Path, metavar="PATH", help="a run directory, a store or a FITS file")
STAMP = _argument("--stamp", type=int, required=True, metavar="ID", help="its number in stamps.zarr")
WORDS = (
    _argument("words", nargs="*", metavar="[PIPELINE] [FILE]", help="default: radio astro_dist.yaml"),
    _argument("--from", type=Path, metavar="MAP", dest="start", help="propose settings for this FITS map"),
)
NEW = _argument("new", type=Path, metavar="NEW", help="run directory to make")
SHELL = _argument("shell", choices=("bash", "zsh"), help="source <(astro-dist completion bash)")
PIPELINE = _argument("pipeline", nargs="?", default=pipelines.DEFAULT, help="of this pipeline (radio)")
JSON = _argument("--json", action="store_true", help="answer with one JSON value")
DRY = _argument("--dry-run", action="store_true", help="only say what would be removed")
WHATS = ("cutouts", "stamps", "field", "annotations", "truth", "pictures", "sets", "enhanced", "cleaned")
EXPORT = (
    _argument("what", choices=WHATS, help="which products; enhanced, cleaned: pictures of enhance"),
    _argument("--out", type=Path, metavar="DIR", help="folder to write (default: RUN-WHAT here)"),
    _argument("--index", metavar="N", help="cutouts, stamps: numbers from 0, as 17 or 3,5,10-20 (all)"),
    _argument("--window", metavar="Y:Y,X:X", help="field: rows and columns from 0, as 0:512,0:512"),
    _argument("--fits", action="store_true", help="images with WCS, beam and unit; the default"),
    _argument("--png", action="store_true", help="a PNG file of each"),
    _argument("--grid", action="store_true", help="contact sheets of 64"),
    _argument("--coco", action="store_true", help="objects as COCO's JSON"),
    _argument("--radiff", action="store_true", help="an image for each object, as RADiff has its masks"),
    _argument("--ds9", action="store_true", help="annotations: regions of DS9"),
    _argument("--crtf", action="store_true", help="annotations: regions of CASA and CARTA"),
    _argument("--webdataset", action="store_true", help="tar files of samples"),
    _argument("--parquet", dest="parquet", action="store_true", help="tables by split, for load_dataset"),
    _argument("--csv", action="store_true", help="truth, sets: text with commas"),
    _argument("--ecsv", action="store_true", help="truth: the same with units and descriptions"),
)
COMMON = (
    _argument("--quiet", action="store_true", help="results and errors only"),
    _argument("--verbose", action="store_true", help="a line for each finished task"),
    _argument("--color", choices=("auto", "always", "never"), default="auto", help="colours of a terminal"),
)
SHORT = {"--quiet": "-q", "--verbose": "-v", "--parquet": "--hf"}
COMMANDS = {
    "run": "astro_dist.commands.running:run",
    "plan": "astro_dist.commands.running:plan",
    "status": "astro_dist.commands.running:status",
    "logs": "astro_dist.commands.running:logs",
    "cancel": "astro_dist.commands.running:cancel",
    "job": "astro_dist.commands.running:job",
    "verify": "astro_dist.commands.products:verify",
    "repair": "astro_dist.commands.products:repair",
    "regenerate": "astro_dist.commands.products:regenerate",
    "enhance": "astro_dist.commands.enhancing:enhance",
    "export": "astro_dist.commands.exporting:export",
    "clean": "astro_dist.commands.products:clean",
    "doctor": "astro_dist.commands.starting:doctor",
    "init": "astro_dist.commands.starting:init",
    "fork": "astro_dist.commands.starting:fork",
    "completion": "astro_dist.commands.starting:completion",
    "schema": "astro_dist.commands.starting:schema",
}
"""``module:function`` of every command; stages, which pipelines name, are done by that of ``run``."""
JOB = (
    _argument("--stage", required=True),
    _argument("--share", action="store_true"),
    _argument("--begin"),
    _argument("--redo", action="append", default=[]),
)


_CHOICE = re.compile(r"argument (\S+): invalid choice: '(.*)' \(choose from (.*)\)")
_WHOLE = re.compile(r"(argument \S+): invalid int value: ('.*')")


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, as all others of this command are."""

    def error(self, message: str) -> NoReturn:
        """Print the fault, with the nearest valid word where it is a wrong one, and end with exit code 2."""
        if choice := _CHOICE.fullmatch(message):
            argument, word, words = choice.groups()
            _refuse(f"argument {argument}: invalid choice: {word!r}", word, re.findall("'([^']*)'", words))
        message = _WHOLE.sub(r"\1: write a whole number, not \2", message)
        print(f"astro-dist: {message}; `{self.prog} --help` shows how it is called", file=sys.stderr)
        raise SystemExit(2)


def build_parser(stages: Mapping[str, str] | None = None, only: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of every command, or of the command ``only``, which costs far less.

    ``stages`` are by default the stages of the package.
    """
    stages = pipelines.commands() if stages is None else stages
    parser = Parser(
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
        for argument, options in (*arguments, *(COMMON if text else ())):
            command.add_argument(*filter(None, (SHORT.get(argument), argument)), **options)
    pipelines.add_tools(commands, only)
    return parser


def describe_commands(stages: Mapping[str, str]) -> dict[str, tuple[str, str, Sequence[Argument]]]:
    """Return ``{command: (what it does, what its own help adds, its arguments)}``."""
    trained = [words.partition(" ")[2] for words in stages if words.startswith("train ")]
    plain = {name: text for name, text in stages.items() if not name.startswith("train ")}
    return {
        "run": ("run all stages of a configuration that are not done", "", (*RUNNER, TO)),
        **{name: (text, *FURTHER.get(name, (ALONE, RUNNER))) for name, text in plain.items()},
        "train": (f"train one network: {', '.join(trained)}", ALONE, (NETWORK, *RUNNER)),
        "plan": ("show what a run would do and cost; runs nothing", "", (*CONFIG, TO, ON, SITE, JSON)),
        "status": ("show how far a run is", "", (RUN, JSON)),
        "logs": ("show the last lines that workers and Slurm jobs of a run printed", "", (RUN, *LOGS, JSON)),
        "cancel": ("take the jobs of a run out of the Slurm queue", "", (RUN,)),
        "verify": ("read every product again and compare checksums", "", (PRODUCT, JSON)),
        "repair": ("set damaged products aside, so that the next run makes them anew", "", (RUN,)),
        "regenerate": ("make one stamp again and compare it with the store", "", (RUN, STAMP)),
        "challenge": (
            "package a field as a data challenge; check and score what is handed in",
            "",
            CHALLENGE,
        ),
        "export": ("write products of a run in the forms of other programs", "", (RUN, *EXPORT)),
        "clean": ("remove what no stage of a run goes on with", "", (RUN, DRY)),
        "doctor": ("show what this machine can and cannot do, and why", "", (JSON,)),
        "init": ("write a starter configuration, with every setting or for a map of yours", "", WORDS),
        "fork": ("begin a run with the products of another: other fields", "", (RUN, NEW, SET)),
        "completion": ("print the completion of a shell", "", (SHELL,)),
        "schema": ("print the JSON schema of a configuration, for editors", "", (PIPELINE,)),
        # The sbatch files call it on a node; users have no need of it.
        "job": ("", "", (RUN, *JOB)),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = _parse(sys.argv[1:] if argv is None else argv)
    # Before any import of those libraries, which read their variables once.
    for name, value in QUIET_OFFLINE.items():
        os.environ.setdefault(name, value)
    if (colour := getattr(arguments, "color", "auto")) != "auto":
        # The variables that rich, and most other programs, go by; of both set at once NO_COLOR would win.
        os.environ.pop("NO_COLOR", None)
        os.environ["NO_COLOR" if colour == "never" else "FORCE_COLOR"] = "1"
    from astro_dist.engine.errors import (
        AstroDistError,
        ConfigError,
        StoppedError,
        explain_missing,
        print_error,
    )

    try:
        return _dispatch(arguments)
    except AstroDistError as error:
        return print_error(error)
    except ModuleNotFoundError as error:
        if (missing := explain_missing(error)) is None:
            raise
        return print_error(missing)
    except PermissionError as error:
        reason = f"you may not read or write {error.filename}; ask its owner, or choose another directory"
        return print_error(ConfigError(reason))
    except BrokenPipeError:
        # The reader of the output ended early, as `head` does; the flush at exit must not fail as well.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except OSError as error:
        from astro_dist.engine.files import is_disk_full

        if is_disk_full(error):
            place = "" if error.filename is None else f" at {error.filename}"
            return print_error(StoppedError(f"the disk is full{place}; make room and run the same command"))
        if error.errno not in (errno.ENAMETOOLONG, errno.ELOOP):
            raise
        return print_error(ConfigError(f"{error.filename}: {error.strerror}; mend the path"))
    except KeyboardInterrupt:
        print("astro-dist: stopped; run the same command to go on", file=sys.stderr)
        # EX_TEMPFAIL of sysexits.h, as for `StoppedError`: the same command resumes.
        return 75


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse a command line; import other packages' pipelines only for a command that this one lacks."""
    stages = pipelines.commands()
    word = next((word for word in argv[:1] if not word.startswith("-")), None)
    known = {name for name, listing in pipelines.PIPELINES.items() if listing.tools}
    known |= describe_commands(stages).keys()
    if word is not None and word not in known and pipelines.outside_names():
        stages = {**stages, **pipelines.outside_commands()}
        known |= describe_commands(stages).keys()
    if word is not None and word not in known:
        _refuse(f"there is no command {word!r}", word, known - {"job"})
    if word is None and argv and argv[0] not in (plain := ("--help", "-h", "--version")):
        _refuse(f"there is no option {argv[0]!r} before a command", argv[0], plain)
    arguments, unknown = build_parser(stages, word).parse_known_args(argv)
    if unknown:
        described, option = describe_commands(stages), unknown[0].partition("=")[0]
        own = described.get(word or "", ("", "", ()))[2]
        options = [name for name, _ in (*own, *COMMON) if name.startswith("--")]
        others = [name for name, (_, _, taken) in described.items() if option in dict(taken)]
        # What is right elsewhere is no slip of the pen.
        where = f"; {others[0]} takes it" if others else ""
        _refuse(f"{word} takes no {unknown[0]!r}{where}", "" if others else option, options)
    return arguments


def _refuse(fault: str, word: str, valid: Iterable[str]) -> NoReturn:
    """Print a fault with the nearest valid word, and end with exit code 2."""
    # Only here: it costs a tenth of what `--help` may.
    from astro_dist.engine.hints import nearest

    print(f"astro-dist: {fault}: {nearest(word, valid)}", file=sys.stderr)
    raise SystemExit(2)


def command_words() -> dict[str, list[str]]:
    """Return the options and choices of every command by name, for the completion of a shell."""
    described = describe_commands(pipelines.commands())
    found = {
        name: [
            *(option for option, _ in (*arguments, *COMMON) if option.startswith("--")),
            *(choice for word, about in arguments if word[0] != "-" for choice in about.get("choices", ())),
        ]
        for name, (text, _, arguments) in described.items()
        # A command without a sentence is not for people.
        if text
    }
    return found | {
        name: list(listing.tools) for name, listing in pipelines.PIPELINES.items() if listing.tools
    }


def _dispatch(arguments: argparse.Namespace) -> int:
    command = arguments.command
    if hasattr(arguments, "tool"):
        return pipelines.use_tool(arguments)
    if command == "challenge":
        from astro_dist.report.challenge import run_challenge

        return run_challenge(arguments, pipelines.reopen)
    if command == "completion":
        arguments.options = command_words()
    module, _, name = COMMANDS.get(command, COMMANDS["run"]).partition(":")
    function: Callable[[argparse.Namespace], int] = getattr(importlib.import_module(module), name)
    return function(arguments)
