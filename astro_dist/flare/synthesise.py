"""The tasks of `synthesise` (eq. 5 and 6 of FLARE): a shard of pictures painted for training pictures.

A picture is a function of (seed, training picture, variant, try): each try has its own stream, and
micro-batches have a fixed shape and never cross a shard. Tries are rounds within the task, because a variant
needs the accepted picture that it varies; so each place of the store is filled, and row
``place * k + variant`` is known beforehand.

Shape letters: B micro-batch, N pictures of a shard, P planes, S side in pixels.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from astro_dist.engine.ledger import Result
from astro_dist.engine.outputs import check_product
from astro_dist.engine.pixels import from_network, to_network
from astro_dist.engine.stopping import check_stop
from astro_dist.engine.work import Results, Run, Task
from astro_dist.flare.artists import Artist, Painted, Streams
from astro_dist.flare.painter_config import PromptsConfig
from astro_dist.flare.synthesise_config import SynthesiseConfig
from astro_dist.flare.synthesise_plan import (
    DIFFUSION,
    JUDGE,
    UNIDIFFUSER,
    UPSCALER,
    is_part,
    plan,
    scale_of,
    sum_up,
)
from astro_dist.flare.upscale import open_upscaler
from astro_dist.models.device import autocast, choose_device, flushed_denormals, pin, resolve_precision
from astro_dist.store.pictures import publish_pictures, write_pictures
from astro_dist.store.reader import StoreReader

Pictures = NDArray[Any]
"""Pictures (N, P, S, S) as in a store."""
Make = Callable[[NDArray[np.int64], int], Pictures]
"""From places in the shard and the number of the try to pictures."""


class Easel:
    """The painter of a run, and what judges and enlarges its pictures."""

    def __init__(self, run: Run) -> None:
        settings = run.section(SynthesiseConfig)
        # First of all: threads and deterministic kernels must be set before any network computes.
        pin(settings.threads)
        device = choose_device(run)
        check_product(run.root, "pictures")
        self.enlarger = open_upscaler(run, device) if is_part(run, UPSCALER) else None
        self.run, self.settings, self.device = run, settings, device
        self.precision = resolve_precision(settings.precision, device)
        self.reader = StoreReader(run.product("pictures.zarr"))
        self.artist = open_artist(run, settings, self.reader.attrs["labels"], device)
        self.jury = None
        if settings.accept is not None and is_part(run, JUDGE):
            from astro_dist.flare.jury import Jury

            self.jury = Jury(run, settings.accept, self.reader, device)
        self.rows = self.reader.select("train")
        self.captions: Counter[bool] = Counter()

    def make_shard(self, index: int) -> tuple[Pictures, "Counter[str]"]:
        """Return the pictures of a shard, (N * k, P, S, S), and counts of what was painted and dropped."""
        size, k = self.settings.shard, self.settings.k
        parents = self.rows[index * size : (index + 1) * size]
        counts: Counter[str] = Counter()
        self.captions.clear()
        first = self._fill(parents, lambda places, number: self._paint(parents[places], number), counts)
        real = self.settings.variants.of == "real"
        origin = self.reader.read("picture", parents) if real else first
        makers = (self._vary(parents, origin, variant) for variant in range(1, k))
        columns = [first, *(self._fill(parents, make, counts) for make in makers)]
        return np.stack(columns, 1).reshape(len(parents) * k, *first.shape[1:]), counts

    def _fill(self, parents: NDArray[np.int64], make: Make, counts: "Counter[str]") -> Pictures:
        """Return a picture for each parent: the first that is accepted, or else the last."""
        pending, found = np.arange(len(parents)), dict[int, Pictures]()
        accept = self.settings.accept
        for number in range(accept.tries if accept else 1):
            if not len(pending):
                break
            pictures = make(pending, number)
            labels = self.reader.columns["label"][parents[pending]]
            reasons = self.jury(pictures, labels) if self.jury else [""] * len(pending)
            found |= dict(zip(pending.tolist(), pictures, strict=True))
            counts.update(reason for reason in reasons if reason)
            counts["painted"] += len(pending)
            pending = pending[[bool(reason) for reason in reasons]]
        counts["missing"] += len(pending)
        return np.stack([found[place] for place in range(len(parents))])

    def _paint(self, rows: NDArray[np.int64], number: int) -> Pictures:
        """Return a picture of the class of each row of the store."""

        def draw(label_B: NDArray[np.integer], streams: Streams, _: Any) -> Painted:
            return self.artist.paint(label_B, streams), []

        return self._batches(rows, 0, number, draw)

    def _vary(self, parents: NDArray[np.int64], origin: Pictures, variant: int) -> Make:
        """Return what makes a variant of pictures."""
        strengths = self.settings.variants.strengths

        def draw(label_B: NDArray[np.integer], streams: Streams, x_BPSS: torch.Tensor) -> Painted:
            return self.artist.vary(x_BPSS, label_B, streams, strengths[(variant - 1) % len(strengths)])

        return lambda places, number: self._batches(parents[places], variant, number, draw, origin[places])

    @torch.inference_mode()
    def _batches(
        self,
        rows: NDArray[np.int64],
        variant: int,
        number: int,
        draw: Callable[..., Painted],
        origin: Pictures | None = None,
    ) -> Pictures:
        """Return the pictures of some rows, drawn in micro-batches that are padded with their last row."""
        size, done = self.settings.micro_batch, []
        for start in range(0, len(rows), size):
            check_stop()
            count = min(size, len(rows) - start)
            places = start + np.minimum(np.arange(size), count - 1)
            streams = [self.run.stream("synthesise", int(row), variant, number) for row in rows[places]]
            given = None
            if origin is not None:
                given = torch.from_numpy(to_network(origin[places])).to(self.device)
            with autocast(self.device, self.precision), flushed_denormals():
                x_BPSS, right = draw(self.reader.columns["label"][rows[places]], streams, given)
            self.captions.update(right[:count])
            pictures = from_network(x_BPSS.float().cpu().numpy(), str(self.reader.attrs["dtype"]))
            done.append(pictures[:count])
        return np.concatenate(done)


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
    from astro_dist.flare.prompt_artist import PromptArtist

    prompts = [run.section(PromptsConfig).fill(label) for label in labels]
    return PromptArtist(run.product("models/unidiffuser"), settings, prompts, labels, device)


def paint_shard(easel: Easel, task: Task) -> Result:
    """Paint the pictures of a shard, enlarge them where the run has an upscaler, and write them."""
    index, settings = task.args["index"], easel.settings
    pictures, counts = easel.make_shard(index)
    # What is judged and varied is the picture as it was painted, as the judge and the painter know real ones.
    if easel.enlarger is not None:
        pictures = easel.enlarger(pictures)
    per_shard = settings.shard * settings.k
    digests = write_pictures(easel.run.output, index, pictures, per_shard, settings.threads)
    return {
        **{name: counts.pop(name, 0) for name in ("painted", "missing")},
        "captions": easel.captions.total(),
        "captions_right": easel.captions[True],
        "rejected": dict(sorted(counts.items())),
        "sha256": digests,
    }


def finish(run: Run, results: Results) -> dict[str, Any]:
    """Write columns and attributes of the store, and return the figures of all shards."""
    settings, reader = run.section(SynthesiseConfig), StoreReader(run.product("pictures.zarr"))
    parent = np.repeat(reader.select("train"), settings.k)
    columns = {name: reader.columns[name][parent] for name in ("label", "split", "group")}
    columns |= {"file": np.full(len(parent), -1), "parent": parent}
    columns["variant"] = np.tile(np.arange(settings.k), len(parent) // settings.k)
    kept = ("planes", "dtype", "labels", "macro")
    attrs = {name: value for name, value in reader.attrs.items() if name in kept}
    attrs |= {"names": [], "variants": settings.variants.model_dump(mode="json")}
    scale = scale_of(run)
    attrs |= {"upscaled": scale} if scale > 1 else {}
    publish_pictures(
        run.output, scale * int(reader.attrs["size_pix"]), settings.shard * settings.k, columns, attrs
    )
    return sum_up(results, plan(run, results)) | {"pictures": len(parent)}
