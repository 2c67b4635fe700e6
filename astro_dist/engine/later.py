"""Functions that a declaration names by their place and that are imported when they are first called.

A pipeline names the functions of all its stages, and most commands call few of them: `status` needs no map
and no network.
"""

import importlib
import operator
from dataclasses import dataclass
from typing import Any

from astro_dist.engine.errors import explain_missing


@dataclass(frozen=True)
class Later:
    """The function at ``module:name``; two of one place are equal, and it is pickled as its place."""

    place: str

    def load(self) -> Any:
        """Import the module and return the function; a name may have dots, as that of a class method."""
        module, _, name = self.place.partition(":")
        try:
            return operator.attrgetter(name)(importlib.import_module(module))
        except ModuleNotFoundError as error:
            raise explain_missing(error) or error from None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self.load()(*args, **kwargs)
