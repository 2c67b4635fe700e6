"""What the loop costs: ``python -m tests.benchmarks.training CUTOUTS [STEPS] [ROUNDS] [THREADS]``.

The training of `autoencoder` beside a bare PyTorch loop on batches that are in memory, in turns: the same
network, batch, precision, optimiser, clipping and threads, without averages, curves, reading and
checkpoints. And the share of its time that the loop waits for samples. CUTOUTS is a ``cutouts.zarr``.

The second half of 120 (or STEPS) steps counts, when a reader is up; it takes a core that is not one of the
THREADS (1), so with as many of them as cores there is none and the loop makes its samples itself.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

from astro_dist.models.device import autocast, choose_device, flushed_denormals, pin
from astro_dist.radio.config import AutoencoderConfig
from astro_dist.radio.trainings import AUTOENCODER, RECIPES
from astro_dist.train import ahead, loop
from astro_dist.train.recipe import Cell
from tests.settings import make_run


def time_bare(training, steps):
    """Seconds per step of a plain loop over batches in memory."""
    objective, config = training.objective, training.config
    size = config.batch_size
    batches = [training.data.batch(n * size, size) for n in range(2)]
    network = objective.network.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=1e-4, betas=loop.BETAS, weight_decay=loop.WEIGHT_DECAY
    )
    seconds = []
    with flushed_denormals():
        for step in range(steps):
            begin = time.perf_counter()
            with autocast(training.device, training.precision):
                loss, _ = objective.loss(network, batches[step % 2], training.device)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()
            loss.item()
            seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds[steps // 2 :])


def time_ours(training, steps):
    """Seconds per step of the loop, and those of them that it waited for samples."""
    waits, begins, batches = [], [], training._batches

    def timed(start):
        source = batches(start)
        while True:
            begins.append(time.perf_counter())
            batch = next(source, None)
            waits.append(time.perf_counter() - begins[-1])
            if batch is None:
                return
            yield batch

    training._batches = timed
    with flushed_denormals():
        training.fit()
    waited, passed = sum(waits[steps // 2 : steps - 1]), begins[steps - 1] - begins[steps // 2]
    both = zip(begins[steps // 2 :], begins[steps // 2 + 1 :], strict=False)
    return statistics.median(b - a for a, b in both), waited / passed


def make(cutouts, folder, steps, threads):
    """Return a training of the real size."""
    sizes = {"preset": "small", "batch_size": 32, "crop_pix": 64, "threads": threads}
    config = AutoencoderConfig(steps=steps, lr=1e-4, **sizes)
    run, recipe = make_run(folder, AUTOENCODER, seed=1, autoencoder=config), RECIPES["autoencoder"]
    if not run.product("cutouts.zarr").exists():
        run.product("cutouts.zarr").symlink_to(Path(cutouts).resolve())
    cell = Cell(recipe, run, config, key=(recipe.name,))
    pin(config.threads)
    torch.manual_seed(1)
    objective, samples, _ = recipe.build(cell, choose_device(run))
    return loop.Training(cell, objective, samples, None)


def main(cutouts, steps=120, rounds=3, threads=1):
    ratios, shares = [], []
    ahead.BEGIN_S = 0.0
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            bare = time_bare(make(cutouts, folder, steps, threads), steps)
            ours, wait = time_ours(make(cutouts, folder, steps, threads), steps)
        ratios.append(bare / ours)
        shares.append(wait)
        print(f"bare {1e3 * bare:.1f} ms per step, ours {1e3 * ours:.1f} ms, waiting {100 * wait:.2f} %")
    print(
        f"throughput beside the bare loop {statistics.median(ratios):.3f} "
        f"({min(ratios):.3f}-{max(ratios):.3f}), waiting {100 * statistics.median(shares):.1f} % of the time"
    )


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
