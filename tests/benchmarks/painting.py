"""How many pictures of a run's `synthesise` a judge of real pictures recognises, and how many are copies.

    python -m tests.benchmarks.painting RUN

RUN has a section judge, and best no synthesise.accept, which drops such pictures. Beside the painted pictures
stand the real ones of the test split, which neither painter nor judge has seen. A copy is nearer to a
training picture, in the judge's features, than all but 1 % of the validation pictures.
"""

import argparse
from pathlib import Path

import numpy as np

from astro_dist.engine.config import load_yaml
from astro_dist.engine.work import for_stage
from astro_dist.flare.jury import Jury
from astro_dist.flare.pipeline import FLARE
from astro_dist.flare.synthesise_config import SampleAcceptConfig
from astro_dist.flare.synthesise_stage import SYNTHESISE
from astro_dist.models.device import pin
from astro_dist.runner import Runner
from astro_dist.store.reader import StoreReader


def measure(root):
    """Return ``{name: [recognised shares by class and of all, share of copies]}``, and the classes."""
    config = FLARE.resolve(load_yaml(root / "config.yaml"))
    run = for_stage(Runner(root, config, FLARE.choose(config)).run, SYNTHESISE, "f" * 64)
    real, painted = (StoreReader(root / name) for name in ("pictures.zarr", "synthetic.zarr"))
    juries = [Jury(run, SampleAcceptConfig(recognised=r, copies=not r), real, "cpu") for r in (True, False)]
    found = {}
    for name, store, rows in (
        ("painted", painted, np.arange(len(painted))),
        ("test split", real, real.select("test")),
    ):
        pictures, labels = store.read("picture", rows), store.columns["label"][rows]
        seen, fresh = (np.array([not reason for reason in jury(pictures, labels)]) for jury in juries)
        shares = [float(seen[labels == label].mean()) for label in np.unique(labels)]
        found[name] = [*shares, float(seen.mean()), float(1 - fresh.mean())]
    return found, list(real.attrs["labels"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    pin(1)
    table, classes = measure(parser.parse_args().run)
    print("| pictures |", " | ".join([*classes, "all", "copies"]), "|")
    for name, shares in table.items():
        print("|", name, "|", " | ".join(f"{100 * share:.1f} %" for share in shares), "|")
