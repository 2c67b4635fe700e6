"""The runner of a pipeline's stages over one run directory: run, plan, resume, status.

A stage is done when its publication has the fingerprint of its present settings, inputs and schema. All other
stages are run. The same command, given again, resumes a run after any stop.
"""

import contextlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from astro_dist.engine.config import differences, fingerprint
from astro_dist.engine.errors import ConfigError, IntegrityError, QuarantinedError
from astro_dist.engine.files import (
    lock_folder,
    publish_bytes,
    publish_folder,
    remove,
    require_space,
    stop_when_storage_fails,
    sweep,
    tree_files,
)
from astro_dist.engine.journal import Journal
from astro_dist.engine.ledger import Finished, Ledger, Published
from astro_dist.engine.manifest import digest_source, source_name, write_manifest
from astro_dist.engine.outputs import Reading
from astro_dist.engine.progress import Display
from astro_dist.engine.rounds import Rounds
from astro_dist.engine.stopping import check_stop
from astro_dist.engine.work import Crew, Estimate, Executor, Results, Run, Stage, for_stage
from astro_dist.workers.attempts import SerialExecutor
from astro_dist.workers.machine import Machine, choose_machine
from astro_dist.workers.processes import ALL_GPUS, ProcessExecutor, visible_gpus

MAX_REPAIRS = 3
"""Times that the files of a stage are compared, and damaged tasks run again, before the run fails."""


@dataclass(frozen=True)
class StageState:
    """Status of a stage.

    ``done``, ``todo``, ``redo`` (published, and to be made again), ``changed`` (published from other
    settings) or ``after`` (an earlier stage must run first; the fingerprint follows from its product).
    """

    stage: Stage
    status: str
    fingerprint: str = ""
    changes: tuple[str, ...] = ()


