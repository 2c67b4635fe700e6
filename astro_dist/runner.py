"""An ordered list of stages over one run directory: run, plan, resume, status.

A stage is done when its publication carries the fingerprint that its settings, inputs and schema
have now. Whatever is not done is run; running the same command again is how anything is resumed.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from astro_dist.engine.config import differences, fingerprint
from astro_dist.engine.errors import ConfigError, IntegrityError, QuarantinedError, RecomputeError
from astro_dist.engine.files import (
    lock_folder,
    publish_bytes,
    publish_folder,
    remove,
    require_space,
    stop_when_storage_fails,
    sweep,
    tree_digests,
    tree_files,
)
from astro_dist.engine.journal import Journal
from astro_dist.engine.ledger import Ledger, Published
from astro_dist.engine.manifest import digest_source, source_name, write_manifest
from astro_dist.engine.progress import Display
from astro_dist.engine.stopping import check_stop
from astro_dist.engine.work import Crew, Estimate, Executor, Failure, Run, Stage, for_stage
from astro_dist.workers.attempts import SerialExecutor
from astro_dist.workers.machine import Machine, choose_machine
from astro_dist.workers.processes import ALL_GPUS, ProcessExecutor, visible_gpus

MAX_REPAIRS = 3


@dataclass(frozen=True)
class StageState:
    """Where a stage stands.

    ``done``, ``todo``, ``redo`` (published, and to be made again), ``changed`` (published from other
    settings) or ``after`` (an earlier stage must run first, so its fingerprint is not known yet).
    """

    stage: Stage
    status: str
    fingerprint: str = ""
    changes: tuple[str, ...] = ()


class Runner:
    """Some stages, in order, over one run directory; ``only`` narrows what is run to one of them.

    ``closing`` marks the job that ends a stage after the workers of an array; ``kind`` is who does tasks.
    """

    def __init__(self, root: Path, config: Any, stages: Sequence[Stage], only: str | None = None) -> None:
        self.root, self.config = root.resolve(), config
        self.run = Run(self.root, config)
        self.ledger = Ledger(self.root)
        self.known, self.only = list(stages), only
        self.redo: set[str] = set()
        self.closing, self.kind = False, config.machine.executor
        self.stages = [s for s in self.known if only in (None, s.name)]
        if not self.stages:
            raise ConfigError(
                f"{only or 'that stage'} is not part of this run: with map files no sky is simulated, and "
                "evaluation and masks are only trained where evaluate.enabled and generate.masks.model say so"
            )

    def basis(self, stage: Stage) -> dict[str, Any]:
        """Return what a stage's bytes follow from; its inputs must be published."""
        sections = {name: getattr(self.config, name) for name in stage.sections}
        inputs = {}
        for given in (s for s in self.known if s.name in stage.inputs):
            name, published = given.name, self.ledger.published(given.name)
            if published is None:
                command = f"train {name}" if given.product.startswith("models/") else name
                raise ConfigError(
                    f"{stage.name} needs what {name} publishes and {self.root} does not have it; "
                    f"run `astro-dist {command}` or `astro-dist run` with this configuration first"
                )
            inputs[name] = fingerprint(published.files if published.stable else published.fingerprint)
        return {
            "schema": stage.schema,
            "seed": self.config.seed,
            "settings": {
                name: section.model_dump(mode="json", exclude=section.unmarked)
                for name, section in sections.items()
            },
            "inputs": inputs,
            "sources": {
                source_name(path): digest_source(path)
                for path in stage.sources(for_stage(self.run, stage, ""))
            },
        }

    def states(self) -> list[StageState]:
        """Return where every stage stands, in order."""
        states: list[StageState] = []
        waiting: set[str] = set()
        for stage in self.stages:
            if waiting & set(self._inputs(stage)):
                waiting.add(stage.name)
                states.append(StageState(stage, "after"))
                continue
            states.append(self._state(stage))
            if states[-1].status != "done":
                waiting.add(stage.name)
        return states

    def estimates(self) -> list[tuple[Stage, str, Estimate]]:
        """Return ``(stage, status, cost)`` for every stage; nothing is run."""
        rows = []
        for state in self.states():
            run = for_stage(self.run, state.stage, state.fingerprint or "0" * 64)
            estimate = state.stage.estimate(run) if state.stage.estimate else Estimate(tasks=1)
            rows.append((state.stage, state.status, estimate))
        return rows

    def execute(self, display: Display, redo: Sequence[str] = ()) -> None:
        """Bring every stage to its end; publish each product as soon as it is whole."""
        machine = choose_machine(self.config.machine)
        with self.opened(display, redo) as allowed, self.executor(machine) as executor:
            for stage in self.stages:
                self._bring(stage, executor, display, allowed)

    def permit(self, redo: Sequence[str]) -> set[str]:
        """Return the stages that may be replaced; refuse what would mix or replace others."""
        for name in redo:
            if name not in {s.name for s in self.known}:
                raise ConfigError(f"--redo {name}: this run has no such stage")
        self.redo = set(redo)
        allowed = self._closure(redo)
        self._refuse_mixing()
        self._refuse_replacing(allowed)
        return allowed

    @contextlib.contextmanager
    def opened(self, display: Display, redo: Sequence[str] = ()) -> Iterator[set[str]]:
        """Hold the driver lock of a run directory in which all is ready; yield what may be replaced."""
        with lock_folder(self.root), stop_when_storage_fails(self.root) as self.anchor:
            allowed = self.permit(redo)
            self._announce(display)
            if not self.closing:
                text = yaml.safe_dump(self.config.model_dump(mode="json"), sort_keys=False)
                publish_bytes(self.root / "config.yaml", text.encode())
            remove(self.root / "logs" / "progress")
            yield allowed

    def begin(self, stage: Stage) -> None:
        """Make all ready for workers that share the tasks of a stage; under the driver lock."""
        state = self._state(stage)
        if state.status == "done":
            return
        run = for_stage(self.run, stage, state.fingerprint)
        self._tidy(run, state.status)
        stage.prepare(run)
        Journal(self.root, "driver").note("begin", stage=stage.name, fingerprint=state.fingerprint)
        self.ledger.begin(stage.name, state.fingerprint)

    def follow(self, redo: Sequence[str] = ()) -> None:
        """Do a second rank's part of a training that a launcher started, while the first executes it.

        The first rank alone records and publishes; what is recorded, none of them does again.
        """
        self.redo = set(redo)
        for stage in self.stages:
            state = self._state(stage)
            run = for_stage(self.run, stage, state.fingerprint)
            # In this order: the first rank forgets stale records before it makes the output.
            kept = run.output.exists() or (state.status == "todo" and (self.root / run.target).exists())
            results = self.ledger.results(stage.name, run.fingerprint) if kept else {}
            for task in stage.plan(run, results) if state.status != "done" else ():
                if task.name not in results:
                    stage.run(stage.open(run), task)

    def results(self) -> dict[str, Path]:
        """Return the paths a user wants to see at the end, by what they are."""
        wanted = {"map": "field/map.fits", "truth": "field/truth.fits"}
        wanted |= {"figures": "evaluation/metrics.json", "report": "report.html"}
        return {name: self.root / path for name, path in wanted.items() if (self.root / path).exists()}

    def _inputs(self, stage: Stage) -> list[str]:
        return [s.name for s in self.known if s.name in stage.inputs]

    def _state(self, stage: Stage) -> StageState:
        basis = self.basis(stage)
        mark = fingerprint(basis)
        published = self.ledger.published(stage.name)
        if published is None:
            return StageState(stage, "todo", mark)
        if stage.name in self.redo:
            return StageState(stage, "redo", mark)
        if published.fingerprint != mark:
            return StageState(stage, "changed", mark, tuple(differences(published.basis, basis)))
        paths = (self.root / published.product / name for name in published.files)
        if gone := [path for path in paths if not path.exists()]:
            raise IntegrityError(
                f"{gone[0]} was published and is gone; "
                f"put it back, or make it again: `astro-dist repair {self.root}`, or --redo {stage.name}"
            )
        return StageState(stage, "done", mark)

    def _closure(self, names: Sequence[str]) -> set[str]:
        """Return the stages and all that depend on them."""
        closed = set(names)
        for stage in self.known:
            if closed & set(self._inputs(stage)):
                closed.add(stage.name)
        return closed

    def _refuse_mixing(self) -> None:
        """Refuse to make one stage alone where an earlier one was made from other settings."""
        needed: set[str] = set()
        for stage in reversed(self.known):
            if stage in self.stages or stage.name in needed:
                needed |= set(self._inputs(stage))
        for stage in (s for s in self.known if self.only and s.name in needed):
            if self.ledger.published(stage.name) is None:
                return
            state = self._state(stage)
            if state.status == "changed":
                raise ConfigError(
                    f"{stage.name} was made from other settings ({self._reasons(state)}), and {self.only} "
                    "would be made from both; take the settings of this run directory (its config.yaml), or "
                    f"bring all up to date with `astro-dist run` and --redo {stage.name}"
                )

    def _refuse_replacing(self, allowed: set[str]) -> None:
        with contextlib.suppress(IntegrityError) if allowed else contextlib.nullcontext():
            for state in self.states():
                self._refuse_losing(state, allowed)

    def _refuse_losing(self, state: StageState, allowed: set[str]) -> None:
        """Refuse to replace a product unasked; one that is not byte-stable, a page, may be written again."""
        name = state.stage.name
        if state.status != "changed" or name in allowed or not state.stage.stable:
            return
        after = [n for n in self._closure([name]) - {name} if self.ledger.published(n)]
        ordered = [s.name for s in self.known if s.name in after]
        also = f" and, after it, {', '.join(ordered)}" if ordered else ""
        raise ConfigError(
            f"{name}{also} would be made anew, because {self._reasons(state)}; "
            f"add --redo {name} to replace what is published, or choose another --out"
        )

    def _reasons(self, state: StageState) -> str:
        return "; ".join(line.removeprefix("settings.") for line in state.changes[:3])

    def _announce(self, display: Display) -> None:
        rows = self.estimates()
        display.plan(rows)
        todo = [(stage, e) for stage, status, e in rows if status != "done"]
        needed = sum(estimate.bytes for _, estimate in todo)
        begun = 0
        for hidden in self.root.rglob(".*.part"):
            begun += sum(p.stat().st_blocks * 512 for p in tree_files(hidden))
        require_space(self.root, max(0, needed - begun))

    @contextlib.contextmanager
    def executor(self, machine: Machine) -> Iterator[Executor]:
        """Open where workers come from, as the configuration says."""
        if machine.gpus and not machine.fake_gpus:
            os.environ[ALL_GPUS] = ",".join(visible_gpus(machine.gpus))
        if self.kind == "serial":
            yield SerialExecutor()
        elif self.kind == "ray":
            from astro_dist.workers.ray import RayExecutor

            log = self.root / "logs" / "ray.log"
            with RayExecutor(machine, log, self.config.machine.ray_address) as executor:
                yield executor
        else:
            gpus = 0 if machine.fake_gpus else machine.gpus
            yield ProcessExecutor(machine.workers_for, gpus, machine.first_worker)

    def _bring(self, stage: Stage, executor: Executor, display: Display, allowed: set[str]) -> None:
        state = self._state(stage)
        if state.status == "done":
            display.skipped(stage)
            return
        self._refuse_losing(state, allowed)
        run = for_stage(self.run, stage, state.fingerprint)
        self._tidy(run, state.status)
        Journal(self.root, "driver").note("begin", stage=stage.name, fingerprint=state.fingerprint)
        with display.stage(stage, run):
            facts = self._finish(stage, run, executor, display)
            final = self.root / stage.product
            if run.output.exists():
                # What was published stays until what replaces it is whole.
                self.ledger.retract(stage.name, keep=state.fingerprint)
                remove(final)
            publish_folder(run.output, final)
            files = tree_digests(final)
        self.ledger.publish(
            stage.name,
            Published(state.fingerprint, self.basis(stage), stage.product, files, facts, stage.stable),
        )
        self.redo.discard(stage.name)
        write_manifest(self.root, self.config.seed)

    def _tidy(self, run: Run, status: str) -> None:
        """Drop what killed workers left behind; records whose data are gone are forgotten.

        What workers of an array gave up stays given up for the job that closes after them.
        """
        final = self.root / run.target
        if not self.closing:
            remove(self.ledger.given_up_folder(run.stage, run.fingerprint))
        final.parent.mkdir(parents=True, exist_ok=True)
        for folder in (self.root, self.ledger.root, self.ledger.task_folder(run.stage, run.fingerprint)):
            sweep(folder, keep={run.output, *(p for p in folder.glob(".*.part") if p.is_dir())})
        stale = [p for p in final.parent.glob(f".{final.name}.*.part") if p != run.output]
        for path in stale:
            remove(path)
        if run.output.is_dir():
            for folder in [run.output, *(p for p in run.output.rglob("*") if p.is_dir())]:
                sweep(folder, keep=set())
        elif not run.output.exists():
            finished = self.ledger.finished(run.stage, run.fingerprint) is not None
            renamed = status == "todo" and finished and final.exists()
            if not renamed:
                self.ledger.forget(run.stage, run.fingerprint)

    def _finish(self, stage: Stage, run: Run, executor: Executor, display: Display) -> dict[str, Any]:
        """Run the tasks until the plan names none without a result, then finish the product."""
        facts = self.ledger.finished(stage.name, run.fingerprint)
        if facts is not None and not run.output.exists() and (self.root / run.target).exists():
            return facts
        with executor.crew(stage, run) as crew:
            for _ in range(MAX_REPAIRS):
                self._run_tasks(stage, run, crew, display)
                try:
                    facts = stage.finish(run, self.ledger.results(stage.name, run.fingerprint))
                    self.ledger.record_finish(stage.name, run.fingerprint, facts)
                    return facts
                except RecomputeError as error:
                    display.note(f"{stage.name}: {error}; {len(error.names)} tasks run again")
                    self.ledger.forget(stage.name, run.fingerprint, error.names)
        raise IntegrityError(f"{stage.name}: its data are damaged again and again; check the disk")

    def _run_tasks(self, stage: Stage, run: Run, crew: Crew, display: Display) -> None:
        while True:
            check_stop()
            results = self.ledger.results(stage.name, run.fingerprint)
            self.anchor.check()
            tasks = stage.plan(run, results)
            missing = [task for task in tasks if task.name not in results]
            if not missing:
                return
            marks = self.ledger.given_up(stage.name, run.fingerprint)
            failures = [Failure(task.name, marks[task.name]) for task in missing if task.name in marks]
            stage.prepare(run)
            display.tasks(stage, len(tasks) - len(missing), len(tasks))
            failures += crew.execute([task for task in missing if task.name not in marks], display.done)
            if failures:
                lines = "; ".join(f"{f.task}: {f.reason}" for f in failures[:5])
                more = f" and {len(failures) - 5} more" if len(failures) > 5 else ""
                raise QuarantinedError(
                    f"{stage.name}: {len(failures)} of {len(tasks)} tasks are quarantined ({lines}{more}); "
                    "the others are done: mend the cause and run the same command again"
                )
