"""The one training loop: Accelerate, moving average, checkpoints, curves.

Everything a step does follows from the settings, the seed and the step's number: the batch, its
noise, the learning rate. A resumed training therefore ends in the same bits as one that was never
stopped, on the same machine with the same threads and ranks.
"""

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file, save_file

from astro_dist import work
from astro_dist.errors import ConfigError, StoppedError
from astro_dist.files import tree_digests
from astro_dist.models.device import autocast, choose_device, flushed_denormals, pin, resolve_precision
from astro_dist.store.reader import StoreReader
from astro_dist.train.checkpoint import Checkpoints
from astro_dist.train.config import TrainingConfig
from astro_dist.train.curves import Curves
from astro_dist.train.data import TrainingData
from astro_dist.train.judges import ByolObjective, LabelledData, SegmenterObjective, ViewData
from astro_dist.train.objectives import (
    SCALE_SAMPLES,
    AutoencoderObjective,
    DiffusionObjective,
    Objective,
    latent_channels,
)
from astro_dist.train.start import begin_from
from astro_dist.train.strategy import make_accelerator

LOG_EVERY = 10
VALIDATION_SAMPLES = 128
GRADIENT_NORM = 1.0
BETAS = (0.9, 0.95)
WEIGHT_DECAY = 1e-4
AVERAGES = "averages.safetensors"


