#!/bin/bash
# What only a machine with GPUs can show, within 8 minutes: run this before all else on a new kind of GPU node.
#     slurm/gpu_check.sh OUT.md                  on a node with GPUs, or in a job: srun --gpus=2 slurm/gpu_check.sh OUT.md
#     slurm/gpu_check.sh --rehearse OUT.md       on cores with fake GPUs, to see that the check itself works
# OUT.md gets a table of claims, each with what was found, line by line. Exit code 0: all of them hold.
# It needs the repository and `pip install -e '.[test]'`.
set -euo pipefail
cd "$(dirname "$0")/.."
env=${ASTRO_DIST_ENV:-slurm/env.sh}
[ -r "$env" ] || { echo "no $env here: set ASTRO_DIST_ENV" >&2; exit 2; }
# shellcheck source=slurm/env.sh
source "$env"
[ $# -ge 1 ] || { echo "usage: slurm/gpu_check.sh [--rehearse] OUT.md" >&2; exit 2; }
limit=480
[ "$1" = --rehearse ] && limit=3600
exec timeout --kill-after=10 "$limit" python -m tests.benchmarks.gpu_check "$@"
