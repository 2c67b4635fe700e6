"""Doubling of a map by the network of finite reach: what `plan` promises, what the stage takes, a bare loop.

    python -m tests.benchmarks.enhance OUT [--side 1024] [--calls 5] [--samples 2] [--width 16]

Makes a simulated map and a network of the preset `local`, untrained but for two steps, and does the tasks
of the stage in this process, whose libraries are imported before. Each band takes its turn with a bare loop,
which draws the samples of the same tiles and does nothing else, so that other users of the machine touch both
alike; times are those of this process on its core. What the stage does once per map, to look at it and to
scale its uncertainty, is told apart; it is part of what `plan` promises.
"""

import argparse
import time
from pathlib import Path
from statistics import median

import numpy as np
import yaml

from astro_dist.cli import main as command
from astro_dist.engine.work import for_stage
from astro_dist.enhance.chain_config import ChainConfig
from astro_dist.enhance.chain_stage import ENHANCE
from astro_dist.enhance.costs import MapSize, estimate_chain, tiles_of
from astro_dist.enhance.links import open_superres
from astro_dist.models.device import pin
from astro_dist.pipelines import open_runner
from astro_dist.workers.attempts import Worker


def describe(side, calls, samples, width):
    """Return the configuration."""
    tree = {
        "pipeline": "enhance",
        "simulate": {"shape": [side, side]},
        "maps": {},
        "cutouts": {"size_pix": 64, "mode": "tiles", "empty_fraction": 0.1},
        "superres": {"steps": 2},
        "enhance": {"samples": samples, "most_samples": samples, "calls": calls, "unlike": "flag"},
    }
    if width:
        tree["superres"]["width"] = width
    return tree


def make_run(out, **sizes):
    """Return the run of the stage over a map with a network, and what is promised of it in core-seconds."""
    out.mkdir(parents=True, exist_ok=True)
    config = out / "maps.yaml"
    config.write_text(yaml.safe_dump(describe(**sizes)))
    assert (
        command(["run", str(config), "--out", str(out / "run"), "--on", "serial", "-q", "--to", "superres"])
        == 0
    )
    run = for_stage(open_runner(config, out / "run").run, ENHANCE, "0" * 64)
    return run, estimate_chain(run, run.section(ChainConfig)).cpu_s


class Bare:
    """The calls of the network alone."""

    def __init__(self, run, side):
        self.network, self.config = open_superres(run, "cpu"), run.section(ChainConfig)
        self.tiles = list(tiles_of(run, self.config, MapSize(1, (side, side), 4.0)))
        self.rng = np.random.default_rng(1)

    def draw(self, band):
        """Draw the samples of the tiles of a band; return core-seconds."""
        count = len(self.tiles) // (-(-self.tiles[-1].y1 // self.config.band_rows))
        images = [
            (self.rng.standard_normal((1, *tile.shape)).astype(np.float32), (tile.y0, tile.x0))
            for tile in self.tiles[band * count : (band + 1) * count]
        ]
        begin = time.process_time()
        for image, origin in images:
            for sample in range(self.config.samples):
                self.network.draw(image, sample, origin)
        return time.process_time() - begin


def compare(run, side, most):
    """Do the tasks of the stage; return ``(seconds of each, pairs of bare loop and stage for each band)``."""
    pin(1)
    bare, worker, results, seconds, pairs = Bare(run, side), None, {}, {}, []
    ENHANCE.prepare(run)
    while missing := [task for task in ENHANCE.plan(run, results) if task.name not in results]:
        band = None
        for task in missing[: most or None]:
            worker = worker or Worker(ENHANCE, run)
            band = int(task.name[-5:]) if task.name.startswith("band-") else None
            # In turn first and second, since caches and clocks of a core remember what it did before.
            alone = [bare.draw(band)] if band is not None and band % 2 else []
            begin = time.process_time()
            results[task.name] = worker.do(task)
            seconds[task.name] = time.process_time() - begin
            if band is not None:
                pairs.append((*(alone or [bare.draw(band)]), seconds[task.name]))
        if most and band is not None:
            break
    return seconds, pairs


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--calls", type=int, default=5)
    parser.add_argument("--samples", type=int, default=2)
    parser.add_argument("--width", type=int)
    parser.add_argument("--bands", type=int, default=0, help="only so many bands; by default all")
    options = parser.parse_args()
    sizes = {name: getattr(options, name) for name in ("side", "calls", "samples", "width")}
    run, promised = make_run(options.out, **sizes)
    seconds, pairs = compare(run, options.side, options.bands)
    bands = sum(stage for _, stage in pairs)
    once = sum(seconds.values()) - bands
    print(", ".join(f"{name} {value}" for name, value in sizes.items()))
    print(f"bands {bands:.1f} core-seconds, once per map {once:.1f}: {bands + once:.1f}")
    if not options.bands:
        print(f"planned {promised:.1f}, planned / taken {promised / (bands + once):.3f}")
    print(
        f"bare loop / stage: {sum(alone for alone, _ in pairs) / bands:.3f}, "
        f"median of {len(pairs)} bands {median(alone / stage for alone, stage in pairs):.3f}"
    )


if __name__ == "__main__":
    main()