class Training:
    """One training of one objective.

    Parameters
    ----------
    run : work.Run
        Where logs, checkpoints and the product go.
    config : TrainingConfig
        Its settings.
    objective : Objective
        What is trained.
    data, validation : TrainingData
        The samples of both splits.
    """

    def __init__(
        self,
        run: work.Run,
        config: TrainingConfig,
        objective: Objective,
        data: TrainingData,
        validation: TrainingData | None,
    ) -> None:
        self.run, self.config, self.objective = run, config, objective
        self.data, self.validation = data, validation
        self.device = choose_device(run)
        self.precision = resolve_precision(config.precision, self.device)
        self.accelerator: Accelerator = make_accelerator(config, self.device, self.precision)
        self.rank, self.share = self.accelerator.process_index, config.batch_size // config.ranks
        # Faster on a CPU by a third; DeepSpeed flattens the weights and wants them contiguous.
        layout = torch.channels_last if config.strategy == "ddp" else torch.contiguous_format
        network = objective.network.to(memory_format=layout)
        optimiser = torch.optim.AdamW(
            network.parameters(), lr=config.lr, betas=BETAS, weight_decay=WEIGHT_DECAY
        )
        self.network, self.optimiser = self.accelerator.prepare(network, optimiser)
        self.ema = EMAModel(network.parameters(), decay=config.ema_decay, foreach=True)
        self.checkpoints = Checkpoints(
            checkpoint_folder(run), self.accelerator.is_main_process, self.accelerator.wait_for_everyone
        )

    def fit(self) -> dict[str, float]:
        """Train to the last step, from the newest checkpoint if there is one; return the last figures.

        Checkpoints lie on multiples of `LOG_EVERY`, so that a resumed curve has the same points.
        """
        start = self._restore()
        figures: dict[str, float] = {}
        losses: list[dict[str, torch.Tensor]] = []
        saved_s = time.monotonic()
        with Curves(self.run.root / "logs", self.run.stage, start, self.rank == 0) as curves:
            for step, batch in self._batches(start):
                done = step + 1
                losses.append(self._step(step, batch))
                if done % LOG_EVERY and done < self.config.steps:
                    self._report(done, figures)
                    continue
                figures = self._summarise(done, losses)
                losses.clear()
                if self._is_validation_step(done):
                    figures |= self.validate()
                curves.add(done, lr=learning_rate(self.config, step), **figures)
                self._report(done, figures)
                if done == self.config.steps:
                    break
                due = self.rank == 0 and time.monotonic() - saved_s > self.config.checkpoint_every_s
                own_stop = _stop_asked()
                due, stop = self._any_rank(due, own_stop is not None)
                if due or stop:
                    self._save(done)
                    saved_s = time.monotonic()
                if stop:
                    raise own_stop or StoppedError("another rank was stopped; run the same command to go on")
        return figures

    def publish(self, folder: Path) -> dict[str, Any]:
        """Write the network with its averaged weights below ``folder``; the first rank's work."""
        self.ema.copy_to(self.objective.network.parameters())
        self.objective.network.eval()
        size = self.config.batch_size
        batches = [self.data.batch(n, size) for n in range(0, SCALE_SAMPLES, size)]
        return self.objective.publish(folder, batches, self.device)

    def validate(self) -> dict[str, float]:
        """Return the loss of the averaged weights on fixed samples of the validation split."""
        if self.validation is None:
            return {}
        parameters = list(self.objective.network.parameters())
        self.ema.store(parameters)
        self.ema.copy_to(parameters)
        self.objective.network.eval()
        size = self.config.batch_size
        batches = [self.validation.batch(n, size) for n in range(0, VALIDATION_SAMPLES, size)]
        totals: dict[str, float] = {}
        with torch.no_grad(), autocast(self.device, self.precision):
            for batch in batches:
                loss, parts = self.objective.loss(self.objective.network, batch, self.device)
                for name, value in {"loss": loss, **parts}.items():
                    key = f"validation_{name}"
                    totals[key] = totals.get(key, 0.0) + float(value) / len(batches)
        self.objective.network.train()
        self.ema.restore(parameters)
        return totals

    def _is_validation_step(self, done: int) -> bool:
        every = max(LOG_EVERY, self.config.steps // 10 // LOG_EVERY * LOG_EVERY)
        return done % every == 0 or done == self.config.steps

    def _step(self, step: int, batch: Any) -> dict[str, torch.Tensor]:
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.config, step)
        with autocast(self.device, self.precision):
            loss, parts = self.objective.loss(self.network, batch, self.device)
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.network.parameters(), GRADIENT_NORM)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.ema.step(self.objective.network.parameters())
        return {"loss": loss.detach(), **parts}

    def _batches(self, start: int) -> Iterator[tuple[int, Any]]:
        """Yield this rank's share of every batch; for a GPU, while reading the next one."""

        def load(step: int) -> Any:
            return self.data.batch(step * self.config.batch_size + self.rank * self.share, self.share)

        steps = range(start, self.config.steps)
        if self.device == "cpu":
            # A thread more than cores would hold up all of torch's at their barriers.
            yield from ((step, load(step)) for step in steps)
            return
        with ThreadPoolExecutor(1) as reader:
            following = [reader.submit(load, step) for step in steps[:1]]
            for step in steps:
                batch = following.pop().result()
                following += [reader.submit(load, later) for later in steps[step + 1 - start :][:1]]
                yield step, batch

    def _summarise(self, done: int, losses: list[dict[str, torch.Tensor]]) -> dict[str, float]:
        """Return the means over the last steps and all ranks, or refuse a loss that is not finite."""
        means = {name: torch.stack([each[name].float() for each in losses]).mean() for name in losses[0]}
        figures = {name: float(self.accelerator.reduce(mean, "mean")) for name, mean in means.items()}
        if not math.isfinite(figures["loss"]):
            stage, rate = self.run.stage, learning_rate(self.config, done - 1)
            raise ConfigError(
                f"{stage}: the loss is not a number by step {done} (learning rate {rate:.2g}); "
                f"lower {stage}.lr, now {self.config.lr:g}, or set {stage}.precision to 'no'"
            )
        return figures

    def _report(self, done: int, figures: dict[str, float]) -> None:
        if self.rank == 0:
            shown = {name: round(value, 4) for name, value in figures.items()}
            self.run.progress("train", done, self.config.steps, **shown)

    def _any_rank(self, *wishes: bool) -> list[bool]:
        """Return which wishes any rank has: collective calls must come from all ranks or none."""
        if self.config.ranks == 1:
            return list(wishes)
        votes = torch.tensor(wishes, dtype=torch.float32, device=self.accelerator.device)
        return [bool(vote) for vote in self.accelerator.reduce(votes, "sum") > 0]

    def _save(self, done: int) -> None:
        def write(folder: Path) -> None:
            self.accelerator.save_state(str(folder))
            if self.rank == 0:
                averages = {f"{i:05d}": p.contiguous() for i, p in enumerate(self.ema.shadow_params)}
                save_file(averages, folder / AVERAGES)

        self.checkpoints.save(done, write)

    def _restore(self) -> int:
        found = self.checkpoints.newest()
        if found is None:
            return 0
        step, folder = found
        self.accelerator.load_state(str(folder))
        averages = load_file(folder / AVERAGES, device=str(self.accelerator.device))
        self.ema.shadow_params = [averages[name] for name in sorted(averages)]
        self.ema.optimization_step = step
        return step


