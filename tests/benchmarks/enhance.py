"""Doubling of a map by the network of finite reach: what `plan` promises, what the stage takes, a bare loop.

    python -m tests.benchmarks.enhance OUT [--side 2048] [--calls 2]

Makes a simulated map and a network of the preset `local`, untrained but for two steps, and doubles the map in
this process. Times are those of this process on its core, so that a busy machine changes them less than
the clock. The bare loop draws the samples of the same tiles, and of the cutouts on which the uncertainty is
scaled, and does nothing else.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import yaml

from astro_dist.cli import main as command
from astro_dist.engine.work import for_stage
from astro_dist.enhance.chain_config import ChainConfig
from astro_dist.enhance.chain_stage import ENHANCE
from astro_dist.enhance.costs import CALIBRATED, MapSize, estimate_chain, tiles_of
from astro_dist.enhance.links import open_superres
from astro_dist.models.device import pin
from astro_dist.pipelines import open_runner
from astro_dist.store.config import CutoutsConfig


def describe(side, calls, width):
    """Return the configuration."""
    tree = {
        "pipeline": "enhance",
        "simulate": {"shape": [side, side]},
        "maps": {},
        "cutouts": {"size_pix": 64, "mode": "tiles", "empty_fraction": 0.1},
        "superres": {"steps": 2},
        "enhance": {"samples": 2, "most_samples": 2, "calls": calls, "unlike": "flag"},
    }
    if width:
        tree["superres"]["width"] = width
    return tree


def time_bare(run, side, part):
    """Return core-seconds of the calls alone: of the map, from every ``part``-th tile, and of cutouts."""
    config = run.section(ChainConfig)
    network, tiles = open_superres(run, "cpu"), list(tiles_of(run, config, MapSize(1, (side, side), 4.0)))
    cutout = run.section(CutoutsConfig).size_pix // 2
    shapes = [tile.shape for tile in tiles[part // 2 :: part]]
    rng, taken = np.random.default_rng(1), []
    for group in (shapes, [(cutout, cutout)] * CALIBRATED):
        begin = time.process_time()
        for shape in group:
            image = rng.standard_normal((1, *shape)).astype(np.float32)
            for sample in range(config.samples):
                network.draw(image, sample, (0, 0))
        taken.append(time.process_time() - begin)
    return taken[0] * len(tiles) / len(shapes) + taken[1]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--side", type=int, default=2048)
    parser.add_argument("--calls", type=int, default=2)
    parser.add_argument("--width", type=int)
    parser.add_argument("--part", type=int, default=4, help="the bare loop does every such tile")
    options = parser.parse_args()
    pin(1)
    options.out.mkdir(parents=True, exist_ok=True)
    config = options.out / "maps.yaml"
    config.write_text(yaml.safe_dump(describe(options.side, options.calls, options.width)))
    words = [str(config), "--out", str(options.out / "run"), "--on", "serial", "-q"]
    assert command(["run", *words, "--to", "superres"]) == 0
    runner = open_runner(config, options.out / "run")
    run = for_stage(runner.run, ENHANCE, "0" * 64)
    promised = estimate_chain(run, run.section(ChainConfig)).cpu_s
    begin = time.process_time()
    assert command(["enhance", *words]) == 0
    taken = time.process_time() - begin
    bare = time_bare(run, options.side, options.part)
    print(f"{options.side} x {options.side}: planned {promised:.1f}, taken {taken:.1f} core-seconds")
    print(f"planned / taken {promised / taken:.3f}; bare loop {bare:.1f} s, {bare / taken:.3f} of the stage")


if __name__ == "__main__":
    main()
