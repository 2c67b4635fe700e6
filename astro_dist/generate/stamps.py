"""Stamps by their index: whatever makes them, now or again, makes the same bytes.

A stamp is drawn in the micro-batch that its index belongs to; batches have a fixed shape and never
cross a shard, so that no stamp depends on what else is drawn, where or in which order. While a batch is
drawn, a second thread reads the conditions of the next and cuts the objects out of the one before.
"""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.errors import IntegrityError
from astro_dist.engine.files import tree_digests
from astro_dist.engine.stopping import check_stop
from astro_dist.engine.work import Run
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
        What each was drawn for.
    rms_jy_beam
        (n,) float32, noise of the donors.
    """

    image_jy_beam: NDArray[np.float32]
    mask: NDArray[np.uint8]
    instances: NDArray[np.uint16]
    choices: tuple[Choice, ...]
    rms_jy_beam: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class MicroBatch:
    """What a micro-batch is drawn from: the stamps it is for, and what the networks get, padded."""

    stamps: Sequence[int]
    choices: Sequence[Choice]
    conditions: Conditions
    noise_BChw: NDArray[np.float32]
    seeds: Sequence[int]


Extracted = tuple[list[SkyObject], Counter[str]]
"""Accepted objects, and how many were refused by reason."""


class StampMaker:
    """Models, donors and settings of a run, open for drawing any stamp of it."""

    def __init__(self, run: Run, splits: Sequence[str] = ("train",)) -> None:
        settings: GenerateConfig = run.config.generate
        pin(settings.threads)
        device = choose_device(run)
        self.run, self.settings = run, settings
        check_weights(run)
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

    def make_shard(self, shard: int) -> tuple[Stamps, Extracted]:
        """Draw all stamps of a shard and cut their objects out."""
        size, first = self.settings.micro_batch, shard * self.settings.per_shard
        end = first + self.settings.per_shard
        parts = [range(start, min(start + size, end)) for start in range(first, end, size)]
        with ThreadPoolExecutor(1) as aside:
            ahead, finished = aside.submit(self.read, parts[0]), []
            for following in [*parts[1:], None]:
                check_stop()
                batch = ahead.result()
                if following is not None:
                    ahead = aside.submit(self.read, following)
                finished.append(aside.submit(self._finish, batch, self._sample(batch)))
            done = [part.result() for part in finished]
        objects = [found for _, (objects, _) in done for found in objects]
        return _join([stamps for stamps, _ in done]), (objects, sum((r for _, (_, r) in done), Counter()))

    def make_batch_of(self, stamp: int) -> tuple[Stamps, int]:
        """Draw the micro-batch a stamp belongs to; also return its place in it."""
        per_shard, size = self.settings.per_shard, self.settings.micro_batch
        start = stamp // per_shard * per_shard
        first = start + (stamp - start) // size * size
        return self.draw(range(first, min(first + size, start + per_shard))), stamp - first

    def draw(self, stamps: Sequence[int], choices: Sequence[Choice] | None = None) -> Stamps:
        """Draw some stamps, at most a micro-batch: each for what its index says, or for something else."""
        batch = self.read(stamps, choices)
        return self._to_stamps(batch, self._sample(batch))

    def read(self, stamps: Sequence[int], choices: Sequence[Choice] | None = None) -> MicroBatch:
        """Return what a micro-batch is drawn from; a short one is padded with its last stamp."""
        chosen = [self.source.choose(i) for i in stamps] if choices is None else choices
        padding = [len(stamps) - 1] * (self.settings.micro_batch - len(stamps))
        places = [*range(len(stamps)), *padding]
        padded = [stamps[i] for i in places]
        conditions = self.source.read(padded, [chosen[i] for i in places])
        shape = self.sampler.noise_shape(self.reader.attrs["size_pix"])
        streams = [self.run.stream("generate", i) for i in padded]
        noise = np.stack([rng.standard_normal(shape, np.float32) for rng in streams])
        return MicroBatch(stamps, chosen, conditions, noise, [int(rng.integers(2**63)) for rng in streams])

    def extract(self, stamps: Stamps, first: int) -> Extracted:
        """Return the accepted objects of consecutive stamps, and how many were refused by reason.

        Spurious ones are always among the objects, for fields that want them.
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
            objects += found
            rejected += refused
        return objects, rejected

    def _sample(self, batch: MicroBatch) -> NDArray[np.float32]:
        with flushed_denormals():
            return self.sampler.draw(batch.conditions, batch.noise_BChw, batch.seeds)

    def _to_stamps(self, batch: MicroBatch, u_BSS: NDArray[np.float32]) -> Stamps:
        given, n = batch.conditions, len(batch.stamps)
        rms = given.rms_jy_beam_B[:n]
        image = unstretch(u_BSS[:n], 0.0, rms[:, None, None], self.sampler.stretch)
        return Stamps(image, given.mask_BSS[:n], given.instances_BSS[:n], tuple(batch.choices), rms)

    def _finish(self, batch: MicroBatch, u_BSS: NDArray[np.float32]) -> tuple[Stamps, Extracted]:
        stamps = self._to_stamps(batch, u_BSS)
        return stamps, self.extract(stamps, batch.stamps[0])


def check_weights(run: Run) -> None:
    """Compare the models with what their training published.

    Raises
    ------
    IntegrityError
        A file was changed, added or lost since.
    """
    for stage in ("autoencoder", "diffusion", *["masks"] * run.config.generate.masks.model):
        published = run.ledger.published(stage)
        folder = run.product(f"models/{stage}")
        if published is not None and tree_digests(folder) != published.files:
            raise IntegrityError(
                f"{folder} is not what {stage} published, and stamps of it would not be what the run says; "
                f"put the files back, or train it again with --redo {stage}"
            )


def _join(parts: Sequence[Stamps]) -> Stamps:
    return Stamps(
        image_jy_beam=np.concatenate([part.image_jy_beam for part in parts]),
        mask=np.concatenate([part.mask for part in parts]),
        instances=np.concatenate([part.instances for part in parts]),
        choices=tuple(choice for part in parts for choice in part.choices),
        rms_jy_beam=np.concatenate([part.rms_jy_beam for part in parts]),
    )
