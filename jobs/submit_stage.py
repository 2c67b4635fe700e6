"""Submit one stage to Slurm from Python; the same call again queues only what is missing.

python jobs/submit_stage.py generate configs/first.yaml --workers 16 --gpus 1
python jobs/submit_stage.py diffusion configs/first.yaml --nodes 2 --gpus 4
"""

import argparse
from pathlib import Path

from astro_dist.cluster.sites import Site
from astro_dist.cluster.submit import Chain
from astro_dist.engine.config import validate
from astro_dist.engine.errors import errors_in_one_line
from astro_dist.engine.progress import Display
from astro_dist.pipelines import configure, open_runner

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("stage")
parser.add_argument("config", type=Path)
parser.add_argument("--out", type=Path)
parser.add_argument("--partition")
numbers = {"workers": 1, "nodes": 1, "gpus": 0, "cpus": 8, "minutes": 240}
for name, default in numbers.items():
    parser.add_argument(f"--{name}", type=int, default=default)
options = parser.parse_args()

with errors_in_one_line():
    stage, settings = configure(options.config)[0].stage(options.stage), []
    if options.nodes > 1 and stage.gang:
        settings.append(f"{stage.own}.ranks={options.nodes * max(1, options.gpus)}")
    asked = {
        key: getattr(options, key) for key in ("partition", "workers", "nodes", "gpus", "cpus", "minutes")
    }
    site = validate(Site, {"resources": asked})
    runner = open_runner(options.config, options.out, settings, only=stage.name)
    print("\n".join(Chain(runner, site).submit(Display())))
