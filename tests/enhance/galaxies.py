"""Real pictures beside the project, without near-copies, for figures; and trainings outside of a pipeline."""

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

from astro_dist.engine.work import Run, Task, for_stage
from astro_dist.enhance.pipeline import ENHANCE
from astro_dist.store.schema import SPLIT_NAMES
from tests.flare.upscaling import make_store

DATA = Path(__file__).parents[2].parent / "shared" / "data"
MOST_ALIKE = 0.998
"""Correlation of two pictures of 16 x 16 pixels from which on the second one is a copy."""


def read_set(name, side):
    """Return pictures (N, 3, side, side), uint8, their names, and which of them are held out.

    Galaxies are halved (2 x 2 means); of all the middle is taken, and brought to ``side`` where that is
    smaller. A third is held out, by the sha256 of the name.
    """
    pictures, names, seen = [], [], []
    for path in sorted((DATA / name).glob("*.jpg")):
        with Image.open(path) as image:
            colour = image.convert("RGB")
        if name == "galaxies":
            colour = colour.reduce(2)
        left, top = ((length - 128) // 2 for length in colour.size)
        middle = colour.crop((left, top, left + 128, top + 128))
        small = np.asarray(middle.convert("L").resize((16, 16), Image.Resampling.BOX), float).ravel()
        small = (small - small.mean()) / (small.std() + 1e-9)
        if any(small @ other / 256 > MOST_ALIKE for other in seen):
            continue
        seen.append(small)
        if side < 128:
            middle = middle.resize((side, side), Image.Resampling.BICUBIC)
        pictures.append(np.asarray(middle).transpose(2, 0, 1))
        names.append(path.name)
    held = [int(hashlib.sha256(name.encode()).hexdigest(), 16) % 3 == 0 for name in names]
    return np.stack(pictures), names, np.array(held)


def train(stage, root, pictures, held, **settings):
    """Train a network of `enhance` on all pictures but the held-out ones; return its folder."""
    split = np.where(held, SPLIT_NAMES.index("test"), 0)
    make_store(root / "pictures.zarr", pictures, split)
    size = {"size_pix": pictures.shape[-1], "planes": pictures.shape[1]}
    config = ENHANCE.resolve({"name": "training", "pictures": size, stage: settings})
    declared = ENHANCE.stage(stage)
    run = for_stage(Run.of(root, config), declared, "0" * 16)
    declared.prepare(run)
    facts = declared.run(run, Task("train"))
    return run.output, facts
