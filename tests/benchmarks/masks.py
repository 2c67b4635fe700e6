"""Drawn masks beside real ones: how many objects of each class, how large, and a picture of both.

    python -m tests.benchmarks.masks RUN [MASKS] [STEPS] [PICTURE]

RUN has cutouts and a model of masks (`astro-dist train masks`). Each drawn mask is told class and facts of a
real mask of the validation and test splits, which it stands beside: 100 (or MASKS) of them in STEPS (20)
steps. The picture has the real ones left and the drawn ones right, classes in colour.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from PIL import Image
from scipy.stats import ks_2samp

from astro_dist.generate.masks import MaskDrawer
from astro_dist.models.device import pin, resolve_precision
from astro_dist.models.masks import from_planes, mask_noise_shape, tell
from astro_dist.seeds import stream
from astro_dist.sky.classes import CLASS_NAMES
from astro_dist.store.facts import describe_cutouts
from astro_dist.store.reader import StoreReader

BATCH = 16
PERCENT = (5, 25, 50, 75, 95)


def draw(drawer, classes, facts, size_pix):
    masks = []
    for first in range(0, len(classes), BATCH):
        told = tell(classes[first : first + BATCH], facts[first : first + BATCH])
        streams = [stream(1, "masks", first + i) for i in range(len(told))]
        noise = np.stack([rng.standard_normal(mask_noise_shape(size_pix), np.float32) for rng in streams])
        masks += [from_planes(planes) for planes in drawer.draw(told, noise)]
    return masks


def describe(masks):
    """Return numbers of objects per mask and sizes in pixels by class."""
    counts, sizes = np.zeros((len(masks), len(CLASS_NAMES)), int), {name: [] for name in CLASS_NAMES[1:]}
    for row, (mask, instances) in zip(counts, masks, strict=True):
        for number in range(1, int(instances.max()) + 1):
            inside = instances == number
            source_class = int(mask[inside].max())
            row[source_class] += 1
            sizes[CLASS_NAMES[source_class]].append(int(inside.sum()))
    return counts, sizes


def compare(real, drawn):
    """Return the figures of both sets by class."""
    (real_counts, real_sizes), (drawn_counts, drawn_sizes) = describe(real), describe(drawn)
    figures = {}
    for number, name in enumerate(CLASS_NAMES[1:], start=1):
        a, b = real_sizes[name], drawn_sizes[name]
        figures[name] = {
            "real": summarise(a),
            "drawn": summarise(b),
            "KS of the sizes": round(float(ks_2samp(a, b).statistic), 3) if a and b else None,
            "KS of the numbers per mask": round(
                float(ks_2samp(real_counts[:, number], drawn_counts[:, number]).statistic), 3
            ),
        }
    return figures


def summarise(sizes):
    return {
        "objects": len(sizes),
        "pixels": [round(v) for v in np.percentile(sizes, PERCENT)] if sizes else [],
    }


def picture(masks, columns=10, gap=4):
    """Return an RGB array of the class maps in rows."""
    colours = (colormaps["tab10"](np.array([7, 3, 0, 1]))[:, :3] * 255).astype(np.uint8)
    colours[0] = 20
    tiles = [np.pad(colours[mask], ((0, gap), (0, gap), (0, 0)), constant_values=90) for mask, _ in masks]
    rows = [
        np.concatenate(tiles[i : i + columns], 1) for i in range(0, len(tiles) // columns * columns, columns)
    ]
    return np.concatenate(rows)


def main(run, masks=100, steps=20, path="masks.png"):
    pin(1)
    reader = StoreReader(Path(run) / "cutouts.zarr")
    pool = np.concatenate([reader.select(split) for split in ("validation", "test")])
    chosen = stream(1, "chosen").permutation(pool)[: int(masks)]
    mask, instances = (reader.read(name, chosen) for name in ("mask", "instances"))
    drawer = MaskDrawer(Path(run) / "models" / "masks", int(steps), "cpu", resolve_precision("auto", "cpu"))
    facts = describe_cutouts(reader.attrs, reader.columns)[chosen]
    start = time.perf_counter()
    drawn = draw(drawer, mask.max((1, 2)), facts, int(reader.attrs["size_pix"]))
    seconds = time.perf_counter() - start
    real = list(zip(mask, instances, strict=True))
    print(json.dumps(compare(real, drawn), indent=1))
    wanted = mask.max((1, 2)) == np.array([m.max() for m, _ in drawn])
    print(f"{wanted.mean():.0%} have the class they were drawn for; {len(drawn) / seconds:.1f} masks/s")
    sides = [picture(real[:100]), picture(drawn[:100])]
    Image.fromarray(
        np.concatenate([sides[0], np.full((len(sides[0]), 16, 3), 255, np.uint8), sides[1]], 1)
    ).save(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
