"""Do generated stamps show what held-out masks ask for?

    python -m tests.benchmarks.mask_iou RUN [N [SETTING ...]]

With settings such as ``generate.guidance.mask=1.5`` or ``generate.sampler=heun,generate.steps=5`` it is done
again for each: what samplers, steps, guidance and conditions are worth. Draws N stamps (96 by default) with
the run's own models and settings for masks of its validation and test splits, and prints the intersection
over union of islands (5 sigma seeds, 3 sigma edges) and masks. The same measure of the real cutouts is the
figure to compare with. A network that draws sources on an empty sky is judged in noise: around the sources,
which hold some of their own, and also on top of them, as on a map. A network that always draws the mean of
what a mask allows would do best here, so each mask is drawn twice, and a row says by how much of their
brightness the pixels of the two draws differ. Last comes the flux of drawn objects over that of the real
objects of the same masks (peak above 5 sigma), in dex: median and half the width of the central 68 %.
"""

import sys
from pathlib import Path

import numpy as np

from astro_dist.engine.config import apply_set, load_yaml
from astro_dist.engine.work import Run, for_stage
from astro_dist.generate.conditions import Choice, sky_of
from astro_dist.generate.stage import GENERATE
from astro_dist.generate.stamps import StampMaker
from astro_dist.metrics.photometry import flux_ratios
from astro_dist.metrics.segmentation import add_noise, overlap_many
from astro_dist.models.planes import source_taper
from astro_dist.radio.pipeline import RADIO
from astro_dist.sky.classes import SourceClass

SPLITS = ("validation", "test")


def choose_held_out(maker, n):
    """Return up to n donors, each once and unturned, before another held-out sky."""
    rng = maker.run.stream("benchmark", "mask_iou")
    usable = np.sort(np.concatenate(list(maker.donors.pools.values())))
    donors = rng.permutation(usable)[:n]
    return [Choice(int(donor), int(rng.choice(maker.donors.backgrounds[donor])), 0) for donor in donors]


def draw(maker, choices, first=0):
    """Return generated brightness over the noise, and the masks; ``first`` moves the random streams."""
    size = maker.settings.micro_batch
    groups = [choices[i : i + size] for i in range(0, len(choices), size)]
    parts = [maker.draw(range(first + size * i, first + size * i + len(g)), g) for i, g in enumerate(groups)]
    snr = [part.image_jy_beam / part.rms_jy_beam[:, None, None] for part in parts]
    return np.concatenate(snr), np.concatenate([part.mask for part in parts])


def read_real(reader, choices):
    """Return the donors' own brightness in units of the noise."""
    donors = [choice.donor for choice in choices]
    names = ("background_jy_beam", "rms_jy_beam")
    background, rms = (reader.columns[name][donors][:, None, None] for name in names)
    return (reader.read("image", donors) - background) / rms


def put_in_noise(maker, choices, snr, tapers):
    noisy = []
    for i, (choice, taper) in enumerate(zip(choices, tapers, strict=True)):
        beam, pixel = sky_of(maker.reader, choice.donor)
        noisy.append(add_noise(snr[i], taper, beam, pixel, maker.run.seed, ("mask_iou", i)))
    return np.stack(noisy)


def differ(one, other, masks):
    """Return by how much of their brightness the pixels of two draws differ, by class."""
    apart = {}
    for name, wanted in {"all": masks > 0, **{c.name.lower(): masks == c for c in SourceClass if c}}.items():
        pairs = [(a[w], b[w]) for a, b, w in zip(one, other, wanted, strict=True) if w.any()]
        shares = [2 * np.abs(a - b).sum() / np.abs(a + b).sum() for a, b in pairs]
        apart[name] = float(np.median(shares)) if shares else np.nan
    return apart


def weigh(snr, real, masks, instances):
    """Return ``{class or all: (median, scatter)}`` of the logarithms of fluxes over real ones."""
    found = flux_ratios(snr, real, masks, instances)
    weighed = {}
    for name, chosen in {
        "all": np.ones(len(found.dex), bool),
        **{c.name.lower(): found.source_class == c for c in SourceClass if c},
    }.items():
        dex = found.dex[chosen & np.isfinite(found.dex)]
        low, middle, high = np.percentile(dex, [16, 50, 84]) if len(dex) else (np.nan,) * 3
        weighed[name] = (middle, (high - low) / 2)
    return weighed


def compare(run, n=96):
    """Return overlaps by row and class, how two draws differ, fluxes over real ones, the number of masks."""
    maker = StampMaker(run, SPLITS)
    choices = choose_held_out(maker, n)
    generated, masks = draw(maker, choices)
    apart = differ(generated, draw(maker, choices, len(choices))[0], masks)
    real = read_real(maker.reader, choices)
    instances = maker.reader.read("instances", [choice.donor for choice in choices])
    fluxes = weigh(generated, np.nan_to_num(real), masks, instances)
    rows = {"real cutouts": real, "generated": generated}
    if maker.sampler.denoiser.config.target == "source":
        skies = [sky_of(maker.reader, choice.donor) for choice in choices]
        tapers = [
            source_taper(mask, beam.fwhm_pix(pixel)) for mask, (beam, pixel) in zip(masks, skies, strict=True)
        ]
        sources = np.nan_to_num(real) * np.stack(tapers)
        nowhere = np.zeros_like(sources)
        del rows["generated"]
        rows["real sources, noise around"] = put_in_noise(maker, choices, sources, tapers)
        rows["generated, noise around"] = put_in_noise(maker, choices, generated, tapers)
        rows["real sources, noise on top"] = put_in_noise(maker, choices, sources, nowhere)
        rows["generated, noise on top"] = put_in_noise(maker, choices, generated, nowhere)
    return {name: overlap_many(snr, masks) for name, snr in rows.items()}, apart, fluxes, len(choices)


def main(root, n=96, *settings):
    names = ("all", "compact", "extended", "spurious")
    for setting in settings or (None,):
        tree = load_yaml(root / "config.yaml")
        for assignment in setting.split(",") if setting else ():
            tree = apply_set(tree, assignment)
        run = Run.of(root, RADIO.resolve(tree))
        rows, apart, fluxes, drawn = compare(for_stage(run, GENERATE, "0" * 64), int(n))
        print(f"{drawn} masks of the {' and '.join(SPLITS)} split of {root}, {setting or 'as set'}")
        print(f"{'IoU':<28}" + "".join(f"{name:>10}" for name in names))
        for row, overlaps in rows.items():
            print(f"{row:<28}" + "".join(f"{overlaps[name].iou:>10.3f}" for name in names))
        print(f"{'two draws of a mask differ':<28}" + "".join(f"{apart[name]:>10.3f}" for name in names))
        print(f"{'log10 flux over real':<28}" + "".join(f"{fluxes[name][0]:>+10.3f}" for name in names))
        print(f"{'its scatter':<28}" + "".join(f"{fluxes[name][1]:>10.3f}" for name in names))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), *sys.argv[2:])
