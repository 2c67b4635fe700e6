"""Pictures by the painter of classes; an `astro_dist.flare.artists.Artist`.

Shape letters: as there.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from astro_dist.engine.errors import ConfigError
from astro_dist.flare.artists import Painted, Streams
from astro_dist.flare.synthesise_config import SynthesiseConfig
from astro_dist.models.class_painter import ClassBrush, load_class_painter
from astro_dist.models.denoiser import load_scheduler


class ClassArtist:
    """The painter of classes in a folder."""

    def __init__(self, folder: Path, settings: SynthesiseConfig, labels: Sequence[str], device: str) -> None:
        painter = load_class_painter(folder)
        if list(painter.config.labels) != list(labels):
            raise ConfigError(f"{folder} paints {painter.config.labels}, and the pictures have {labels}")
        self.device = device
        brush = settings.sampler, settings.steps, settings.eta, settings.guidance
        self.brush = ClassBrush(painter.to(device), load_scheduler(folder), *brush)

    def paint(self, label_B: NDArray[np.integer], streams: Streams) -> Tensor:
        """Return pictures of some classes."""
        return self.brush.paint(self._tell(label_B), streams)

    def vary(
        self, x_BPSS: Tensor, label_B: NDArray[np.integer], streams: Streams, strength: float
    ) -> Painted:
        """Return pictures with noise that was added and taken away again (SDEdit)."""
        return self.brush.paint(self._tell(label_B), streams, x_BPSS, strength), []

    def _tell(self, label_B: NDArray[np.integer]) -> Tensor:
        return torch.from_numpy(label_B.astype(np.int64)).to(self.device)
