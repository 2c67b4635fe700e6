"""The errors this system raises on purpose, sorted by what the batch system should do about them.

Each carries all its arguments to ``Exception`` so that it survives pickling between processes, and
each knows the exit code of the command that meets it. Anything else that is raised is a fault of ours.
"""

import contextlib
import sys
from collections.abc import Iterator


class AstroDistError(Exception):
    """Base of all: one line that says what is wrong and how to mend it."""

    exit_code = 1


class ConfigError(AstroDistError):
    """The user's input is wrong. Never retried."""

    exit_code = 2


class DataError(AstroDistError):
    """One piece of data cannot be used. Not retried; the task is quarantined, the rest goes on."""

    exit_code = 2


class IntegrityError(AstroDistError):
    """A published file does not hold what its record says."""

    exit_code = 3


class StageError(AstroDistError):
    """A stage does what it has not declared. A fault of ours that no other attempt mends: never retried."""


class QuarantinedError(AstroDistError):
    """Some tasks failed for good, the others are done; the message names them."""

    exit_code = 4


class StoppedError(AstroDistError):
    """Stopped on request, or by a condition that the same command outlives once it is mended."""

    exit_code = 75


class TimeUpError(StoppedError):
    """Stopped because the time of this machine is up; nothing is wrong."""


def tell(error: AstroDistError) -> int:
    """Print an error as the one line it is, and return the exit code that goes with it."""
    print(f"astro-dist: {' '.join(str(error).split())}", file=sys.stderr)
    return error.exit_code


@contextlib.contextmanager
def told_in_one_line() -> Iterator[None]:
    """End a script as `astro-dist` ends: an error of ours is one line and an exit code."""
    try:
        yield
    except AstroDistError as error:
        raise SystemExit(tell(error)) from None
