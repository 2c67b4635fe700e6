"""Drawn masks beside real ones: mixture, numbers and sizes of objects, copies, speed, and a picture of both.

    python -m tests.benchmarks.masks RUN [MASKS] [STEPS] [PICTURE]

RUN has cutouts and a model of masks (`astro-dist train masks`). 1,000 (or MASKS) masks are drawn in 20 (or
STEPS) steps, each told what is known of a real mask of the validation and test splits; where there are more
than those, they come again with other noise. The picture has 100 real ones left and the drawn ones right,
classes in colour.

``best IoU`` is that of a mask and any of the training split, over all turns and flips: a model that has
memorised has a larger share above 0.8 than real held-out masks have.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from PIL import Image
from scipy import ndimage
from scipy.stats import ks_2samp

from astro_dist.engine.seeds import stream
from astro_dist.generate.masks import MaskDrawer
from astro_dist.models.device import pin, resolve_precision
from astro_dist.models.masks import count_objects, encode_mask_condition, from_planes, mask_noise_shape
from astro_dist.sky.classes import CLASS_NAMES
from astro_dist.sky.symmetries import apply_symmetry
from astro_dist.store.facts import describe_cutouts
from astro_dist.store.reader import StoreReader

BATCH = 16
PERCENT = (5, 25, 50, 75, 95)
COARSE_PIX = 8
CANDIDATES = 3
COPY_IOU = 0.8


def count(masks):
    return np.array([count_objects(*pair) for pair in masks])


def draw(drawer, counts, facts, size_pix):
    masks = []
    for first in range(0, len(counts), BATCH):
        told = encode_mask_condition(counts[first : first + BATCH], facts[first : first + BATCH])
        streams = [stream(1, "masks", first + i) for i in range(len(told))]
        noise = np.stack([rng.standard_normal(mask_noise_shape(size_pix), np.float32) for rng in streams])
        masks += [from_planes(planes) for planes in drawer.draw(told, noise)]
    return masks


def find_sizes(masks):
    """Return the sizes in pixels of all objects, by class."""
    sizes = {name: [] for name in CLASS_NAMES[1:]}
    for mask, instances in masks:
        for number in range(1, int(instances.max()) + 1):
            inside = instances == number
            sizes[CLASS_NAMES[int(mask[inside].max())]].append(int(inside.sum()))
    return sizes


def compare(real, drawn, asked):
    """Return the figures of both sets by class; ``asked`` are the counts that each drawn one was told."""
    real_sizes, drawn_sizes, got = find_sizes(real), find_sizes(drawn), count(drawn)
    figures = {}
    for k, name in enumerate(CLASS_NAMES[1:]):
        wanted, there = asked[:, k] > 0, got[:, k] > 0
        a, b = real_sizes[name], drawn_sizes[name]
        figures[name] = {
            "objects asked for": int(asked[:, k].sum()),
            "drawn": int(got[:, k].sum()),
            "masks with some where asked for": round(float(there[wanted].mean()), 3),
            "and where not": round(float(there[~wanted].mean()), 3),
            "correlation of numbers": round(float(np.corrcoef(asked[:, k], got[:, k])[0, 1]), 3),
            "pixels, real": np.percentile(a, PERCENT).round().tolist() if a else [],
            "pixels, drawn": np.percentile(b, PERCENT).round().tolist() if b else [],
            "KS of the sizes": round(float(ks_2samp(a, b).statistic), 3) if a and b else None,
        }
    a, b = count(real).sum(1), got.sum(1)
    figures["objects per mask"] = {
        "real": np.percentile(a, PERCENT).tolist(),
        "drawn": np.percentile(b, PERCENT).tolist(),
        "KS": round(float(ks_2samp(a, b).statistic), 3),
    }
    return figures


def find_faults(drawn, asked):
    """Return shares of masks that are empty though objects were asked for, broken, or there twice."""
    empty = [not mask.any() for mask, _ in drawn]
    broken = [not is_consistent(*pair) for pair in drawn]
    filled = [mask.tobytes() for mask, _ in drawn if mask.any()]
    return {
        "empty though asked for objects": round(float(np.mean(empty & (asked.sum(1) > 0))), 4),
        "instances not connected components of one class": float(np.mean(broken)),
        "duplicates": len(filled) - len(set(filled)),
    }


def is_consistent(mask, instances):
    labels, found = ndimage.label(mask > 0, structure=np.ones((3, 3)))
    pairs = np.unique(np.stack([labels.ravel(), instances.ravel(), mask.ravel()]), axis=1)
    return found == instances.max() and pairs.shape[1] == found + 1


def best_iou(masks, train):
    """Return the highest IoU of each mask with any turn of any training mask."""
    coarse_train = coarsen(train)
    best = np.zeros(len(masks))
    for turn in range(8):
        turned = apply_symmetry(masks, turn)
        alike = np.argpartition(-coarsen(turned) @ coarse_train.T, CANDIDATES, axis=1)[:, :CANDIDATES]
        for i, candidates in enumerate(alike):
            both = (turned[i] & train[candidates]).sum((1, 2))
            either = (turned[i] | train[candidates]).sum((1, 2))
            best[i] = max(best[i], float((both / np.maximum(either, 1)).max()))
    return best


def coarsen(masks):
    n, side = len(masks), masks.shape[-1] // COARSE_PIX
    sums = masks.reshape(n, side, COARSE_PIX, side, COARSE_PIX).sum((2, 4), dtype=np.float32).reshape(n, -1)
    return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1)


def find_copies(real, drawn, train):
    figures = {}
    for name, masks in (("real", real), ("drawn", drawn)):
        iou = best_iou(np.stack([mask > 0 for mask, _ in masks if mask.any()]), train)
        figures[name] = {
            "median": round(float(np.median(iou)), 3),
            "above 0.8": float(np.mean(iou > COPY_IOU)),
        }
    return figures


def picture(masks, columns=10, gap=4):
    """Return an RGB array of the class maps in rows."""
    colours = (colormaps["tab10"](np.array([7, 3, 0, 1]))[:, :3] * 255).astype(np.uint8)
    colours[0] = 20
    tiles = [np.pad(colours[mask], ((0, gap), (0, gap), (0, 0)), constant_values=90) for mask, _ in masks]
    rows = [
        np.concatenate(tiles[i : i + columns], 1) for i in range(0, len(tiles) // columns * columns, columns)
    ]
    return np.concatenate(rows)


def main(run, masks=1000, steps=20, path="masks.png"):
    pin(1)
    reader = StoreReader(Path(run) / "cutouts.zarr")
    pool = np.concatenate([reader.select(split) for split in ("validation", "test")])
    held_out = stream(1, "chosen").permutation(pool)[: int(masks)]
    real = list(zip(*(reader.read(name, held_out) for name in ("mask", "instances")), strict=True))
    told = np.resize(np.arange(len(real)), int(masks))
    asked, facts = count(real)[told], describe_cutouts(reader.attrs, reader.columns)[held_out][told]
    drawer = MaskDrawer(Path(run) / "models" / "masks", int(steps), "cpu", resolve_precision("auto", "cpu"))
    start = time.process_time()
    drawn = draw(drawer, asked, facts, int(reader.attrs["size_pix"]))
    seconds = time.process_time() - start
    train = reader.read("mask", reader.select("train")) > 0
    figures = compare(real, drawn, asked) | find_faults(drawn, asked)
    figures["best IoU"] = find_copies(real, drawn, train)
    figures["masks per second of one core"] = round(len(drawn) / seconds, 2)
    print(json.dumps(figures, indent=1))
    sides = [picture(real[:100]), picture(drawn[:100])]
    Image.fromarray(
        np.concatenate([sides[0], np.full((len(sides[0]), 16, 3), 255, np.uint8), sides[1]], 1)
    ).save(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
