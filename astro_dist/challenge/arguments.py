"""The arguments of ``astro-dist challenge``, for a parser that imports nothing else."""

from pathlib import Path
from typing import Any

ACTIONS = ("package", "validate", "score")
CHALLENGE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("action", {"choices": ACTIONS, "help": "make a package, check a file for one, or score it"}),
    ("paths", {"nargs": "+", "type": Path, "metavar": "PATH", "help": "package: RUN; others: the files"}),
    ("--package", {"type": Path, "metavar": "DIR", "help": "validate, score: the folder of the package"}),
    (
        "--out",
        {"type": Path, "metavar": "DIR", "help": "package: a new folder; score: for the pages (scores)"},
    ),
    ("--public", {"action": "store_true", "help": "package: leave the hidden truth out"}),
    ("--hips", {"action": "store_true", "help": "package: add HiPS tiles and MOC (extra `hips`)"}),
    ("--training", {"type": float, "metavar": "SHARE", "help": "package: share of the open area (0.05)"}),
    ("--instances", {"type": Path, "metavar": "FILE", "help": "score: numbers of objects beside a mask"}),
    (
        "--columns",
        {
            "action": "append",
            "default": [],
            "metavar": "OURS=NAME",
            "help": "validate, score: the table's name of one of our columns, as 'flux_jy=S_int [mJy]'",
        },
    ),
    ("--beam", {"type": float, "metavar": "ARCSEC", "help": "score: beam of SDC1's rules (the field's)"}),
)
