"""The one training loop: Accelerate, moving average, checkpoints, curves.

The batch, the noise and the learning rate of a step are functions of the settings, the seed and the number of
the step. A resumed training therefore ends in the same bits as a training that was never stopped, on the same
machine with the same threads and ranks.
"""

import copy
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Sized
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from astro_dist.engine.config import differences
from astro_dist.engine.errors import ConfigError, StoppedError
from astro_dist.engine.files import follow_umask, forget_folders, tree_digests
from astro_dist.engine.stopping import check_stop
from astro_dist.models.device import autocast, choose_device, flushed_denormals, pin, resolve_precision
from astro_dist.train.ahead import ReadAhead, Share, count_readers
from astro_dist.train.checkpoint import Checkpoints, checkpoint_folder
from astro_dist.train.config import LAYOUT, TrainingConfig
from astro_dist.train.curves import Curves, start_trackers
from astro_dist.train.recipe import SCALE_SAMPLES, TASK, Cell, Objective, Samples
from astro_dist.train.sharing import shared_layers
from astro_dist.train.start import begin_from, state_origins
from astro_dist.train.state import State, takes_part
from astro_dist.train.strategy import make_accelerator

LOG_EVERY = 10
"""Steps between points of the curves; checkpoints lie on multiples of this."""
VALIDATION_SAMPLES = 128
BETAS = (0.9, 0.95)
"""Decay rates of AdamW's moments (Loshchilov & Hutter 2019); the second is shorter than the usual 0.999."""
WEIGHT_DECAY = 1e-4
LAYOUTS, BEST = "layouts.json", "best.json"
"""Files of a checkpoint: the layouts that the training had, each with its first step; the lowest validation
loss and its step."""


