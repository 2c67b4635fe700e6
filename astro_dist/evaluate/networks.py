"""The three networks of an evaluation, on arrays: features, classes, reconstructions.

All compute in float32 and in batches of one fixed shape, so that no result depends on the other images of a
batch.

Shape letters: N images, B batch, S side in pixels, F features.
"""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from astro_dist.engine.arrays import Image
from astro_dist.engine.outputs import check_product
from astro_dist.engine.stopping import check_stop
from astro_dist.engine.work import Run
from astro_dist.models.autoencoder import decode, encode, load_autoencoder
from astro_dist.models.device import choose_device, flushed_denormals
from astro_dist.models.encoder import load_encoder
from astro_dist.models.segmenter import load_segmenter

# On a CPU a dense network takes twice the time per image in larger batches: feature maps leave the cache.
BATCH = {"cpu": 4, "cuda": 64}


class Networks:
    """The networks of a run, each loaded when it is first used."""

    def __init__(self, run: Run) -> None:
        self.run, self.device = run, choose_device(run)

    def features(self, u_NSS: Image) -> NDArray[np.float32]:
        """Return the features (N, F) of images in network range."""
        return self._apply(self._encoder, u_NSS)

    def classes(self, u_NSS: Image) -> NDArray[np.uint8]:
        """Return the segmenter's class of each pixel, (N, S, S)."""
        return self._apply(lambda u: self._segmenter(u).argmax(1).to(torch.uint8), u_NSS)

    def reconstructions(self, u_NSS: Image) -> Image:
        """Return the images (N, S, S) encoded and decoded again by the autoencoder."""
        autoencoder = self._autoencoder
        return self._apply(lambda u: decode(autoencoder, encode(autoencoder, u))[:, 0], u_NSS)

    @cached_property
    def _encoder(self) -> Any:
        return self._load(load_encoder, "byol")

    @cached_property
    def _segmenter(self) -> Any:
        return self._load(load_segmenter, "segmenter")

    @cached_property
    def _autoencoder(self) -> Any:
        return self._load(load_autoencoder, "autoencoder")

    def _load(self, load: Callable[[Path], Any], name: str) -> Any:
        check_product(self.run.root, name)
        network = load(self.run.product(f"models/{name}"))
        return network.to(self.device, memory_format=torch.channels_last)

    @torch.inference_mode()
    def _apply(self, network: Callable[[Tensor], Tensor], u_NSS: Image) -> NDArray[Any]:
        answers, size = [], BATCH[self.device]
        with flushed_denormals():
            for start in range(0, len(u_NSS), size):
                check_stop()
                some = u_NSS[start : start + size]
                # The last batch is padded to the fixed shape; the padding is dropped from the answer below.
                padded = np.pad(some, ((0, size - len(some)), (0, 0), (0, 0)), mode="edge")
                answer = network(torch.from_numpy(padded[:, None]).to(self.device))
                answers.append(answer.cpu().numpy()[: len(some)])
        return np.concatenate(answers)
