"""The whole chain on held-out pictures: grey, coloured, doubled, smoothed, beside all baselines.

python -m tests.enhance.chain_measured galaxies 100 FOLDER        # trains colours, then measures
python -m tests.enhance.chain_measured galaxies 100 FOLDER '{"more": 1500, "samples": 16}'
"""

import hashlib
import json
import shutil
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch

from astro_dist.engine.seeds import stream
from astro_dist.engine.work import Run
from astro_dist.enhance.figures_table import sum_up
from astro_dist.enhance.filters import filter_bilateral
from astro_dist.enhance.picture_figures import PictureMeasurer, Reference
from astro_dist.enhance.pipeline import ENHANCE
from astro_dist.enhance.superres_stage import RECIPE
from astro_dist.store.reader import StoreReader
from astro_dist.train.start import find_start
from tests.enhance.doubling import held_names
from tests.enhance.galaxies import read_set, train

STRONG = (9, 0.1, 3.0)
"""The filter of the source's experiments; the default is milder."""


def choose_held(names, count):
    """Return which pictures are held out: the first by the sha256 of their names."""
    digests = [hashlib.sha256(name.encode()).hexdigest() for name in names]
    held = np.zeros(len(names), bool)
    held[np.argsort(digests)[:count]] = True
    return held


def prepare(root, name, count, steps=500, more=0):
    """Train colours on the other pictures, put the package's weights beside them; return the store.

    Of Hubble pictures those are held out that the weights of the package have not seen. ``more`` are steps
    that these weights learn from the other pictures too.
    """
    pictures, names, _ = read_set(name, 128)
    held = np.isin(names, held_names()) if name == "hubble" else choose_held(names, count)
    folder, _ = train("colourise", root, pictures, held, steps=steps, gan=False)
    (root / "models").mkdir(exist_ok=True)
    shutil.move(folder, root / "models" / "colourise")
    doubling = find_start(RECIPE, "enhance")
    if more:
        doubling, _ = train(
            "superres", root / "doubling", pictures, held, steps=more, preset="local", start_from="enhance"
        )
    shutil.copytree(doubling, root / "models" / "superres")
    return StoreReader(root / "pictures.zarr")


def open_measurer(root, reader, **enhance):
    """Return what measures the chain of a folder that `prepare` filled."""
    tree = {
        "name": "chain",
        "pictures": {"size_pix": 128},
        "colourise": {"gan": False},
        "superres": {"preset": "local", "start_from": "enhance", "steps": 0},
        "enhance": {"chain": ["colourise", "superres", "bilateral"], "samples": 4, **enhance},
        "evaluate": {"filtered": True, "learnt": 64},
    }
    return PictureMeasurer(Run.of(root, ENHANCE.resolve(tree)), reader)


def measure(root, reader, count, **enhance):
    """Return the figures of held-out pictures summed up, also with the strong filter."""
    measurer, images = open_measurer(root, reader, **enhance), []
    for row in reader.select("test")[:count].tolist():
        trace = measurer.trace(row)
        # Every figure is of one pass through the chain.
        measurer.trace = lambda _, found=trace: found
        rows, _ = measurer.measure(row)
        del measurer.trace
        strong = Reference(trace.true_PHW, filter_bilateral(trace.true_PHW, *STRONG))
        rows["strong filter"] = strong.compare(filter_bilateral(trace.steps["superres"], *STRONG))
        rows["bicubic, strong filter"] = strong.compare(measurer.baselines(trace)["bicubic"])
        images.append(rows)
        if len(images) % 10 == 0:
            print(len(images), file=sys.stderr, flush=True)
    return sum_up(images, ["bicubic", "table", "linear"], partial(stream, 1, "chain"), 200)


def show(found):
    """Print the table of a chain."""
    for row, figures in found["figures"].items():
        shown = {}
        for key in ("psnr", "ssim", "ssim_grey", "ssim_filtered", "ssim_grey_filtered", "colour"):
            if one := figures.get(key):
                shown[key] = [round(one[part], 3) for part in ("value", "median", "best")]
        shown["lost"] = [round(figures["lost"]["value"], 3), figures["lost"]["of"]]
        shown["power"] = [round(one["value"], 3) for one in figures["power"]]
        print(row, shown)
    for row, gains in found["gains"].items():
        print(
            "over",
            row,
            {key: [round(one[p], 3) for p in ("value", "low", "high")] for key, one in gains.items()},
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    name, count, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    known = (folder / "models" / "superres").exists()
    settings = json.loads(sys.argv[4]) if len(sys.argv) > 4 else {}
    more = settings.pop("more", 0)
    store = StoreReader(folder / "pictures.zarr") if known else prepare(folder, name, count, more=more)
    result = measure(folder, store, count, **settings)
    (folder / f"chain-{len(sys.argv)}.json").write_text(json.dumps(result))
    show(result)
