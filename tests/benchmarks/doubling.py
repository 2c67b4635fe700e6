"""Train super-resolution on the Hubble pictures and measure it on held-out ones and on galaxies.

    python -m tests.benchmarks.doubling [--steps 4700] [--start FOLDER] [--lr 0.002] [--save FOLDER]
    python -m tests.benchmarks.doubling --weights FOLDER [--samples 8] [--compare N]

With ``--weights`` nothing is trained. Prints PSNR with 95 % intervals of the paired gains, the power of the
detail in octaves, and both for ``dpm++`` with few calls against ``ancestral`` with many.
"""

import argparse
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from astro_dist.enhance.superres_stage import RECIPE
from astro_dist.models.device import pin
from astro_dist.models.super_levels import Sampler
from astro_dist.models.super_res import SuperRes
from astro_dist.train.start import find_start
from tests.enhance import doubling

SAMPLERS = (
    *(Sampler("dpm++", calls) for calls in (5, 10, 15, 20, 50, 200)),
    *(Sampler("ddim", calls) for calls in (15, 50)),
    *(Sampler("ancestral", calls, start) for calls in (500, 1000, 2000) for start in ("pure", "matching")),
)


def show(name, figures):
    """Print the figures of one set of pictures."""
    gain = figures["mean"] - figures["bicubic"]
    half = 1.96 * gain.std(ddof=1) / np.sqrt(len(gain))
    means = ", ".join(f"{key} {figures[key].mean():.2f}" for key in ("bicubic", "single", "mean"))
    power = " ".join(f"{ratio:.3f}" for ratio in figures["power"])
    print(
        f"{name} N={len(gain)}: {means} dB; gain {gain.mean():+.3f} +- {half:.3f}; power {power}", flush=True
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=4700)
    parser.add_argument("--start", help="weights that the training begins with; `enhance`, or a folder")
    parser.add_argument("--lr", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--save", type=Path)
    parser.add_argument("--weights", help="a folder, or `enhance` for the weights of the package")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--compare", type=int, default=0, metavar="N", help="pictures to compare samplers on")
    options = parser.parse_args()
    pin(1)
    if options.weights is None:
        pictures, held = doubling.hubble()
        begun = time.process_time()
        with tempfile.TemporaryDirectory() as root:
            settings = {"preset": "local", "steps": options.steps, "lr": options.lr}
            folder = doubling.train(Path(root), pictures, held, start_from=options.start, **settings)
            print(f"trained in {time.process_time() - begun:.0f} core-seconds")
            model = SuperRes.from_pretrained(folder)
            if options.save is not None:
                shutil.copytree(folder, options.save)
    else:
        model = SuperRes.from_pretrained(find_start(RECIPE, options.weights))
    sets = {"galaxies": doubling.galaxies(), "Hubble": doubling.held_middles()}
    for name, pictures in sets.items():
        show(name, doubling.measure(model, pictures, options.samples))
    for sampler in SAMPLERS if options.compare else ():
        for name, pictures in sets.items():
            chosen = pictures[:: max(1, len(pictures) // options.compare), :, 32:96, 32:96]
            label = f"{sampler.method} {sampler.calls} {sampler.start} {name}"
            show(label, doubling.measure(replace(model, sampler=sampler), chosen, 2))


if __name__ == "__main__":
    main()
