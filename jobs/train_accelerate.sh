#!/usr/bin/env bash
# Train one network on several processes of this machine, one per GPU, started by `accelerate launch`.
#
#     jobs/train_accelerate.sh 4 diffusion configs/sumss.yaml --out runs/sumss --set diffusion.strategy=zero2
#
# Each process runs the same `astro-dist train`, which also works without a launcher, and under torchrun:
#     torchrun --standalone --nproc-per-node 4 -m astro_dist train diffusion ... --set diffusion.ranks=4
# Copy this file and change it; for several machines give --num_machines, --machine_rank and
# --main_process_ip. How weights are shared is a setting of ours (strategy), not an option of the launcher.
set -euo pipefail
ranks=$1 stage=$2 config=$3
shift 3
# --multi_gpu also without GPUs (then with ACCELERATE_USE_CPU=true): with --cpu Accelerate starts one process
# without a warning, and astro-dist refuses to train with one process in place of several.
export PYTHONSAFEPATH=1 # modules are never looked for in the current folder
exec python -m accelerate.commands.launch --multi_gpu --num_processes "$ranks" --num_machines 1 \
    --main_process_port 0 --mixed_precision no --dynamo_backend no \
    --module astro_dist train "$stage" "$config" --set "$stage.ranks=$ranks" "$@"
