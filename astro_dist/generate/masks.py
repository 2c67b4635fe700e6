"""Masks drawn by the mask model, each a function of the stamp's index.

The condition of a mask is the number of objects of each class, the beam and the noise of the stamp's donor.
The mixture of classes is therefore that of the settings, and the sizes of objects fit the beam. Masks are
drawn in the micro-batches of their stamps.

Shape letters: as in `astro_dist.models.masks`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from astro_dist.engine.arrays import Image
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.outputs import check_product
from astro_dist.engine.work import Run
from astro_dist.generate.conditions import Choice, Donors, Stream
from astro_dist.generate.config import GenerateConfig
from astro_dist.generate.sources import MaskStacks
from astro_dist.models.denoiser import load_scheduler
from astro_dist.models.device import autocast, choose_device, flushed_denormals, resolve_precision
from astro_dist.models.masks import (
    count_objects,
    encode_mask_condition,
    from_planes,
    load_mask_denoiser,
    mask_noise_shape,
    unfold,
)
from astro_dist.models.solvers import Solver
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.stretch import stretch
from astro_dist.store.facts import describe_cutouts
from astro_dist.store.reader import StoreReader
from astro_dist.store.schema import SOURCES


class MaskDrawer:
    """The mask model and its solver on one device.

    Parameters
    ----------
    folder
        Folder of the mask model.
    steps
        Steps of DPM-Solver++.
    device, precision
        As `astro_dist.models.device` names them.
    """

    def __init__(self, folder: Path, steps: int, device: str, precision: str) -> None:
        network: Any = load_mask_denoiser(folder)
        self.network = network.to(device, memory_format=torch.channels_last)
        # dpm++ draws no noise, so the first noise and the condition decide on a mask.
        self.solver = Solver(load_scheduler(folder), "dpm++", steps, 0.0, device)
        self.device, self.precision = device, precision

    @torch.inference_mode()
    def draw(self, condition_BT: Image, noise_BChw: Image) -> Image:
        """Return the planes (B, K, S, S) float32 of masks, from conditions and standard normal noise."""
        condition = torch.from_numpy(condition_BT).to(self.device)
        with flushed_denormals(), autocast(self.device, self.precision):
            folded_BChw = self.solver.solve(
                torch.from_numpy(noise_BChw).to(self.device), lambda x, t: self.network(x, t, condition)
            )
        return unfold(folded_BChw.float()).cpu().numpy()


@dataclass(frozen=True, eq=False)
class ModelMasks:
    """Masks of the mask model, with brightness from objects of donors of like class and size.

    Attributes
    ----------
    drawer
        The mask model.
    reader, donors
        The store of cutouts, and the donors among them.
    facts
        Beam, noise and survey of every cutout (n, F), see `astro_dist.store.facts`.
    stream
        Function that returns the random generator of a key.
    """

    drawer: MaskDrawer
    reader: StoreReader
    donors: Donors
    facts: Image
    stream: Stream

    def read(self, stamps: Sequence[int], choices: Sequence[Choice]) -> MaskStacks:
        """Draw the masks of some stamps, see `MaskSource`."""
        donors = [choice.donor for choice in choices]
        pairs = zip(*(self.reader.read(name, donors) for name in ("mask", "instances")), strict=True)
        # The condition is that of the donor's mask, so the shares of the donors are those of the drawn masks.
        counts = np.array([count_objects(*pair) for pair in pairs])
        condition = encode_mask_condition(counts, self.facts[donors])
        streams = [self.stream("masks", stamp) for stamp in stamps]
        shape = mask_noise_shape(int(self.reader.attrs["size_pix"]))
        # The noise first, then the brightness, both from the stamp's stream: this order fixes the bytes.
        noise = np.stack([rng.standard_normal(shape, np.float32) for rng in streams])
        drawn = [from_planes(planes) for planes in self.drawer.draw(condition, noise)]
        if self.reader.attrs.get(SOURCES):
            wanted = counts[:, SourceClass.EXTENDED - 1].tolist()
            drawn = [(m, join_pieces(m, i, n)) for (m, i), n in zip(drawn, wanted, strict=True)]
        peaks = [self._peaks(*pair, rng) for pair, rng in zip(drawn, streams, strict=True)]
        masks, instances = (np.stack(planes) for planes in zip(*drawn, strict=True))
        return masks, instances, np.stack(peaks)

    def _peaks(
        self, mask: NDArray[np.uint8], instances: NDArray[np.uint16], rng: np.random.Generator
    ) -> Image:
        """Return the peak of every object in network range at its pixels, 0 elsewhere.

        ``rng`` is the stamp's stream, from which the noise of the mask was drawn before.
        """
        sizes = np.bincount(instances.ravel())[1:]
        # `from_planes` numbers objects without gaps and gives all pixels of an object one class.
        classes = [int(mask[instances == number].max()) for number in range(1, len(sizes) + 1)]
        pairs = zip(classes, sizes, strict=True)
        snr = [self.donors.draw_snr(source_class, int(size), rng) for source_class, size in pairs]
        # Instance 0 is the sky.
        return stretch(np.array([0.0, *snr]), 0.0, 1.0, str(self.reader.attrs["stretch"]))[instances]


def join_pieces(
    mask: NDArray[np.uint8], instances: NDArray[np.uint16], n_extended: int
) -> NDArray[np.uint16]:
    """Return the instances (S, S) of a drawn mask with no more than ``n_extended`` extended ones.

    A source of several islands counts as one object in the condition, and its islands are drawn apart. Where
    there are more extended objects than were asked for, the two with the least distance are one, until the
    number is right. With a number of 0 nothing is joined, because then the drawn ones are errors.
    """
    numbers = instances.copy()
    extended = mask == SourceClass.EXTENDED
    kinds = np.unique(numbers[extended])
    while 0 < n_extended < len(kinds):
        points = [np.argwhere(numbers == kind) for kind in kinds]
        pairs = list(combinations(range(len(kinds)), 2))
        gaps = [cdist(points[a], points[b]).min() for a, b in pairs]
        a, b = pairs[int(np.argmin(gaps))]
        numbers[numbers == kinds[b]] = kinds[a]
        kinds = np.delete(kinds, b)
    # Numbers without gaps, as `from_planes` gives them.
    return np.unique(numbers, return_inverse=True)[1].reshape(numbers.shape).astype(np.uint16)


def open_masks(run: Run, reader: StoreReader, donors: Donors) -> ModelMasks:
    """Open the mask model of a run.

    Raises
    ------
    ConfigError
        The run has no mask model.
    IntegrityError
        Its files are not those that were published.
    """
    folder = run.product("models/masks")
    if not folder.is_dir():
        raise ConfigError(f"{run.root} has no model of masks; `astro-dist train masks` makes one")
    check_product(run.root, "masks")
    settings, device = run.section(GenerateConfig), choose_device(run)
    precision = resolve_precision(settings.precision, device)
    drawer = MaskDrawer(folder, settings.masks.steps, device, precision)
    facts = describe_cutouts(reader.attrs, reader.columns)
    return ModelMasks(drawer, reader, donors, facts, partial(run.stream, "generate"))
