"""Errors that the package raises on purpose, one class for each way in which the batch system goes on.

All arguments go to ``Exception``, so that the errors can be pickled between processes. ``exit_code`` is the
exit code of a command that ends with the error. Any other exception is a fault of the package.
"""

import contextlib
import importlib.util
import os
import sys
from collections.abc import Iterator

MOST_LETTERS = 600
"""Most letters of a word that an error shows whole; paths are shorter."""


class AstroDistError(Exception):
    """Base class; the message is one line that says what is wrong and how to mend it."""

    exit_code = 1


class ConfigError(AstroDistError):
    """Wrong input of the user; never retried."""

    exit_code = 2


class DataError(AstroDistError):
    """A piece of data that cannot be used; its task is quarantined without a retry, the others go on."""

    exit_code = 2


class IntegrityError(AstroDistError):
    """A published file whose bytes are not those of its record, or a record that cannot be read."""

    exit_code = 3


class StageError(AstroDistError):
    """A stage whose code does what its declaration lacks; never retried, because every attempt would fail."""


class StartError(AstroDistError):
    """A worker that could not begin; its message names the reason, and every other worker would fail too."""


class QuarantinedError(AstroDistError):
    """Tasks that failed for good while the others are done; the message names the failed ones."""

    exit_code = 4


QUARANTINED = "quarantined"
"""Fact of a stage that has published without some data that cannot be used: a sentence for each."""


class StoppedError(AstroDistError):
    """Stop on request, or for a cause outside the program; the same command resumes when that is mended."""

    exit_code = 75


class TimeUpError(StoppedError):
    """Stop because the time of this machine is up; nothing is wrong."""


def explain_missing(error: BaseException) -> ConfigError | None:
    """Return what to do about a package that is not installed; None for any other error."""
    name = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if not name or name == "astro_dist" or importlib.util.find_spec(name) is not None:
        return None
    return ConfigError(
        f"this needs {name}, which is not installed: `pip install -e .` in a clone brings all that a run "
        "needs, and `astro-dist doctor` lists what is missing"
    )


def show(text: str) -> None:
    """Print a line on standard error; where that device is full, the command goes on without messages."""
    try:
        print(text, file=sys.stderr, flush=True)
    except BrokenPipeError:
        # The reader has gone, as `head` does; that ends a command.
        raise
    except OSError:
        # What is left in the buffer would be tried again, and fail, with every later line and at the exit.
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def print_error(error: AstroDistError) -> int:
    """Print an error as one line on standard error, and return its exit code."""
    # Joined again, because a library's message inside may hold line breaks; escaped, because a path or a key
    # may hold what moves the cursor of a terminal or turns the direction of the text.
    line = " ".join(_shorten(word) for word in str(error).split())
    show(f"astro-dist: {printable(line)}")
    return error.exit_code


def printable(text: str) -> str:
    """Return a text whose control characters, which may come from a file's name, are escaped."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def _shorten(word: str) -> str:
    """Return a word without its middle where nobody would read that."""
    return word if len(word) <= MOST_LETTERS else f"{word[:400]}...{word[-100:]}"


@contextlib.contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Turn an error of the package into one line and an exit code, as the command `astro-dist` does."""
    try:
        yield
    except AstroDistError as error:
        raise SystemExit(print_error(error)) from None
