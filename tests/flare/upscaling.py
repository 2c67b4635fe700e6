"""A training of the upscaler outside of a pipeline, and its figures."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from astro_dist.engine.work import Run, Task, for_stage
from astro_dist.flare.pipeline import FLARE
from astro_dist.flare.upscale import restore, shrink
from astro_dist.flare.upscale_config import UpscalerConfig
from astro_dist.flare.upscale_stage import UPSCALER
from astro_dist.models.enlargers import SwinEnlarger
from astro_dist.models.swinir_files import load_checked
from astro_dist.pictures.images import from_image
from astro_dist.store.pictures import publish_pictures, write_pictures
from astro_dist.store.schema import SPLIT_NAMES

DATA = Path(__file__).parents[2].parent / "shared" / "data"
PER_SHARD = 64


def list_folder(folder):
    """Return the names of the pictures of a folder, sorted."""
    return sorted(path.name for path in folder.glob("*.jpg"))


def read_folder(folder, names=None):
    """Return the pictures (N, 3, S, S) of a folder, which are of one size."""
    pictures = []
    for name in names or list_folder(folder):
        with Image.open(folder / name) as image:
            pictures.append(from_image(image.convert("RGB")))
    return np.stack(pictures)


def held_out(n, count=19):
    """Return evenly spread rows that no training sees."""
    return np.arange(0, n, n // count)[:count]


def deep_sky(most=1000):
    """Return up to ``most`` pictures of each of the five classes of the deep sky, by class."""
    folder = DATA / "deepsky"
    with (folder / "labels.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["class"]]
    found = {}
    for row in rows:
        path = folder / Path(row["file"]).with_suffix(".jpg")
        if path.is_file():
            found.setdefault(row["class"], []).append(path.name)
    return {name: read_folder(folder, members[:most]) for name, members in found.items()}


def make_store(path, pictures, split, labels=("one",), label=None):
    """Publish a store of pictures with the given splits."""
    n = len(pictures)
    for shard in range(-(-n // PER_SHARD)):
        write_pictures(path, shard, pictures[shard * PER_SHARD : (shard + 1) * PER_SHARD], PER_SHARD)
    columns = {"label": np.zeros(n) if label is None else label, "split": split, "group": np.arange(n)}
    attrs = {"planes": pictures.shape[1], "dtype": pictures.dtype.name, "labels": list(labels)}
    names = {"names": [str(i) for i in range(n)]}
    publish_pictures(path, pictures.shape[-1], PER_SHARD, {**columns, "file": np.arange(n)}, attrs | names)


def train(root, pictures, held, **settings):
    """Train an upscaler on all pictures but the rows ``held``; return the folder of its weights."""
    split = np.zeros(len(pictures), int)
    split[held] = SPLIT_NAMES.index("test")
    make_store(root / "pictures.zarr", pictures, split)
    size = {"size_pix": pictures.shape[-1], "planes": pictures.shape[1]}
    config = FLARE.resolve({"name": "upscaling", "pictures": size, "upscaler": settings})
    run = for_stage(Run.of(root, config), UPSCALER, "0" * 16)
    UPSCALER.prepare(run)
    UPSCALER.run(run, Task("train"))
    return run.output


def measure(folder, pictures, scale=2, kind="bicubic"):
    """Return the figures (N, 3, 2) of pictures made small and enlarged again; see `restore`."""
    enlarger = SwinEnlarger(load_checked(folder, "upscaler"), 4)
    config = UpscalerConfig(scale=scale, degradation=kind)
    streams = [np.random.default_rng(i) for i in range(len(pictures))]
    return np.array(restore(enlarger, pictures, shrink(pictures, config, streams)))
