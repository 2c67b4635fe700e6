"""Is the sky of stamps like the real one: its noise, its tails, its power by band, its stripes?

    python -m tests.benchmarks.sky RUN [N [SETTING ...]] [--png FILE]

What `evaluate` says of the sky, without its judges: N held-out masks (64 by default) before the sky of
another held-out cutout, drawn with the run's models; with settings such as ``generate.steps=20`` again for
each. Stamps of a model that draws sources only have no sky and are left out. ``--png`` writes a grid of
real cutouts, their reconstructions and the stamps of each setting to look at.
"""

import argparse
from pathlib import Path

import numpy as np

from astro_dist.engine.config import apply_set, load_yaml
from astro_dist.engine.work import Run, for_stage
from astro_dist.evaluate import images
from astro_dist.evaluate.config import EvaluateConfig
from astro_dist.evaluate.figures import BANDS
from astro_dist.evaluate.masks import HeldOutMasks
from astro_dist.evaluate.networks import Networks
from astro_dist.evaluate.stage import EVALUATE
from astro_dist.generate.stamps import StampMaker
from astro_dist.metrics.noise import count_stray, describe_noise, measure_stripes, sum_noise
from astro_dist.metrics.similarity import power_spectra
from astro_dist.radio.pipeline import RADIO


def draw(run, masks):
    """Return stamps (N, S, S) in units of the noise, or None of a model that draws sources only."""
    maker = StampMaker(run, run.section(EvaluateConfig).splits)
    if maker.sampler.denoiser.config.target == "source":
        return None
    size, parts = maker.settings.micro_batch, []
    for first in range(0, masks.n, size):
        indices = range(first, min(first + size, masks.n))
        stamps = maker.draw(indices, [masks.choose("blind", i) for i in indices])
        parts.append(stamps.image_jy_beam / stamps.rms_jy_beam[:, None, None])
    return np.concatenate(parts)


def measure(snr, real, mask, sky):
    """Return the figures of one set of images by name."""
    ours, theirs = (power_spectra(np.where(sky, x, 0)).mean(0) for x in (snr, real))
    return {
        **describe_noise(sum_noise(snr, sky).sum(0)),
        **{name: ours[slice(*b)].sum() / theirs[slice(*b)].sum() for name, b in BANDS.items()},
        "islands": count_stray(snr, mask).mean(),
        "stripes": measure_stripes(snr, sky).mean(),
    }


def compare(root, n, settings):
    """Return the images by row, their masks, and which of their pixels are sky."""
    rows = {}
    for setting in settings or ("",):
        tree = apply_set(load_yaml(root / "config.yaml"), f"evaluate.stamps={n}")
        for assignment in setting.split(",") if setting else ():
            tree = apply_set(tree, assignment)
        run = for_stage(Run.of(root, RADIO.resolve(tree)), EVALUATE, "0" * 64)
        masks = HeldOutMasks(run)
        if not rows:
            real = images.read_snr(masks.reader, masks.held_out)
            sky = (images.tapers_of(masks.reader, masks.held_out) == 0) & np.isfinite(real)
            u = images.to_network_range(masks.reader, real)
            rows["real"] = np.nan_to_num(real)
            rows["reconstructed"] = images.from_network_range(masks.reader, Networks(run).reconstructions(u))
        if (drawn := draw(run, masks)) is not None:
            rows[setting or "generated"] = drawn
    return rows, masks.reader.read("mask", masks.held_out), sky


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("n", type=int, nargs="?", default=64)
    parser.add_argument("settings", nargs="*")
    parser.add_argument("--png", type=Path)
    given = parser.parse_intermixed_args()
    rows, mask, sky = compare(given.root.resolve(), given.n, given.settings)
    found = {name: measure(snr, rows["real"], mask, sky) for name, snr in rows.items()}
    print(f"{len(mask)} masks of {given.root}; rows are {', '.join(found)}")
    for figure in found["real"]:
        print(f"{figure:<12}" + "".join(f"{values[figure]:>14.3g}" for values in found.values()))
    if given.png:
        from astro_dist.report.images import draw_grid

        some = slice(0, 8)
        shown = {name: snr[some] for name, snr in rows.items()}
        draw_grid(mask[some], shown, top_snr=8.0).savefig(given.png, dpi=110)


if __name__ == "__main__":
    main()