class Training:
    """One training of one objective.

    Parameters
    ----------
    cell : Cell
        Settings, random streams and folders of the training.
    objective : Objective
        Network and loss.
    data, validation : Samples
        Samples of the train split and, if there are any, of the validation split.
    """

    def __init__(self, cell: Cell, objective: Objective, data: Samples, validation: Samples | None) -> None:
        self.cell, self.objective = cell, objective
        self.data, self.validation = data, validation
        run, config = cell.run, cell.config
        self.run, self.config = run, config
        self.device = choose_device(run)
        self.precision = resolve_precision(config.precision, self.device)
        self.accelerator: Accelerator = make_accelerator(config, self.device, self.precision)
        self.rank, self.share = self.accelerator.process_index, config.batch_size // config.ranks
        # Channels last makes convolutions on a CPU faster by a third. DeepSpeed flattens the weights and
        # wants them contiguous.
        order = torch.channels_last if config.strategy == "ddp" else torch.contiguous_format
        network = objective.network.to(memory_format=order)
        # ZeRO-3 empties the weights of the network for good; a copy receives the weights to publish.
        self.published = copy.deepcopy(network) if config.strategy == "zero3" else network
        trained = _groups(cell, network)
        optimiser = torch.optim.AdamW(trained, lr=config.lr, betas=BETAS, weight_decay=WEIGHT_DECAY)
        self.network, self.optimiser = self.accelerator.prepare(network, optimiser)
        self.state = State(self.accelerator, network, self.optimiser, config.ema_decay, cell.recipe.averaged)
        layout = config.model_dump(mode="json", include=set(LAYOUT - config.unmarked))
        self.layouts = [{"from": 0, **layout}]
        self.best: dict[str, float] = {}
        project, settings = f"{run.root.name}-{cell.name}", config.model_dump()
        self.trackers = start_trackers(
            self.accelerator, config.trackers, project, run.root / "logs", settings
        )
        self.checkpoints = Checkpoints(
            checkpoint_folder(cell), self.accelerator.is_main_process, self.accelerator.wait_for_everyone
        )

    def fit(self) -> dict[str, float]:
        """Train to the last step, from the newest checkpoint if there is one; return the last figures.

        Checkpoints lie on multiples of `LOG_EVERY`, so that a resumed curve has the same points.
        """
        start = self._restore()
        figures: dict[str, float] = {}
        losses: list[dict[str, torch.Tensor]] = []
        saved_s = time.monotonic()
        with (
            shared_layers(self.objective.network, self.rank, self.config.ranks),
            Curves(self.run.root / "logs", self.cell.name, start, self.rank == 0, self.trackers) as curves,
        ):
            for step, batches in self._batches(start):
                done = step + 1
                losses += self._step(step, batches)
                if done % LOG_EVERY and done < self.config.steps:
                    self._report(done, figures)
                    continue
                # Losses stay on the device until here: reading one makes the host wait for the device.
                figures = self._summarise(done, losses)
                losses.clear()
                if self._is_validation_step(done):
                    figures |= self.validate()
                    self._compare(done, figures)
                curves.add(done, lr=learning_rate(self.config, step), **figures)
                self._report(done, figures)
                # The product follows at once, so that a checkpoint of the last step has no use.
                if done == self.config.steps:
                    break
                due = self.rank == 0 and time.monotonic() - saved_s > self.config.checkpoint_every_s
                own_stop = _stop_asked()
                # All ranks decide together: saving is collective, and a stop may have reached one rank only.
                due, stop = self._any_rank(due, own_stop is not None)
                if due or stop:
                    self._save(done)
                    saved_s = time.monotonic()
                if stop:
                    raise own_stop or StoppedError("another rank was stopped; run the same command to go on")
        return figures | self.best

    def publish(self, folder: Path) -> dict[str, Any]:
        """Write the network with its averaged weights below ``folder``; all ranks must call this together."""
        # Before anything is written, because unequal copies must not be published.
        self.state.check_equal()
        self.state.publish_into(self.published)
        if self.rank != 0:
            return {}
        self.objective.network = self.published.to(self.accelerator.device).eval()
        size = self.config.batch_size
        batches = [self.data.batch(n, size) for n in range(0, SCALE_SAMPLES, size)]
        return self.objective.publish(folder, batches, self.device)

    def validate(self) -> dict[str, float]:
        """Return the loss of the averaged weights on fixed samples of the validation split."""
        if self.validation is None:
            return {}
        batches = list(_fixed_batches(self.validation, self.config.batch_size))
        totals: dict[str, float] = {}
        self.network.eval()
        # Every rank computes all samples: under ZeRO-3 a forward pass of one rank alone would wait for ever.
        with self.state.average.in_place(), torch.no_grad(), autocast(self.device, self.precision):
            for batch, number in batches:
                loss, parts = self.objective.loss(self.network, batch, self.device)
                for name, value in {"loss": loss, **parts}.items():
                    key = f"validation_{name}"
                    totals[key] = totals.get(key, 0.0) + float(value) / number
        self.network.train()
        return totals

    def _compare(self, done: int, figures: dict[str, float]) -> None:
        """Keep the weights of the lowest validation loss, where the recipe publishes these."""
        if not self.cell.recipe.keep_best or "validation_loss" not in figures:
            return
        loss = figures["validation_loss"]
        # All ranks decide together, as keeping is collective.
        [lower] = self._any_rank(self.rank == 0 and loss < self.best.get("best_loss", math.inf))
        if lower:
            self.best = {"best_loss": loss, "best_step": done}
            self.state.keep_best()

    def _is_validation_step(self, done: int) -> bool:
        # About ten times in a training, always at a point of the curve.
        every = max(LOG_EVERY, self.config.steps // 10 // LOG_EVERY * LOG_EVERY)
        return done % every == 0 or done == self.config.steps

    def _step(self, step: int, batches: list[Any]) -> list[dict[str, torch.Tensor]]:
        """Take one optimiser step over the parts of a batch; return the figures of each part."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.config, step) * group.get("rate", 1.0)
        # Layers such as dropout draw from torch's global generator: seeded per step, a resumed training draws
        # the same numbers.
        torch.manual_seed(int(self.run.stream(*self.cell.key, "step", step).integers(2**63)))
        figures = []
        for batch in batches:
            with self.accelerator.accumulate(self.network):
                with autocast(self.device, self.precision):
                    loss, parts = self.objective.loss(self.network, batch, self.device)
                self.accelerator.backward(loss)
                self._drop_waiting(step)
                if self.config.clip_norm and self.accelerator.sync_gradients:
                    self.accelerator.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
                # Accelerate skips this and `zero_grad` before the last part of the batch.
                self.optimiser.step()
                self.optimiser.zero_grad()
            figures.append({"loss": loss.detach(), **parts})
        self.state.average.update(step)
        return figures

    def _drop_waiting(self, step: int) -> None:
        """Drop the gradients of groups whose turn this step is not: AdamW then leaves their state alone."""
        for group in self.optimiser.param_groups:
            if "turn" in group and not takes_part(group, step):
                for parameter in group["params"]:
                    parameter.grad = None

    def _batches(self, start: int) -> Iterator[tuple[int, list[Any]]]:
        """Yield this rank's share of every batch, in parts."""
        config = self.config
        first, part = self.rank * self.share, self.share // config.accumulate
        share = Share(self.data, config.batch_size, first, self.share, part)
        # Ranks of one node share its cores.
        ranks_here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        steps = range(start, config.steps)
        with ReadAhead(share, steps, count_readers(self.device, config.threads, ranks_here)) as read:
            for step in steps:
                yield step, read(step)

    def _summarise(self, done: int, losses: list[dict[str, torch.Tensor]]) -> dict[str, float]:
        """Return the means over the last steps and all ranks; `ConfigError` when the loss is not finite."""
        means = {name: torch.stack([each[name].float() for each in losses]).mean() for name in losses[0]}
        figures = {name: float(self.accelerator.reduce(mean, "mean")) for name, mean in means.items()}
        # Tested on the mean over the ranks, so that all ranks raise, and none waits for another.
        if not math.isfinite(figures["loss"]):
            section, rate = self.run.settings.own, learning_rate(self.config, done - 1)
            exact = "" if self.precision == "no" else f", or set {section}.precision to no"
            raise ConfigError(
                f"{self.cell.name}: the loss is not a number by step {done} (learning rate {rate:.2g}); "
                f"lower {section}.lr, now {self.config.lr:g}{exact}"
            )
        return figures

    def _report(self, done: int, figures: dict[str, float]) -> None:
        if self.rank == 0:
            shown = {name: round(value, 4) for name, value in figures.items()}
            self.run.progress(self.cell.task or TASK, done, self.config.steps, **shown)

    def _any_rank(self, *wishes: bool) -> list[bool]:
        """Return for each wish whether any rank has it: collective calls must come from all ranks or none."""
        return [bool(self._sum(int(wish))) for wish in wishes]

    def _sum(self, count: int) -> int:
        """Return the sum over all ranks."""
        return int(self.accelerator.reduce(torch.tensor(count, device=self.accelerator.device), "sum"))

    def _save(self, done: int) -> None:
        def write(folder: Path) -> None:
            self.state.save(folder)
            if self.rank == 0:
                (folder / LAYOUTS).write_text(json.dumps(self.layouts))
                if self.best:
                    (folder / BEST).write_text(json.dumps(self.best))

        # Unequal copies must not become the checkpoint that the next start trusts.
        self.state.check_equal()
        self.checkpoints.save(done, write)

    def _restore(self) -> int:
        """Load the newest checkpoint and return its step, 0 where there is none."""
        # The first rank alone looks: ranks that read a damaged disk differently would load different steps.
        step = self._sum(self.checkpoints.newest() if self.rank == 0 else 0)
        if step:
            self.state.load(self.checkpoints.at(step), step)
            before = json.loads((self.checkpoints.at(step) / LAYOUTS).read_text())
            best = self.checkpoints.at(step) / BEST
            self.best = json.loads(best.read_text()) if best.is_file() else {}
            # Compared without the step at which each layout began.
            if before[-1] | {"from": 0} != self.layouts[0]:
                self.layouts = [*before, {**self.layouts[0], "from": step}]
                if self.rank == 0:
                    print(_change_text(self.cell.name, self.layouts), file=sys.stderr)
            else:
                self.layouts = before
        return step


def train(cell: Cell) -> dict[str, Any]:
    """Do one training, or on one of several ranks the share of that rank.

    Returns the last figures, facts about the network and the sha256 of the written files; an empty dictionary
    on all ranks but the first.
    """
    config, recipe, run = cell.config, cell.recipe, cell.run
    # First of all: the number of threads changes the last bits of sums.
    pin(config.threads)
    # `build` draws the initial weights from torch's global generator.
    torch.manual_seed(int(run.stream(*cell.key, "weights").integers(2**63)))
    objective, samples, validation = recipe.build(cell, choose_device(run))
    if config.start_from is not None:
        begin_from(recipe, objective, config.start_from)
    training = Training(cell, objective, samples, validation)
    with flushed_denormals():
        figures = training.fit()
    facts = training.publish(cell.output)
    if training.rank != 0:
        return {}
    facts |= state_origins(cell)
    forget_folders(cell.output)
    follow_umask(cell.output)
    size = sum(p.numel() for p in training.published.parameters())
    figures = {name: round(value, 6) for name, value in figures.items()}
    if len(training.layouts) > 1:
        facts["layouts"] = training.layouts
    digests = tree_digests(cell.output)
    return {"steps": config.steps, "parameters": size, **figures, **facts, "sha256": digests}


def _groups(cell: Cell, network: torch.nn.Module) -> list[dict[str, Any]]:
    """Return the parameter groups of the optimiser: those of the recipe, else one of all trained ones."""
    if cell.recipe.groups is not None:
        return cell.recipe.groups(network, cell.config)
    return [{"params": [p for p in network.parameters() if p.requires_grad]}]


def _fixed_batches(samples: Samples, size: int) -> Iterator[tuple[Any, float]]:
    """Yield batches of fixed samples, each with the number of such batches that all samples would make."""
    if not isinstance(samples, Sized):
        firsts = range(0, VALIDATION_SAMPLES, size)
        yield from ((samples.batch(first, size), len(firsts)) for first in firsts)
        return
    for first in range(0, len(samples), size):
        count = min(size, len(samples) - first)
        yield samples.batch(first, count), len(samples) / count


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Return the learning rate of a step: a linear rise, times a cosine that ends at a hundredth."""
    # lr * min(1, (step + 1) / warmup) * (0.505 + 0.495 cos(pi step / steps)): the cosine runs from 1 to 0.01.
    rise = min(1.0, (step + 1) / max(1, config.warmup_steps))
    fall = 0.505 + 0.495 * math.cos(math.pi * step / config.steps) if config.schedule == "cosine" else 1.0
    return config.lr * rise * fall


def _change_text(stage: str, layouts: list[dict[str, Any]]) -> str:
    before, now = ({key: each[key] for key in each if key != "from"} for each in layouts[-2:])
    return (
        f"note: {stage} goes on from step {layouts[-1]['from']} with {', '.join(differences(before, now))}; "
        "weights, averages and moments come along, the last bits are those of neither layout"
    )


def _stop_asked() -> StoppedError | None:
    """Return the requested stop, None without one; `fit` raises the stop once a checkpoint is saved."""
    try:
        check_stop()
    except StoppedError as stop:
        return stop
    return None
