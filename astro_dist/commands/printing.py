"""The answer of a command on standard output: lines for people, or one JSON value for programs."""

import json
from collections.abc import Callable, Sequence
from typing import Any


def answer(as_json: bool, value: Any, lines: Callable[[], Sequence[str]]) -> None:
    """Print ``value`` as JSON where that was asked for, else the lines that say the same."""
    if as_json:
        # A path is text; NaN and infinities, which JSON has not, do not occur in what commands say.
        print(json.dumps(value, indent=1, default=str, allow_nan=False))
    else:
        print("\n".join(lines()))
