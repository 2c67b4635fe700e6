"""Stamps as functions of their index: any worker, at any time, makes the same bytes.

A stamp is drawn in the micro-batch of its index. Micro-batches have a fixed shape and never cross a shard, so
a stamp does not depend on the other stamps, on the worker or on the order. While a micro-batch is drawn, a
second thread reads the conditions of the next one and cuts the objects out of the one before.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.outputs import check_product
from astro_dist.engine.stopping import check_stop
from astro_dist.engine.work import Run
from astro_dist.field.modelling import model_objects
from astro_dist.field.objects import SkyObject, extract_objects
from astro_dist.generate.conditions import Choice, find_donors, sky_of
from astro_dist.generate.config import GenerateConfig
from astro_dist.generate.masks import open_masks
from astro_dist.generate.sampler import Sampler
from astro_dist.generate.sources import Conditions, open_source
from astro_dist.models.device import choose_device, flushed_denormals, pin, resolve_precision
from astro_dist.sky.stretch import unstretch
from astro_dist.store.reader import StoreReader


@dataclass(frozen=True, eq=False)
class Stamps:
    """Some stamps in the order of their indices.

    Attributes
    ----------
    image_jy_beam, mask, instances
        (n, s, s) float32 above a background of zero, uint8, uint16.
    choices
        The donors and the turn of each stamp.
    rms_jy_beam
        (n,) float32, noise of the masks' donors.
    """

    image_jy_beam: NDArray[np.float32]
    mask: NDArray[np.uint8]
    instances: NDArray[np.uint16]
    choices: tuple[Choice, ...]
    rms_jy_beam: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class MicroBatch:
    """The inputs of one call of the sampler, padded to the size of a micro-batch.

    Attributes
    ----------
    stamps, choices
        Indices of the stamps, and donors and turn of each; not padded.
    conditions, noise_BChw, seeds
        Inputs of `Sampler.draw`; padded.
    """

    stamps: Sequence[int]
    choices: Sequence[Choice]
    conditions: Conditions
    noise_BChw: NDArray[np.float32]
    seeds: Sequence[int]


Extracted = tuple[list[SkyObject], Counter[str]]
"""Accepted objects, and numbers of rejected objects by reason."""


class StampMaker:
    """The models, donors and settings of a run, from which any of its stamps can be drawn."""

    def __init__(self, run: Run, splits: Sequence[str] = ("train",)) -> None:
        settings = run.section(GenerateConfig)
        # First of all: threads and deterministic kernels must be set before any network computes.
        pin(settings.threads)
        device = choose_device(run)
        self.run, self.settings = run, settings
        for stage in ("autoencoder", "diffusion"):
            check_product(run.root, stage)
        self.reader = StoreReader(run.product("cutouts.zarr"))
        self.donors = find_donors(self.reader, settings.accept, splits, settings.masks.weights)
        precision = resolve_precision(settings.precision, device)
        self.source = open_source(self.reader, self.donors, settings, partial(run.stream, "generate"))
        if settings.masks.model:
            self.source = replace(self.source, masks=open_masks(run, self.reader, self.donors))
        self.sampler = Sampler(
            run.product("models/autoencoder"),
            run.product("models/diffusion"),
            settings,
            device,
            precision,
        )

    def make_shard(
        self, shard: int, report: Callable[[int, int], None] = lambda done, total: None
    ) -> tuple[Stamps, Extracted]:
        """Draw all stamps of a shard and extract their objects.

        A requested stop takes effect between two micro-batches; ``report`` is called after each with the
        number that are done and that of all.
        """
        size, first = self.settings.micro_batch, shard * self.settings.per_shard
        end = first + self.settings.per_shard
        parts = [range(start, min(start + size, end)) for start in range(first, end, size)]
        # A single thread runs its jobs in the order of submission, so two jobs never read the store at once.
        with ThreadPoolExecutor(1) as aside:
            ahead, finished = aside.submit(self.read, parts[0]), []
            for following in [*parts[1:], None]:
                check_stop()
                batch = ahead.result()
                if following is not None:
                    # Before the sampling below, so that the second thread reads while this one draws.
                    ahead = aside.submit(self.read, following)
                finished.append(aside.submit(self._finish, batch, self._sample(batch)))
                report(len(finished), len(parts))
            done = [part.result() for part in finished]
        objects = [found for _, (objects, _) in done for found in objects]
        return _join([stamps for stamps, _ in done]), (objects, sum((r for _, (_, r) in done), Counter()))

    def make_batch_of(self, stamp: int) -> tuple[Stamps, int]:
        """Draw the micro-batch of a stamp, and return its stamps and the place of the stamp among them."""
        per_shard, size = self.settings.per_shard, self.settings.micro_batch
        start = stamp // per_shard * per_shard
        # Micro-batches begin anew in every shard, whose size need not be a multiple of theirs.
        first = start + (stamp - start) // size * size
        return self.draw(range(first, min(first + size, start + per_shard))), stamp - first

    def draw(self, stamps: Sequence[int], choices: Sequence[Choice] | None = None) -> Stamps:
        """Draw at most a micro-batch of stamps, from the donors of their indices or from given ones."""
        batch = self.read(stamps, choices)
        return self._to_stamps(batch, self._sample(batch))

    def read(self, stamps: Sequence[int], choices: Sequence[Choice] | None = None) -> MicroBatch:
        """Read the inputs of a micro-batch, padded with its last stamp if it is short."""
        chosen = [self.source.choose(i) for i in stamps] if choices is None else choices
        # Kernels, and so the last bits, depend on the shape of a batch: all batches have the same one.
        padding = [len(stamps) - 1] * (self.settings.micro_batch - len(stamps))
        places = [*range(len(stamps)), *padding]
        padded = [stamps[i] for i in places]
        conditions = self.source.read(padded, [chosen[i] for i in places])
        shape = self.sampler.noise_shape(self.reader.attrs["size_pix"])
        # Each stamp has a stream, which gives its noise first and then the seed of the solver's noise.
        streams = [self.run.stream("generate", i) for i in padded]
        # By NumPy, because torch's generators give other numbers on a GPU than on a CPU.
        noise = np.stack([rng.standard_normal(shape, np.float32) for rng in streams])
        # NumPy draws signed integers of 64 bits by default, hence seeds below 2^63.
        return MicroBatch(stamps, chosen, conditions, noise, [int(rng.integers(2**63)) for rng in streams])

    def extract(self, stamps: Stamps, first: int) -> Extracted:
        """Return the accepted objects of consecutive stamps, and numbers of rejected objects by reason.

        ``first`` is the index of the first stamp. Spurious objects are always extracted, because some fields
        contain them.
        """
        accept = self.settings.accept.with_spurious()
        objects: list[SkyObject] = []
        rejected: Counter[str] = Counter()
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
            modelled, without = model_objects(found, accept)
            objects += modelled
            rejected += refused + without
        return objects, rejected

    def _sample(self, batch: MicroBatch) -> NDArray[np.float32]:
        with flushed_denormals():
            return self.sampler.draw(batch.conditions, batch.noise_BChw, batch.seeds)

    def _to_stamps(self, batch: MicroBatch, u_BSS: NDArray[np.float32]) -> Stamps:
        given, n = batch.conditions, len(batch.stamps)
        rms = given.rms_jy_beam_B[:n]
        # Stamps lie above a background of zero: the field has its own.
        image = unstretch(u_BSS[:n], 0.0, rms[:, None, None], self.sampler.stretch)
        return Stamps(image, given.mask_BSS[:n], given.instances_BSS[:n], tuple(batch.choices), rms)

    def _finish(self, batch: MicroBatch, u_BSS: NDArray[np.float32]) -> tuple[Stamps, Extracted]:
        stamps = self._to_stamps(batch, u_BSS)
        return stamps, self.extract(stamps, batch.stamps[0])


def _join(parts: Sequence[Stamps]) -> Stamps:
    return Stamps(
        image_jy_beam=np.concatenate([part.image_jy_beam for part in parts]),
        mask=np.concatenate([part.mask for part in parts]),
        instances=np.concatenate([part.instances for part in parts]),
        choices=tuple(choice for part in parts for choice in part.choices),
        rms_jy_beam=np.concatenate([part.rms_jy_beam for part in parts]),
    )
