"""What every source of pictures offers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

Entry = tuple[str, str, str, int]
"""Name, class, split ("" where none is given) and number in the source of a picture."""


class Source(Protocol):
    """Where pictures come from."""

    @property
    def entries(self) -> Sequence[Entry]:
        """All pictures with a class, in order."""

    @property
    def paths(self) -> list[Path]:
        """Files of the user that the pictures are in."""

    @property
    def notes(self) -> list[str]:
        """Sentences for the user."""

    def read(self, number: int) -> NDArray[Any]:
        """Return a picture by its number in the source; raise `DataError` where it cannot be read."""
