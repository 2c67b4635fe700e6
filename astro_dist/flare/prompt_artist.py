"""Pictures from prompts by a UniDiffuser; an `astro_dist.flare.artists.Artist`.

Shape letters: as in `astro_dist.models.painter`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from astro_dist.flare.artists import Painted, Streams
from astro_dist.flare.synthesise_config import SynthesiseConfig
from astro_dist.models.painter import load_painter
from astro_dist.models.painting import Brush


class PromptArtist:
    """The painter in a folder of `UniDiffuserPipeline`'s layout.

    Parameters
    ----------
    folder
        The folder.
    settings
        Solver, guidance, and how variants are made.
    prompts
        The prompts of each class.
    labels
        The names of the classes.
    device
        Device of the networks.
    """

    def __init__(
        self,
        folder: Path,
        settings: SynthesiseConfig,
        prompts: Sequence[Sequence[str]],
        labels: Sequence[str],
        device: str,
    ) -> None:
        self.painter, self.device = load_painter(folder).to(device), device
        self.prompts, self.labels, self.how = prompts, labels, settings.variants.how
        brush = settings.sampler, settings.steps, settings.eta, settings.guidance
        self.brush = Brush(self.painter, *brush)

    def paint(self, label_B: NDArray[np.integer], streams: Streams) -> Tensor:
        """Return pictures from a prompt of the class of each, one of the templates by its stream."""
        text_BTd = self._read(self._choose(label_B, streams))
        return self.painter.decode_pictures(self.brush.paint(text_BTd, streams))

    def vary(
        self, x_BPSS: Tensor, label_B: NDArray[np.integer], streams: Streams, strength: float
    ) -> Painted:
        """Return variants of pictures: from their captions, or by noise that is taken away again."""
        vector_BN, right = self.painter.encode_pictures(x_BPSS), list[bool]()
        if self.how == "noise":
            text_BTd = self._read(self._choose(label_B, streams))
            found_BN = self.brush.paint(text_BTd, streams, vector_BN, strength)
        else:
            captions = self.painter.write_captions(self.brush.describe(vector_BN, streams))
            names = [self.labels[label].replace("_", " ") for label in label_B]
            right = [name in text for name, text in zip(names, captions, strict=True)]
            found_BN = self.brush.paint(self._read(captions), streams)
        return self.painter.decode_pictures(found_BN), right

    def _choose(self, label_B: NDArray[np.integer], streams: Streams) -> list[str]:
        each = [self.prompts[label] for label in label_B]
        return [texts[int(rng.integers(len(texts)))] for texts, rng in zip(each, streams, strict=True)]

    def _read(self, texts: list[str]) -> Tensor:
        """Return the encoding of texts."""
        return self.painter.encode_prompts(self.painter.tokenize(texts).to(self.device))
