#!/bin/bash
# How fast SR3 is in full width on a GPU, within 10 minutes: optimiser steps per second, and doubled images per
# second at 15 and at 2,000 calls.
#     slurm/superres_check.sh OUT.txt                   on a node with a GPU, or in a job: srun --gpus=1 slurm/superres_check.sh OUT.txt
#     slurm/superres_check.sh --rehearse OUT.txt        a tenth of the width, within a minute on a core
# It needs the repository and `pip install -e '.[test]'`.
set -euo pipefail
cd "$(dirname "$0")/.."
env=${ASTRO_DIST_ENV:-slurm/env.sh}
[ -r "$env" ] || { echo "no $env here: set ASTRO_DIST_ENV" >&2; exit 2; }
# shellcheck source=slurm/env.sh
source "$env"
options=(--batch 16 --minutes 8)
[ "${1:-}" = --rehearse ] && { shift; options=(--width 8 --batch 1 --side 32 --minutes 0.01); }
[ $# = 1 ] || { echo "usage: slurm/superres_check.sh [--rehearse] OUT.txt" >&2; exit 2; }
timeout --kill-after=10 600 python -m tests.benchmarks.sr3 --preset sr3 --calls 15 2000 "${options[@]}" | tee "$1"
