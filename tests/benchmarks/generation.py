"""Time the generate stage beside a bare diffusers sampling loop.

    python -m tests.benchmarks.generation RUN [--steps 1 10 25 100] [--two] [--preset paper]

RUN has published its cutouts and both models; only they are read, and shards go to a temporary folder.
The stage is the real one in worker processes: conditions read, noise drawn, objects extracted, shards written
with fsync, tasks recorded. The bare loop is one process with the same networks, memory format, precision,
batch and steps; it decodes, fetches its images and throws them away. Both are warmed up apart and take turns,
so that other users of the machine touch both; the median of the rounds' ratios is what counts. With
``--steps`` the bare loop and the stage are timed at other numbers of steps, with the share of the bare loop
in what large matrix products reach on the device in the same precision. ``--preset paper`` times untrained
networks of a preset instead and tells how long 10,881 stamps would take.
"""

import argparse
import copy
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median

import torch
from torch.utils.flop_counter import FlopCounterMode

from astro_dist.engine.config import load_yaml
from astro_dist.engine.work import Run, Task, for_stage
from astro_dist.generate.config import GenerateConfig
from astro_dist.generate.sampler import Sampler
from astro_dist.generate.stage import GENERATE
from astro_dist.models.autoencoder import build_autoencoder, decode
from astro_dist.models.denoiser import build_denoiser, build_scheduler, save_denoiser
from astro_dist.models.device import autocast, choose_device, flushed_denormals, pin, resolve_precision
from astro_dist.radio.pipeline import RADIO
from astro_dist.store.config import CutoutsConfig
from astro_dist.workers.processes import ProcessExecutor

TILES = 10_881
"""The 128-pixel tiles of a 12,000 x 15,000 map."""


def make_run(source, root, preset, **generate):
    """Return a run in ``root`` with the cutouts of another and its models, or untrained ones."""
    root.mkdir()
    (root / "cutouts.zarr").symlink_to(source / "cutouts.zarr")
    tree = load_yaml(source / "config.yaml")
    tree["generate"] = {**tree["generate"], **generate}
    if preset is None:
        (root / "models").symlink_to(source / "models")
    else:
        build_autoencoder(preset).save_pretrained(root / "models" / "autoencoder")
        save_denoiser(build_denoiser(preset), build_scheduler(preset), root / "models" / "diffusion")
    run = for_stage(Run.of(root, RADIO.resolve(tree)), GENERATE, "0" * 64)
    GENERATE.prepare(run)
    return run


