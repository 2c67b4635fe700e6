"""Check of what is handed in: every fault by row and column, in bounded memory."""

from collections.abc import Sequence
from pathlib import Path

from astro_dist.engine.errors import ConfigError


def validate_files(paths: Sequence[Path], package: Path) -> int:
    """Print what is wrong with files."""
    raise ConfigError("not yet")
