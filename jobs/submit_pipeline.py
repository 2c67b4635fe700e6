"""Submit a whole pipeline as one Slurm job (or, with --cluster local, as a process on this machine).

Copy this file and change the resources. Submitting again resumes the run.

    python jobs/submit_pipeline.py configs/data_challenge_12k.yaml --partition gpu --gpus 4 --hours 12
"""

import argparse
import sys
from pathlib import Path

import submitit

from astro_dist.engine.errors import errors_in_one_line
from astro_dist.pipelines import configure

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("config")
parser.add_argument("--cluster", default="slurm", choices=["slurm", "local"])
parser.add_argument("--partition")
for name, default in {"gpus": 0, "cores": 8, "hours": 4.0}.items():
    parser.add_argument(f"--{name}", type=type(default), default=default)
parser.add_argument("--logs", default="runs/slurm")
parser.add_argument("--wait", action="store_true", help="wait for the job, which on Slurm asks sacct")
options, extra = parser.parse_known_args()
with errors_in_one_line():
    configure(Path(options.config))
executor = submitit.AutoExecutor(folder=options.logs, cluster=options.cluster)
executor.update_parameters(
    name="astro_dist",
    timeout_min=int(options.hours * 60),
    cpus_per_task=options.cores,
    gpus_per_node=options.gpus,
    slurm_partition=options.partition,
)
command = [sys.executable, "-P", "-m", "astro_dist", "run", options.config, *extra]
job = executor.submit(submitit.helpers.CommandFunction(command, verbose=False))
print(f"job {job.job_id}: {' '.join(command[1:])}")
if options.wait:
    print(job.result())
