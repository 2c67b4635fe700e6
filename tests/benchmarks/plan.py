"""What `plan` promises for a run beside what the run takes, stage by stage.

A short run is made on this machine, then the long one is planned with it as the calibration of a site of
one such node, then the long one is made::

    python -m tests.benchmarks.plan OUT [CONFIG]

It needs a quiet machine. Settings of both runs are below; the seconds of a stage are those that the run
itself reports, workers' starts included, which a plan does not count.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from astro_dist.cluster.costs import estimate_costs
from astro_dist.cluster.sites import Site
from astro_dist.engine.config import validate
from astro_dist.pipelines import open_runner

WORKERS = 2
SHORT = {
    "simulate.shape": [2048, 2048],
    "autoencoder.steps": 100,
    "diffusion.steps": 150,
    "generate.objects": 60,
    "generate.accept.min_iou": 0.1,
    "assemble.shape": [4000, 5000],
    "assemble.objects": 500,
}
LONG = {
    "simulate.shape": [6144, 6144],
    "autoencoder.steps": 800,
    "diffusion.steps": 2000,
    "generate.objects": 3000,
    "generate.accept.min_iou": 0.1,
}


def words(settings):
    """The settings as ``--set`` takes them."""
    return [f"{name}={json.dumps(value)}" for name, value in settings.items()]


def plan(config, out, calibration):
    """Return ``{stage: Cost}`` of the long run."""
    runner = open_runner(Path(config), out, [*words(LONG), f"machine.workers={WORKERS}"])
    site = {"resources": {"cpus": os.cpu_count()}, "calibration": str(calibration)}
    costs = estimate_costs(runner, validate(Site, site))
    return {cost.stage: cost for cost in costs}


def run(config, out, settings):
    """Make a run and return ``{stage: seconds}``."""
    options = [option for word in words(settings) for option in ("--set", word)]
    line = ["run", str(config), "--out", str(out), "--workers", str(WORKERS), *options]
    done = subprocess.run(
        [sys.executable, "-m", "astro_dist", *line], stderr=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr)
    events = [json.loads(text) for text in done.stderr.splitlines() if text.startswith("{")]
    return {event["stage"]: event["seconds"] for event in events if event["event"] == "end"}


def main(out, config="configs/train_tiny.yaml"):
    out = Path(out)
    short = run(config, out / "short", SHORT)
    costs = plan(config, out / "long", out / "short")
    long = run(config, out / "long", LONG)
    size = sum(path.stat().st_size for path in (out / "long").rglob("*") if path.is_file())
    files = sum(path.is_file() for path in (out / "long").rglob("*"))
    print(f"{'stage':<12} {'short s':>8} {'planned s':>10} {'took s':>8} {'planned/took':>13}")
    for stage, seconds in long.items():
        planned = costs[stage].wall_s
        print(f"{stage:<12} {short[stage]:8.1f} {planned:10.1f} {seconds:8.1f} {planned / seconds:13.2f}")
    planned, took = sum(cost.wall_s for cost in costs.values()), sum(long.values())
    print(f"{'together':<12} {sum(short.values()):8.1f} {planned:10.1f} {took:8.1f} {planned / took:13.2f}")
    print(f"files: {sum(cost.files for cost in costs.values())} planned, {files} there")
    print(f"disk: {sum(cost.bytes for cost in costs.values()) / 1e9:.2f} GB planned, {size / 1e9:.2f} there")


if __name__ == "__main__":
    main(*sys.argv[1:])
