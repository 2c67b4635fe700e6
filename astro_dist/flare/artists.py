"""What `synthesise` asks of a painter, and which painter a run has.

Two kinds paint: `astro_dist.flare.prompt_artist` from prompts, by a UniDiffuser, and
`astro_dist.flare.class_artist` from the class alone, by the run's own diffusion.

Shape letters: B micro-batch, P planes, S side in pixels.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.outputs import check_product
from astro_dist.engine.work import Run
from astro_dist.flare.synthesise_config import SynthesiseConfig
from astro_dist.flare.synthesise_plan import DIFFUSION, UNIDIFFUSER, is_part

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


def open_artist(run: Run, settings: SynthesiseConfig, labels: Sequence[str], device: str) -> Artist:
    """Return the painter of a run.

    Raises
    ------
    IntegrityError
        Its files are not those that were published.
    """
    stage = DIFFUSION if is_part(run, DIFFUSION) else UNIDIFFUSER
    check_product(run.root, stage)
    # Each brings its own libraries: a painter of classes needs no transformers.
    if stage == DIFFUSION:
        from astro_dist.flare.class_artist import ClassArtist

        return ClassArtist(run.product("models/diffusion"), settings, labels, device)
    from astro_dist.flare.painter_config import PromptsConfig
    from astro_dist.flare.prompt_artist import PromptArtist

    prompts = [run.section(PromptsConfig).fill(label) for label in labels]
    return PromptArtist(run.product("models/unidiffuser"), settings, prompts, labels, device)
