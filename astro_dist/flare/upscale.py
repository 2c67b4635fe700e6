"""The stage `upscale` (eq. 3 of FLARE): every picture enlarged, and Table 1 twice.

The paper compares an upscaled picture with its *input*, because there is no true one: that is likeness, not
restoration, and is called so here. Against a true reference the pictures of the test split are made small,
enlarged again and compared with themselves, beside bicubic and Lanczos enlargement.

Shape letters: N pictures, P planes, S side of a picture in pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_dist.engine.ledger import Result
from astro_dist.engine.origins import FACT, as_facts, merge, of_facts
from astro_dist.engine.outputs import check_product
from astro_dist.engine.work import Results, Run, Task
from astro_dist.flare.upscale_config import UpscaleConfig, UpscalerConfig
from astro_dist.metrics.similarity import count_scales, ms_ssim, psnr
from astro_dist.models.device import choose_device, pin, resolve_precision
from astro_dist.models.enlargers import Enlarger, Options, open_enlarger
from astro_dist.models.super_levels import Sampler
from astro_dist.pictures.degradations import degrade
from astro_dist.pictures.images import BICUBIC, LANCZOS, resize
from astro_dist.store.pictures import UNREADABLE, publish_pictures, write_pictures
from astro_dist.store.reader import StoreReader

EQUAL_DB = 100.0
"""PSNR that equal pictures count with, which is endless."""
Figures = list[float | None]
"""PSNR in dB, and MS-SSIM or None."""
METHODS = ("upscaler", "bicubic", "lanczos")
KERNELS = {"bicubic": BICUBIC, "lanczos": LANCZOS}


@dataclass(frozen=True)
class State:
    """The open store, network and settings of a worker."""

    run: Run
    reader: StoreReader
    enlarger: Enlarger


def open_state(run: Run) -> State:
    """Open store and network; a `Stage.open`."""
    settings = run.section(UpscaleConfig)
    # First of all: threads and deterministic kernels must be set before any network computes.
    pin(settings.threads)
    check_product(run.root, "pictures")
    enlarger = open_upscaler(run, choose_device(run))
    return State(run, StoreReader(run.product("pictures.zarr")), enlarger)


def open_upscaler(run: Run, device: str) -> Enlarger:
    """Return the upscaler of a run on a device."""
    settings = run.section(UpscaleConfig)
    check_product(run.root, "upscaler")
    options = Options(
        device,
        resolve_precision(settings.precision, device),
        settings.micro_batch,
        settings.tile_pix,
        Sampler(calls=settings.calls),
        settings.samples,
        run.seed,
    )
    return open_enlarger(run.product("models/upscaler"), "upscaler", options)


def enlarge_shard(state: State, task: Task) -> Result:
    """Enlarge the pictures of a shard, measure and write them; a `Stage.run`."""
    settings, index = state.run.section(UpscaleConfig), task.args["index"]
    rows = np.arange(index * settings.shard, min((index + 1) * settings.shard, len(state.reader)))
    pictures = state.reader.read("picture", rows)
    large = state.enlarger(pictures)
    digests = write_pictures(state.run.output, index, large, settings.shard, settings.threads)
    side_pix = pictures.shape[-1]
    likeness = [_compare(a, resize(b, side_pix)) for a, b in zip(pictures, large, strict=True)]
    held_out = np.flatnonzero(np.isin(rows, state.reader.select("test")))
    reference = {}
    if len(held_out):
        upscaler = state.run.section(UpscalerConfig)
        streams = [state.run.stream("upscale", "small", int(row)) for row in rows[held_out]]
        small = shrink(pictures[held_out], upscaler, streams)
        figures = restore(state.enlarger, pictures[held_out], small)
        reference = {str(row): own for row, own in zip(rows[held_out], figures, strict=True)}
    return {"likeness": likeness, "reference": reference, "sha256": digests}


def shrink(
    pictures_NPSS: NDArray[Any], upscaler: UpscalerConfig, streams: Sequence[np.random.Generator]
) -> NDArray[Any]:
    """Return pictures made small as those that the upscaler was trained on."""
    pairs = zip(pictures_NPSS, streams, strict=True)
    return np.stack([degrade(picture, upscaler.scale, upscaler.degradation, rng) for picture, rng in pairs])


def restore(enlarger: Enlarger, pictures_NPSS: NDArray[Any], small_NPss: NDArray[Any]) -> list[list[Figures]]:
    """Return how like the pictures their small versions are once enlarged, for each picture by `METHODS`."""
    side_pix = pictures_NPSS.shape[-1]
    found = {"upscaler": enlarger(small_NPss)}
    found |= {
        name: np.stack([resize(x, side_pix, kernel) for x in small_NPss]) for name, kernel in KERNELS.items()
    }
    rows = enumerate(pictures_NPSS)
    return [[_compare(picture, found[method][i]) for method in METHODS] for i, picture in rows]


def _compare(a_PSS: NDArray[Any], b_PSS: NDArray[Any]) -> Figures:
    """Return PSNR in dB and MS-SSIM, None for pictures too small for it, of two pictures of one type."""
    # Values from 0 on: similarity of means has no sense for negative ones.
    a, b = ((x.astype(np.float64) if x.dtype == np.uint8 else x + 1.0) for x in (a_PSS, b_PSS))
    span = 255.0 if a_PSS.dtype == np.uint8 else 2.0
    similar = round(ms_ssim(a, b, span), 6) if count_scales(a.shape[-1]) else None
    return [round(min(psnr(a, b, span), EQUAL_DB), 4), similar]


def finish(run: Run, results: Results) -> dict[str, Any]:
    """Write columns and attributes of the store, and return both tables; a `Stage.finish`.

    Returns
    -------
    dict
        ``likeness`` and ``reference``: ``{class: {"pictures": n, method: {"psnr": dB, "ms_ssim": index}}}``,
        with a row ``all``; the method of likeness is ``upscaled``, those of reference are `METHODS`, and
        ``better`` counts the pictures whose PSNR is above that of bicubic. ``scales`` are those of MS-SSIM.
    """
    reader, settings = StoreReader(run.product("pictures.zarr")), run.section(UpscaleConfig)
    side_pix, scale = int(reader.attrs["size_pix"]), run.section(UpscalerConfig).scale
    own = ("schema_version", "kind", "size_pix", "per_shard", "further", "splits")
    attrs = {name: value for name, value in reader.attrs.items() if name not in own} | {"upscaled": scale}
    origins = as_facts(merge(*(of_facts(run.facts(stage)) for stage in run.inputs)))
    attrs |= {FACT: origins}
    publish_pictures(run.output, scale * side_pix, settings.shard, reader.columns, attrs)
    # In the order of the shards, whose names have equal lengths up to a hundred thousand.
    tasks = [results[name] for name in sorted(results, key=lambda name: (len(name), name))]
    names, labels = list(reader.attrs["labels"]), reader.columns["label"].astype(np.int64)
    # Blank pictures are like anything.
    labels[reader.attrs.get(UNREADABLE, [])] = -1
    likeness = np.array([row for task in tasks for row in task["likeness"]], np.float64)
    reference = {int(row): found for task in tasks for row, found in task["reference"].items()}
    rows = np.array(sorted(reference), np.int64)
    figures = np.array([reference[int(row)] for row in rows], np.float64).reshape(len(rows), len(METHODS), 2)
    return {
        FACT: origins,
        "pictures": len(reader),
        "scales": count_scales(side_pix),
        "likeness": _by_class(likeness[:, None], labels, names, ("upscaled",)),
        "reference": _by_class(figures, labels[rows], names, METHODS),
    }


def _by_class(
    figures_NM2: NDArray[np.float64], labels_N: NDArray[Any], names: list[str], methods: tuple[str, ...]
) -> dict[str, dict[str, Any]]:
    """Return mean PSNR and MS-SSIM by class and method, and how often the first method is better."""
    table = {}
    members = {name: labels_N == i for i, name in enumerate(names)} | {"all": labels_N >= 0}
    for name, chosen in members.items():
        here = figures_NM2[chosen]
        if len(here):
            table[name] = {"pictures": len(here)} | {
                method: {"psnr": round(float(here[:, m, 0].mean()), 4), "ms_ssim": _mean(here[:, m, 1])}
                for m, method in enumerate(methods)
            }
            if len(methods) > 1:
                table[name]["better"] = int((here[:, 0, 0] > here[:, 1, 0]).sum())
    return table


def _mean(values: NDArray[np.float64]) -> float | None:
    # None came back from the records as NaN.
    return None if np.isnan(values).any() else round(float(values.mean()), 6)
