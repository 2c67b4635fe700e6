"""Near-misses: what somebody may have meant by a word that is not known."""

import difflib
from collections.abc import Iterable


def nearest(word: str, valid: Iterable[str]) -> str:
    """Return a hint about a wrong word: the nearest valid word, where one is close, and all valid words."""
    choices = sorted(valid)
    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}valid here: {', '.join(choices)}"
