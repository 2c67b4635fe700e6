"""A training of super-resolution outside of a pipeline, on real pictures, and its figures."""

import numpy as np
from PIL import Image

from astro_dist.engine.work import Run, Task, for_stage
from astro_dist.enhance.pipeline import ENHANCE
from astro_dist.enhance.superres_stage import SUPERRES
from astro_dist.store.schema import SPLIT_NAMES
from tests.flare.upscaling import DATA, held_out, list_folder, make_store, read_folder

HELD_OUT = 40
MIDDLE = slice(64, 192)


def hubble():
    """Return the Hubble pictures (N, 3, 256, 256) and the rows that no training sees."""
    pictures = read_folder(DATA / "hubble")
    return pictures, held_out(len(pictures), HELD_OUT)


def galaxies(count=58):
    """Return the middles (N, 3, 128, 128) of halved galaxies, one of those that are nearly equal."""
    found, seen = [], []
    for name in list_folder(DATA / "galaxies"):
        with Image.open(DATA / "galaxies" / name) as image:
            pixels = np.asarray(image.convert("RGB"), np.float64).transpose(2, 0, 1)
        half = pixels.reshape(3, 212, 2, 212, 2).mean((2, 4))[:, 42:170, 42:170]
        small = half.mean(0).reshape(16, 8, 16, 8).mean((1, 3)).ravel()
        small = (small - small.mean()) / small.std() / 16
        if all(small @ other < 0.998 for other in seen):
            found, seen = [*found, np.rint(half).astype(np.uint8)], [*seen, small]
    return np.stack(found[:: max(1, len(found) // count)][:count])


def train(root, pictures, held, **settings):
    """Train super-resolution on all pictures but the rows ``held``; return the folder of its weights."""
    split = np.zeros(len(pictures), int)
    split[held] = SPLIT_NAMES.index("test")
    if not (root / "pictures.zarr").exists():
        make_store(root / "pictures.zarr", pictures, split)
    size = {"size_pix": pictures.shape[-1], "planes": pictures.shape[1]}
    config = ENHANCE.resolve({"name": "doubling", "pictures": size, "superres": settings})
    run = for_stage(Run.of(root, config), SUPERRES, "0" * 16)
    SUPERRES.prepare(run)
    SUPERRES.run(run, Task("train"))
    return run.output
