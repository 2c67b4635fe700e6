"""Train one network on Ray: a TorchTrainer places the ranks, one per GPU, and each runs `astro-dist train`.

Copy this file and change it. Without --address a private cluster is started: loopback only, with a token.

    python jobs/train_ray.py 4 diffusion configs/sumss.yaml --gpus --out /shared/runs/sumss
"""

import argparse
import os
import subprocess
import sys

import torch.distributed

from astro_dist.train.ranks import free_port
from astro_dist.workers.ray_private import ray_cluster


def train(settings):
    """Run astro-dist as the rank that Ray gave this worker, with a process group on a port of its own."""
    port = [free_port()]
    torch.distributed.broadcast_object_list(port)
    subprocess.run(**settings, env={**os.environ, "MASTER_PORT": str(port[0])}, check=True)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
for name, kind in {"ranks": int, "stage": str, "config": os.path.abspath}.items():
    parser.add_argument(name, type=kind)
parser.add_argument("--gpus", action="store_true", help="give each rank a GPU")
parser.add_argument("--address", help="a running cluster, whose machines share the run directory")
own, extra = parser.parse_known_args()
command = [sys.executable, "-P", "-m", "astro_dist", "train", own.stage, own.config]
command += ["--set", f"{own.stage}.ranks={own.ranks}", *extra]
with ray_cluster(own.address) as folder:
    from ray import train as rt
    from ray.train.torch import TorchConfig, TorchTrainer

    given = {"train_loop_config": {"args": command, "cwd": os.getcwd()}, "torch_config": TorchConfig("gloo")}
    given["scaling_config"] = rt.ScalingConfig(num_workers=own.ranks, use_gpu=own.gpus)
    TorchTrainer(train, run_config=rt.RunConfig(storage_path=str(folder)), **given).fit()