class Runner:
    """Some stages, in order, over one run directory; ``only`` names one stage to run alone.

    ``shown`` are the results to print. ``closing`` marks the job after an array. ``kind`` is the executor.
    """

    def __init__(
        self,
        root: Path,
        config: Any,
        stages: Sequence[Stage],
        only: str | None = None,
        shown: Mapping[str, str] | None = None,
    ) -> None:
        self.root, self.config = root.resolve(), config
        self.run = Run.of(self.root, config)
        self.ledger = Ledger(self.root)
        self.known, self.only, self.shown = list(stages), only, dict(shown or {})
        self.redo: set[str] = set()
        self.closing, self.kind = False, config.machine.executor
        self.stages = [s for s in self.known if only in (None, s.name)]

    def basis(self, stage: Stage) -> dict[str, Any]:
        """Return all that a stage's bytes follow from; raise `ConfigError` for an unpublished input."""
        sections = {name: getattr(self.config, name) for name in stage.sections}
        inputs = {}
        for given in (s for s in self.known if s.name in stage.inputs):
            name, published = given.name, self.ledger.published(given.name)
            if published is None:
                raise ConfigError(
                    f"{stage.name} needs what {name} publishes and {self.root} does not have it; "
                    f"run `astro-dist {given.words}` or `astro-dist run` with this configuration first"
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
        """Return the status of every stage, in order."""
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
        """Return the stages that may be replaced; refuse a run that mixes settings or replaces others."""
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
        """Lock and prepare the run directory; yield the names of the stages that may be replaced."""
        with lock_folder(self.root), stop_when_storage_fails(self.root) as self.anchor:
            allowed = self.permit(redo)
            self._announce(display)
            if not self.closing:
                text = yaml.safe_dump(self.config.model_dump(mode="json"), sort_keys=False)
                publish_bytes(self.root / "config.yaml", text.encode())
            remove(self.root / "logs" / "progress")
            yield allowed

    def begin(self, stage: Stage) -> None:
        """Prepare a stage for workers that share its tasks; the caller holds the driver lock."""
        state = self._state(stage)
        if state.status == "done":
            return
        rounds = self.rounds(state)
        self._tidy(rounds, state.status)
        stage.prepare(rounds.run)
        Journal(self.root, "driver").note("begin", stage=stage.name, fingerprint=state.fingerprint)
        self.ledger.begin(stage.name, state.fingerprint)

    def rounds(self, state: StageState) -> Rounds:
        """Return the tasks of a stage in the version that its settings and inputs ask for."""
        return Rounds(self.run, state.stage, state.fingerprint)

    def follow(self, redo: Sequence[str] = ()) -> None:
        """Do missing tasks as a second rank of a launched training; the first rank records and publishes."""
        self.redo = set(redo)
        for stage in self.stages:
            state = self._state(stage)
            if state.status == "done":
                continue
            rounds = self.rounds(state)
            run = rounds.run
            # The first rank deletes stale records (`_tidy`) and then makes the output. Until the output, or
            # the renamed product, exists, the records that this rank reads may be stale.
            kept = run.output.exists() or (state.status == "todo" and (self.root / run.target).exists())
            tasks = rounds.look().missing if kept else stage.plan(run, {})
            for task in tasks:
                stage.run(stage.open(run), task)

    def results(self) -> dict[str, Path]:
        """Return the paths of the results that exist, by name."""
        paths = {name: self.root / path for name, path in self.shown.items()}
        return {name: path for name, path in paths.items() if path.exists()}

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
        """Return the named stages and all stages that depend on them."""
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
        # With --redo a vanished product is no reason to refuse: it may be the product to make again.
        with contextlib.suppress(IntegrityError) if allowed else contextlib.nullcontext():
            for state in self.states():
                self._refuse_losing(state, allowed)

    def _refuse_losing(self, state: StageState, allowed: set[str]) -> None:
        """Refuse to replace a byte-stable product unasked; others, such as a page, are written again."""
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
        # Bytes of begun outputs are on the disk already. Blocks are counted, because files may be sparse.
        begun = 0
        for hidden in self.root.rglob(".*.part"):
            begun += sum(p.stat().st_blocks * 512 for p in tree_files(hidden))
        require_space(self.root, max(0, needed - begun))

    @contextlib.contextmanager
    def executor(self, machine: Machine) -> Iterator[Executor]:
        """Yield the executor that the configuration names."""
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
        rounds = self.rounds(state)
        run = rounds.run
        self._tidy(rounds, state.status)
        Journal(self.root, "driver").note("begin", stage=stage.name, fingerprint=state.fingerprint)
        with display.stage(stage, run):
            finished = self._finish(rounds, executor, display)
            final = self.root / stage.product
            if run.output.exists():
                # The old product stays until the new one is whole.
                self.ledger.retract(stage.name, keep=state.fingerprint)
                remove(final)
            publish_folder(run.output, final)
        self.ledger.publish(
            stage.name,
            Published(
                state.fingerprint,
                self.basis(stage),
                stage.product,
                finished.files,
                finished.facts,
                stage.stable,
            ),
        )
        self.redo.discard(stage.name)
        write_manifest(self.root, self.config.seed)

    def _tidy(self, rounds: Rounds, status: str) -> None:
        """Remove leftovers of killed workers, and delete records of tasks whose files are gone.

        Tasks that workers of an array gave up stay given up for the job that closes the stage.
        """
        run, records = rounds.run, rounds.records
        final = self.root / run.target
        if not self.closing:
            records.try_again()
        final.parent.mkdir(parents=True, exist_ok=True)
        for folder in (self.root, self.ledger.root, records.folder):
            sweep(folder, keep={run.output, *(p for p in folder.glob(".*.part") if p.is_dir())})
        stale = [p for p in final.parent.glob(f".{final.name}.*.part") if p != run.output]
        for path in stale:
            remove(path)
        if run.output.is_dir():
            for folder in [run.output, *(p for p in run.output.rglob("*") if p.is_dir())]:
                sweep(folder, keep=set())
        elif not run.output.exists():
            renamed = status == "todo" and records.finished() is not None and final.exists()
            if not renamed:
                records.forget_all()

    def _finish(self, rounds: Rounds, executor: Executor, display: Display) -> Finished:
        """Run the tasks until the plan names none without a result, compare their files, and finish."""
        stage, run, records = rounds.stage, rounds.run, rounds.records
        # A kill after this record costs nothing: the product only has to be renamed and published.
        if (finished := records.finished()) is not None:
            self._drop_scratch(rounds)
            return finished
        with executor.crew(stage, run) as crew:
            for _ in range(MAX_REPAIRS):
                results = self._run_tasks(rounds, crew, display)
                sealed = stage.seal(run, results)
                reading = Reading(run.output)
                if damaged := reading.find_damage({**results, **sealed}):
                    again = rounds.forget(damaged)
                    display.note(f"{stage.name}: {_damage_text(damaged)}; {len(again)} tasks run again")
                    continue
                reading.drop_unstated()
                facts = stage.finish(run, results)
                finished = Finished(facts, reading.digests(without=stage.scratch))
                records.record_finish(finished)
                self._drop_scratch(rounds)
                return finished
        raise IntegrityError(f"{stage.name}: its data are damaged again and again; check the disk")

    def _drop_scratch(self, rounds: Rounds) -> None:
        for name in rounds.stage.scratch:
            remove(rounds.run.output / name)

    def _run_tasks(self, rounds: Rounds, crew: Crew, display: Display) -> Results:
        """Do the missing tasks, round by round; return the results of all tasks by name."""
        stage = rounds.stage
        while True:
            check_stop()
            self.anchor.check()
            now = rounds.look()
            if not now.missing and not now.failures:
                names = {task.name for task in now.tasks}
                return {name: result for name, result in now.results.items() if name in names}
            stage.prepare(rounds.run)
            display.tasks(stage, now.done, len(now.tasks))
            failures = now.failures + crew.execute(now.missing, display.done)
            if failures:
                lines = "; ".join(f"{f.task}: {f.reason}" for f in failures[:5])
                more = f" and {len(failures) - 5} more" if len(failures) > 5 else ""
                raise QuarantinedError(
                    f"{stage.name}: {len(failures)} of {len(now.tasks)} tasks are quarantined ({lines}"
                    f"{more}); the others are done: mend the cause and run the same command again"
                )


def _damage_text(tasks: Collection[str]) -> str:
    shown = ", ".join(sorted(tasks)[:3]) + (" and others" if len(tasks) > 3 else "")
    return f"the files of {shown} differ from what was written"