@dataclass
class Bare:
    """A sampling loop as one would write it in a notebook, on the networks of a run."""

    run: Run

    def __post_init__(self):
        settings = self.run.section(GenerateConfig)
        pin(settings.threads)
        self.device = choose_device(self.run)
        self.precision = resolve_precision(settings.precision, self.device)
        models = self.run.root / "models"
        self.networks = Sampler(
            models / "autoencoder", models / "diffusion", settings, self.device, self.precision
        )
        self.batch = settings.micro_batch
        side = self.run.section(CutoutsConfig).size_pix
        self.latent = (self.batch, *self.networks.noise_shape(side))
        self.conditions = (
            torch.zeros(self.batch, side, side, dtype=torch.uint8, device=self.device),
            torch.zeros(self.batch, side, side, device=self.device),
            torch.randn(self.batch, 2, side, side, device=self.device),
        )

    @torch.inference_mode()
    def draw(self):
        denoiser, scheduler = self.networks.denoiser, copy.deepcopy(self.networks.solver.scheduler)
        with autocast(self.device, self.precision), flushed_denormals():
            encoded = denoiser.conditioner(*self.conditions)
            latent = torch.randn(self.latent, device=self.device)
            for step in scheduler.timesteps:
                predicted = denoiser.predict(latent, step, encoded)
                latent = scheduler.step(predicted, step, latent).prev_sample
            return decode(self.networks.autoencoder, latent).cpu()

    def rate(self, stamps):
        """Return stamps/s."""
        batches = -(-stamps // self.batch)
        start = time.perf_counter()
        for _ in range(batches):
            self.draw()
        return batches * self.batch / (time.perf_counter() - start)

    def flop_per_stamp(self):
        with FlopCounterMode(display=False) as counter:
            self.draw()
        return counter.get_total_flops() / self.batch

    def peak_flop_per_s(self, size=4096, products=4):
        """Return what products of large square matrices reach."""
        size = size if self.device == "cuda" else size // 4
        kind = torch.bfloat16 if self.precision == "bf16" else torch.float32
        a = torch.randn(size, size, device=self.device, dtype=kind)
        best = 0.0
        for _ in range(5):
            start = time.perf_counter()
            for _ in range(products):
                b = a @ a
            b[0, 0].item()
            best = max(best, 2 * size**3 * products / (time.perf_counter() - start))
        return best


class Crew:
    """The stage in open, warm workers."""

    def __init__(self, run, crew, workers):
        self.run, self.crew, self.workers = run, crew, workers
        self.numbers = count()
        self.rate(1)
        self.rate(workers)

    def rate(self, shards):
        """Return stamps/s."""
        numbers = [next(self.numbers) for _ in range(shards)]
        tasks = [Task(f"shard-{number:05}", {"index": number}) for number in numbers]
        start = time.perf_counter()
        if failures := self.crew.execute(tasks, lambda task, result: None):
            raise SystemExit(failures[0].reason)
        return shards * self.run.section(GenerateConfig).per_shard / (time.perf_counter() - start)


@contextmanager
def open_crew(run, workers):
    gpus = torch.cuda.device_count() if choose_device(run) == "cuda" else 0
    with ProcessExecutor(lambda stage, run: workers, gpus).crew(GENERATE, run) as crew:
        yield Crew(run, crew, workers)


def compare(run, rounds, shards):
    """Time the bare loop and one worker in turn; return the medians of both and of their ratios."""
    bare, stamps = Bare(run), shards * run.section(GenerateConfig).per_shard
    bare.draw()
    with open_crew(run, 1) as crew:
        pairs = [(bare.rate(stamps), crew.rate(shards)) for _ in range(rounds)]
    rates = [median(column) for column in zip(*pairs, strict=True)]
    share = rates[0] * bare.flop_per_stamp() / bare.peak_flop_per_s()
    return *rates, median(stage / alone for alone, stage in pairs), share


def compare_workers(run, rounds, shards):
    """Time one worker and two in turn, on as many shards each; return the median ratio."""
    with open_crew(run, 1) as one, open_crew(run, 2) as two:
        return median(two.rate(2 * shards) / one.rate(shards) for _ in range(rounds))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, metavar="RUN")
    parser.add_argument("--steps", type=int, nargs="+", help="default: the run's own")
    parser.add_argument("--preset", help="untrained networks of this size instead of the run's")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shards", type=int, default=2, help="per round")
    parser.add_argument("--per-shard", type=int, default=64)
    parser.add_argument("--micro-batch", type=int, default=16)
    parser.add_argument("--two", action="store_true", help="also two workers beside one")
    options = parser.parse_args()
    sizes = {"per_shard": options.per_shard, "micro_batch": options.micro_batch}
    with tempfile.TemporaryDirectory() as folder:
        for number, steps in enumerate(options.steps or [None]):
            changes = sizes if steps is None else {**sizes, "steps": steps}
            run = make_run(options.source.resolve(), Path(folder) / str(number), options.preset, **changes)
            bare, stage, ratio, share = compare(run, options.rounds, options.shards)
            print(
                f"{run.section(GenerateConfig).steps:4d} steps: bare loop {bare:.4g} stamps/s "
                f"({100 * share:.0f} % of the device's matrix products), stage {stage:.4g} stamps/s, "
                f"ratio {ratio:.3f}; {TILES:,} stamps in {TILES / stage / 60:.1f} min",
                flush=True,
            )
        if options.two:
            print(f"two workers beside one: {compare_workers(run, options.rounds, options.shards):.2f} x")


if __name__ == "__main__":
    main()
