"""Stamps by their index: whatever makes them, now or again, makes the same bytes.

A stamp is drawn in the micro-batch that its index belongs to; batches have a fixed shape and never
cross a shard, so that no stamp depends on what else is drawn, where or in which order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from astro_dist.field.objects import SkyObject, extract_objects
from astro_dist.generate.conditions import Choice, find_donors, read_conditions, sky_of
from astro_dist.generate.config import GenerateConfig
from astro_dist.generate.sampler import Sampler
from astro_dist.models.device import choose_device, flushed_denormals, pin, resolve_precision
from astro_dist.sky.stretch import unstretch
from astro_dist.store.reader import StoreReader
from astro_dist.work import Run, check_stop


@dataclass(frozen=True, eq=False)
class Stamps:
    """Some stamps in the order of their indices.

    Attributes
    ----------
    image_jy_beam, mask, instances
        (n, s, s) float32 above a background of zero, uint8, uint16.
    choices
        What each was drawn for.
    rms_jy_beam
        (n,) float32, noise of the donors.
    """

    image_jy_beam: NDArray[np.float32]
    mask: NDArray[np.uint8]
    instances: NDArray[np.uint16]
    choices: tuple[Choice, ...]
    rms_jy_beam: NDArray[np.float32]


class StampMaker:
    """Models, donors and settings of a run, open for drawing any stamp of it."""

    def __init__(self, run: Run, splits: Sequence[str] = ("train",)) -> None:
        settings: GenerateConfig = run.config.generate
        pin(settings.threads)
        device = choose_device(run)
        self.run, self.settings = run, settings
        self.reader = StoreReader(run.product("cutouts.zarr"))
        self.donors = find_donors(self.reader, settings.accept, splits)
        self.sampler = Sampler(
            run.product("models/autoencoder"),
            run.product("models/diffusion"),
            settings.steps,
            settings.guidance,
            device,
            resolve_precision(settings.precision, device),
        )

    def choose(self, stamp: int) -> Choice:
        """Return what a stamp is drawn for."""
        stream = partial(self.run.stream, "generate")
        return self.donors.choose(self.reader, self.settings.extended_fraction, stream, stamp)

    def make_shard(self, shard: int) -> Stamps:
        """Draw all stamps of a shard."""
        first = shard * self.settings.per_shard
        return self._make(first, first + self.settings.per_shard)

    def make_batch_of(self, stamp: int) -> tuple[Stamps, int]:
        """Draw the micro-batch a stamp belongs to; also return its place in it."""
        per_shard, size = self.settings.per_shard, self.settings.micro_batch
        start = stamp // per_shard * per_shard
        first = start + (stamp - start) // size * size
        return self._make(first, min(first + size, start + per_shard)), stamp - first

    def draw(self, stamps: Sequence[int], choices: Sequence[Choice]) -> Stamps:
        """Draw one micro-batch: the noise of some stamps with any conditions; a short one is padded."""
        padding = [len(stamps) - 1] * (self.settings.micro_batch - len(stamps))
        places = [*range(len(stamps)), *padding]
        conditions = read_conditions(self.reader, [choices[i] for i in places])
        shape = self.sampler.noise_shape(self.reader.attrs["size_pix"])
        noise = np.stack(
            [self.run.stream("generate", stamps[i]).standard_normal(shape, np.float32) for i in places]
        )
        n = len(stamps)
        with flushed_denormals():
            u = self.sampler.draw(conditions, noise)[:n]
        rms = conditions.rms_jy_beam_B[:n]
        image = unstretch(u, 0.0, rms[:, None, None], self.sampler.stretch)
        return Stamps(image, conditions.mask_BSS[:n], conditions.instances_BSS[:n], tuple(choices), rms)

    def extract(self, stamps: Stamps, first: int) -> tuple[list[SkyObject], dict[str, int]]:
        """Return the accepted objects of consecutive stamps, and how many were refused by reason.

        Spurious ones are always among the objects, for fields that want them.
        """
        accept = self.settings.accept.with_spurious()
        objects: list[SkyObject] = []
        rejected: dict[str, int] = {}
        for place, choice in enumerate(stamps.choices):
            found, refused = extract_objects(
                stamps.image_jy_beam[place],
                stamps.mask[place],
                stamps.instances[place],
                float(stamps.rms_jy_beam[place]),
                *sky_of(self.reader, choice.donor),
                accept,
                first + place,
            )
            objects += found
            for reason, n in refused.items():
                rejected[reason] = rejected.get(reason, 0) + n
        return objects, rejected

    def _make(self, first: int, end: int) -> Stamps:
        parts = []
        for start in range(first, end, self.settings.micro_batch):
            check_stop()
            indices = range(start, min(start + self.settings.micro_batch, end))
            parts.append(self.draw(indices, [self.choose(i) for i in indices]))
        return Stamps(
            image_jy_beam=np.concatenate([part.image_jy_beam for part in parts]),
            mask=np.concatenate([part.mask for part in parts]),
            instances=np.concatenate([part.instances for part in parts]),
            choices=tuple(choice for part in parts for choice in part.choices),
            rms_jy_beam=np.concatenate([part.rms_jy_beam for part in parts]),
        )
