"""Six steps of a training on toy cutouts: ``python -m tests.slurm.toy_training ROOT RANKS``."""

import json
import sys
from pathlib import Path

from astro_dist.train import ranks
from tests.train.conftest import ToyReader, make_cell, write_store

SETTINGS = {"steps": 20, "batch_size": 4, "crop_pix": 32, "threads": 1, "precision": "no"}


def main(root, count):
    cell = make_cell("autoencoder", root, **SETTINGS, ranks=count)
    cell.output.mkdir(parents=True)
    write_store(cell.run.product("cutouts.zarr"), ToyReader())
    print(json.dumps(ranks.train_on_ranks(cell)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
