"""A small comparison of training sets of toy pictures, and predictions that are written and not trained."""

import numpy as np
import yaml
from PIL import Image

from astro_dist.flare.predictions import Test, write_predictions
from astro_dist.flare.rows import RowSamples
from astro_dist.flare.sets import PictureSet
from astro_dist.pictures.toy import draw_toy
from tests.flare.grids import CLASSIFY, LABELS, PICTURES, run_grid
from tests.flare.painters import SIDE, save_painter

SETS = {
    "Raw": {"k": 1},
    "Aug": {"k": 3, "real": "upscaled"},
    "Half": {"k": 3, "real": "upscaled", "fraction": 0.5},
    "More": {"k": 3, "real": "upscaled", "fraction": 0.5, "beta": 1, "synthetic": "held_back"},
    "Leak": {"k": 3, "real": "upscaled", "as_published": True},
    "Mix": {"k": 3, "alpha": 1, "beta": 1, "real": "upscaled"},
}
SYNTHESISE = {"k": 2, "steps": 2, "variants": {"how": "noise"}, "shard": 32, "precision": "no"}
UNTRAINED = {"steps": 1, "threads": 1, "precision": "no", "batch_size": 2}


def run_comparison(folder):
    """Run a comparison of all kinds of sets, two seeds, a test set from elsewhere, with its report.

    Painter and upscaler are untrained: their pictures are no better than noise.
    """
    elsewhere = folder / "elsewhere"
    for label in LABELS[:3]:
        (elsewhere / label).mkdir(parents=True)
        for i in range(3):
            picture = np.moveaxis(draw_toy(label, 99, i, SIDE), 0, -1)
            Image.fromarray(picture).save(elsewhere / label / f"{i}.png")
    own = {"seeds": 2, "steps": 6, "levels": ["fine"], "test": {"elsewhere": {"path": str(elsewhere)}}}
    tree = {"pipeline": "flare", "name": "small", "seed": 4, "pictures": {**PICTURES, "size_pix": SIDE}}
    painter = {"folder": str(save_painter(folder / "painter")), "threads": 1, "precision": "no"}
    tree |= {"upscaler": UNTRAINED, "upscale": {"precision": "no"}, "unidiffuser": painter}
    tree |= {"synthesise": SYNTHESISE, "combine": {"k_synthetic": 2, "arms": SETS}}
    tree |= {"classify": {**CLASSIFY, **own}, "compare": {"gradient_steps": 64, "pictures": 4}}
    config = folder / "small.yaml"
    config.write_text(yaml.safe_dump(tree, sort_keys=False))
    run_grid(config, folder / "run", "--on", "serial", to="report")


def rows_of(labels, groups):
    """Test pictures that only their classes and groups are known of."""
    n, zeros = len(labels), np.zeros(len(labels), np.int64)
    rows = PictureSet(zeros, np.arange(n), zeros, np.asarray(labels), np.asarray(groups), np.arange(n))
    return RowSamples(None, rows, np.arange(max(labels) + 1))


def write_cell(folder, name, predicted, labels, groups, classes, test="test"):
    """Write the predictions of a cell with the writer of the grid."""
    sure = np.full((len(labels), classes), 0.1 / classes, np.float32)
    sure[np.arange(len(labels)), predicted] = 0.9
    (folder / name).mkdir(parents=True)
    path = folder / name / "predictions.parquet"
    write_predictions(path, {test: Test(rows_of(labels, groups))}, {test: sure})
