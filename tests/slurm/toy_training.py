"""Six steps of a training on toy cutouts: ``python -m tests.slurm.toy_training ROOT RANKS``."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

from astro_dist.engine import work
from astro_dist.radio.config import AutoencoderConfig
from astro_dist.train import ranks
from astro_dist.train import stage as stages
from tests.train.conftest import ToyReader, write_store

SETTINGS = {"steps": 20, "batch_size": 4, "crop_pix": 32, "threads": 1, "precision": "no"}


def main(root, count):
    config = SimpleNamespace(seed=3, machine=None, autoencoder=AutoencoderConfig(**SETTINGS, ranks=count))
    run = work.for_stage(work.Run(root, config), stages.AUTOENCODER, "f" * 64)
    run.output.mkdir(parents=True)
    write_store(run.product("cutouts.zarr"), ToyReader())
    print(json.dumps(ranks.train_on_ranks(run, count)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