def train(run: work.Run) -> dict[str, Any]:
    """Do the one task of a training stage (its share of it, on one of several ranks).

    Returns the last figures, facts about the network and the sha256 of the published files.
    """
    config = getattr(run.config, run.stage)
    pin(config.threads)
    torch.manual_seed(int(run.stream(run.stage, "weights").integers(2**63)))
    reader = StoreReader(run.product("cutouts.zarr"))
    objective, samples = _build(run, config, reader)
    if config.start_from is not None:
        begin_from(objective, config.start_from, run.stage)
    validation = samples("validation") if len(reader.select("validation")) else None
    training = Training(run, config, objective, samples("train"), validation)
    with flushed_denormals():
        figures = training.fit()
    if training.rank != 0:
        return {}
    facts = training.publish(run.output)
    for path in run.output.rglob("*"):
        # safetensors makes its files unreadable to the group.
        path.chmod(0o755 if path.is_dir() else 0o644)
    size = sum(p.numel() for p in objective.network.parameters())
    figures = {name: round(value, 6) for name, value in figures.items()}
    return {"steps": config.steps, "parameters": size, **figures, **facts, "files": tree_digests(run.output)}


def _build(
    run: work.Run, config: Any, reader: StoreReader
) -> tuple[Objective, Callable[[str], TrainingData]]:
    """Return what the stage at hand trains, and its samples by the name of their split."""
    store = (reader, config, (run.config.seed, run.stage))
    if run.stage == "byol":
        return ByolObjective(config), partial(ViewData, *store, 0)
    if run.stage == "segmenter":
        return SegmenterObjective(config), partial(LabelledData, *store, 0)
    channels = latent_channels(config.preset)
    if run.stage == "autoencoder":
        return AutoencoderObjective(config), partial(TrainingData, *store, channels, own_background=1.0)
    stretch = str(reader.attrs.get("stretch", "asinh"))
    objective = DiffusionObjective(config, run.product("models/autoencoder"), stretch, choose_device(run))
    return objective, partial(TrainingData, *store, channels, own_background=config.own_background)


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Return the learning rate of a step: a linear rise under a cosine that ends at a hundredth."""
    rise = min(1.0, (step + 1) / max(1, config.warmup_steps))
    fall = 0.505 + 0.495 * math.cos(math.pi * step / config.steps)
    return config.lr * rise * fall


def _stop_asked() -> StoppedError | None:
    """Return the stop that was asked for, to be raised once a checkpoint is safe."""
    try:
        work.check_stop()
    except StoppedError as stop:
        return stop
    return None


def checkpoint_folder(run: work.Run) -> Path:
    """Return where a training of this fingerprint keeps its checkpoints; no part of any product."""
    return run.root / "checkpoints" / f"{run.stage}-{run.fingerprint[:12]}"
