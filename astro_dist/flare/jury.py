"""Which painted pictures are kept: the class is recognised, and the picture is no copy of a training picture.

The judge is a classifier of the real training pictures. Distances are those of its features, and their scale
is that of held-out real pictures, as in `astro_dist.metrics.memorisation`.

Shape letters: N pictures, P planes, S side in pixels, F features.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from astro_dist.engine.outputs import check_product
from astro_dist.engine.pixels import to_network
from astro_dist.engine.work import Run
from astro_dist.flare.synthesise_config import SampleAcceptConfig
from astro_dist.metrics.memorisation import NEAR_QUANTILE, nearest_distances
from astro_dist.models.classifier_files import load_classifier
from astro_dist.pictures.images import resize
from astro_dist.store.reader import StoreReader

BATCH = 32
"""Pictures that are judged at once; the last bits depend on it."""
UNRECOGNISED, COPY = "unrecognised", "copy"


class Jury:
    """The judge of a run, and the training pictures that are not to be copied.

    Parameters
    ----------
    run
        A run with a judge.
    accept
        What is asked of pictures.
    reader
        The real pictures.
    device
        Device of the networks.
    """

    def __init__(self, run: Run, accept: SampleAcceptConfig, reader: StoreReader, device: str) -> None:
        check_product(run.root, "judge")
        self.judge, self.accept, self.device = load_classifier(run.product("models/judge")), accept, device
        self.judge.to(device)
        names = list(self.judge.facts["classes"])
        self.numbers = np.array([names.index(label) for label in reader.attrs["labels"]])
        if accept.copies:
            # The validation split: the test pictures decide about nothing before the end.
            parts = ("train", "validation")
            train_NF, held_NF = (self._look(reader.read("picture", reader.select(p)))[1] for p in parts)
            self.train_NF = train_NF
            self.near = float(np.quantile(nearest_distances(held_NF, train_NF), NEAR_QUANTILE))

    def __call__(self, pictures_NPSS: NDArray[Any], labels_N: NDArray[np.integer]) -> list[str]:
        """Return for each picture why it is dropped, "" where it is kept."""
        found_N, features_NF = self._look(pictures_NPSS)
        reasons = np.full(len(found_N), "", dtype="U16")
        if self.accept.copies:
            reasons[nearest_distances(features_NF, self.train_NF) < self.near] = COPY
        if self.accept.recognised:
            reasons[found_N != self.numbers[labels_N]] = UNRECOGNISED
        return [str(reason) for reason in reasons]

    @torch.inference_mode()
    def _look(self, pictures_NPSS: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the class that the judge sees, and its features (N, F), of some pictures."""
        classes, features = [], []
        side = int(self.judge.facts["size_pix"])
        for first in range(0, len(pictures_NPSS), BATCH):
            part = np.stack([resize(picture, side) for picture in pictures_NPSS[first : first + BATCH]])
            # Kernels, and so the last bits, depend on the shape of a batch: all batches have the same one.
            padding = [(0, BATCH - len(part))] + [(0, 0)] * 3
            x_BPSS = torch.from_numpy(to_network(np.pad(part, padding, mode="edge"))).to(self.device)
            features_BF = self.judge.extract(x_BPSS)
            classes.append(self.judge.head(features_BF).argmax(1)[: len(part)].cpu().numpy())
            features.append(features_BF[: len(part)].float().cpu().numpy())
        return np.concatenate(classes), np.concatenate(features)
