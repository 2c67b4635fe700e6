"""What is each condition worth: mask, brightness, background, guidance, steps?

    python -m tests.benchmarks.conditions RUN [N]

Draws N stamps (64 by default) for held-out masks with the run's own models, from the same noise in every
row: with all conditions, with the null of each, with a wrong one, and with other guidance and steps. The
columns: IoU of islands and masks over that of the real sources in the same noise; flux over the real one
(median and half the central 68 %, dex); drawn peak over the peak that was told (half the central 68 %, dex);
and by how much of their brightness the pixels of objects differ from those of the first row. Two draws
from different noise say how much that is by chance; what the background changes is to be compared with it.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from astro_dist.engine.work import for_stage
from astro_dist.generate.conditions import sky_of
from astro_dist.generate.config import GuidanceConfig
from astro_dist.generate.stage import GENERATE
from astro_dist.generate.stamps import StampMaker
from astro_dist.metrics.segmentation import overlap_many
from astro_dist.models.denoiser import load_scheduler
from astro_dist.models.planes import source_taper
from astro_dist.models.solvers import Solver
from astro_dist.pipelines import reopen
from astro_dist.sky.stretch import stretch, unstretch
from tests.benchmarks.mask_iou import SPLITS, choose_held_out, differ, put_in_noise, read_real, weigh


@dataclass
class Row:
    """How stamps are drawn: what the network is shown, and what is changed of it."""

    change: object = None
    mask: bool = True
    background: bool = True
    guidance: float = 1.0
    steps: int | None = None


def another_mask(given):
    return replace(given, mask_BSS=np.roll(given.mask_BSS, 1, 0), peak_BSS=np.roll(given.peak_BSS, 1, 0))


def another_brightness(given):
    """Tell each object the highest peak of the stamp before."""
    wrong = np.roll(given.peak_BSS.max((1, 2)), 1)[:, None, None]
    return replace(given, peak_BSS=np.where(given.instances_BSS > 0, wrong, 0).astype(np.float32))


def twice_the_brightness(given):
    told = unstretch(given.peak_BSS, 0.0, 1.0, "asinh")
    return replace(given, peak_BSS=stretch(2 * told, 0.0, 1.0, "asinh"))


def no_brightness(given):
    return replace(given, peak_BSS=np.zeros_like(given.peak_BSS))


def another_background(given):
    return replace(given, background_B2SS=np.roll(given.background_B2SS, 1, 0))


ROWS = {
    "all conditions": Row(),
    "without the mask": Row(mask=False),
    "another stamp's mask": Row(another_mask),
    "without brightness": Row(no_brightness),
    "another stamp's brightness": Row(another_brightness),
    "twice the brightness": Row(twice_the_brightness),
    "without background": Row(background=False),
    "another stamp's background": Row(another_background),
    **{f"guidance by the mask {g:g}": Row(guidance=g) for g in (1.25, 1.5, 2.0)},
    **{f"{steps} steps": Row(steps=steps) for steps in (5, 20)},
}


def draw(maker, batches, row):
    """Return brightness over the noise, and the peaks that were told (N, S, S)."""
    sampler, settings = maker.sampler, maker.settings
    sampler.terms = GuidanceConfig(mask=row.guidance).terms
    if not (row.mask and row.background):
        sampler.terms = {(row.mask, row.background): 1.0}
    scheduler = load_scheduler(maker.run.product("models/diffusion"))
    steps = row.steps or settings.steps
    sampler.solver = Solver(scheduler, settings.sampler, steps, settings.eta, sampler.device)
    drawn, told = [], []
    for batch in batches:
        given = row.change(batch.conditions) if row.change else batch.conditions
        u = sampler.draw(given, batch.noise_BChw, batch.seeds)[: len(batch.stamps)]
        drawn.append(unstretch(u, 0.0, 1.0, sampler.stretch))
        told.append(unstretch(given.peak_BSS[: len(batch.stamps)], 0.0, 1.0, sampler.stretch))
    return np.concatenate(drawn), np.concatenate(told)


def peak_scatter(snr, told, instances):
    """Return half the central 68 % of log10 drawn peak over told peak, of objects that were told one."""
    dex = []
    for image, peaks, numbers in zip(snr, told, instances, strict=True):
        labels = np.arange(1, int(numbers.max()) + 1)
        ours, wanted = (ndimage.maximum(x, numbers, labels) for x in (image, peaks))
        kept = (wanted > 5) & (ours > 0)
        dex += np.log10(ours[kept] / wanted[kept]).tolist()
    low, high = np.percentile(dex, [16, 84]) if dex else (np.nan, np.nan)
    return (high - low) / 2


def main(root, n=64):
    run = for_stage(reopen(root).run, GENERATE, "0" * 64)
    maker = StampMaker(run, SPLITS)
    choices, size = choose_held_out(maker, n), maker.settings.micro_batch

    def read(first):
        """Return the batches of all masks, with noise of its own for each ``first``."""
        starts = range(0, len(choices), size)
        parts = [choices[k : k + size] for k in starts]
        return [
            maker.read(range(first + k, first + k + len(c)), c) for k, c in zip(starts, parts, strict=True)
        ]

    batches, donors = read(0), [choice.donor for choice in choices]
    mask, instances = (maker.reader.read(name, donors) for name in ("mask", "instances"))
    real = np.nan_to_num(read_real(maker.reader, choices))
    whole = maker.sampler.denoiser.config.target == "stamp"
    skies = [sky_of(maker.reader, donor) for donor in donors]
    tapers = [source_taper(m, beam.fwhm_pix(pixel)) for m, (beam, pixel) in zip(mask, skies, strict=True)]

    def overlap(snr):
        shown = snr if whole else put_in_noise(maker, choices, snr, tapers)
        return overlap_many(shown, mask)["all"].iou

    best = overlap(real if whole else real * np.stack(tapers))
    print(f"{len(choices)} masks of the {' and '.join(SPLITS)} split of {root}, {maker.settings.steps} steps")
    heads = ("IoU / real", "flux bias", "scatter", "peak", "differs")
    print(f"{'':<28}" + "".join(f"{head:>12}" for head in heads))
    base = None
    for name, row in {**ROWS, "other noise": Row()}.items():
        snr, told = draw(maker, read(len(choices)) if name == "other noise" else batches, row)
        base = snr if base is None else base
        bias, scatter = weigh(snr, real, mask, instances)["all"]
        values = (
            overlap(snr) / best,
            bias,
            scatter,
            peak_scatter(snr, told, instances),
            differ(base, snr, mask)["all"],
        )
        print(f"{name:<28}" + "".join(f"{value:>12.3f}" for value in values), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), *map(int, sys.argv[2:]))
