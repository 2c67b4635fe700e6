"""What `synthesise` asks of a painter.

Two kinds paint: `astro_dist.flare.prompt_artist` from prompts, by a UniDiffuser, and
`astro_dist.flare.class_artist` from the class alone, by the run's own diffusion.

Shape letters: B micro-batch, P planes, S side in pixels.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Streams = Sequence[np.random.Generator]
Painted = tuple[Any, list[bool]]
"""Pictures (B, P, S, S), a tensor in network range; and where captions were written, whether each names the
class of its picture."""


class Artist(Protocol):
    """A painter with its settings. Each picture is a function of what is asked for and of its stream."""

    def paint(self, label_B: NDArray[np.integer], streams: Streams) -> Any:
        """Return pictures of some classes, a tensor (B, P, S, S) in network range."""
        ...

    def vary(self, x_BPSS: Any, label_B: NDArray[np.integer], streams: Streams, strength: float) -> Painted:
        """Return variants of pictures of some classes; ``strength`` is that of the added noise, up to 1."""
        ...
