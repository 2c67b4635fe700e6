"""The runner of a pipeline's stages over one run directory: run, plan, resume, status.

A stage is done when its publication has the fingerprint of its present settings, inputs and schema. All other
stages are run. The same command, given again, resumes a run after any stop.
"""

import contextlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astro_dist.engine.custody import (
    BESIDE,
    drop_replaced,
    refuse_foreign,
    refuse_inside,
    remove,
    replace_product,
    sweep,
    sweep_outputs,
    undo_replacements,
)
from astro_dist.engine.errors import ConfigError, IntegrityError, QuarantinedError, StoppedError
from astro_dist.engine.files import (
    lock_folder,
    require_space,
    stop_when_storage_fails,
    tree_files,
)
from astro_dist.engine.journal import Journal
from astro_dist.engine.ledger import Finished, Ledger, Published
from astro_dist.engine.manifest import (
    check_source,
    manifest_fault,
    refuse_other_pipeline,
    write_config,
    write_manifest,
)
from astro_dist.engine.outputs import DamagedInputError, Inputs, Reading
from astro_dist.engine.progress import Display, drop_notes
from astro_dist.engine.rounds import Rounds, list_some
from astro_dist.engine.states import StageState, States
from astro_dist.engine.stopping import check_stop
from astro_dist.engine.work import Crew, Estimate, Executor, Results, Run, Stage, for_stage

if TYPE_CHECKING:
    from astro_dist.workers.machine import Machine

MAX_REPAIRS = 3
"""Times that the files of a stage are compared, and damaged tasks run again, before the run fails."""


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
        self.root, self.config = Path(os.path.realpath(root)), config
        self.run = Run.of(self.root, config)
        self.ledger = Ledger(self.root)
        self.known, self.only, self.shown = list(stages), only, dict(shown or {})
        self.now = States(self.run, config, self.known)
        self.inputs = Inputs(self.root)
        self.closing, self.kind = False, config.machine.executor
        self.stages = [s for s in self.known if only in (None, s.name)]

    def estimates(self) -> list[tuple[Stage, str, Estimate]]:
        """Return ``(stage, status, cost)`` for every stage; nothing is run.

        Raises
        ------
        ConfigError
            The product of a stage that is not done can never be made, see `Stage.refuse`.
        """
        rows = []
        for state in self.states():
            run = for_stage(self.run, state.stage, state.fingerprint or "0" * 64)
            if state.status != "done":
                # Stages that wait for others too: these files are read after hours otherwise.
                for path in state.stage.sources(run):
                    check_source(path)
                state.stage.refuse(run)
            estimate = state.stage.estimate(run) if state.stage.estimate else Estimate(tasks=1)
            rows.append((state.stage, state.status, estimate))
        return rows

    def refuse_place(self) -> None:
        """Raise `ConfigError` for a folder that no run may have for its run directory; makes nothing."""
        refuse_inside(self.root)
        refuse_foreign(self.root)
        refuse_other_pipeline(self.root, self.config.pipeline)
        there = next(path for path in (self.root, *self.root.parents) if os.path.lexists(path))
        if not there.is_dir():
            raise ConfigError(
                f"cannot write to the run directory {self.root} ({there} is no folder); choose another "
                "with --out"
            )

    def execute(self, display: Display, redo: Sequence[str] = ()) -> None:
        """Bring every stage to its end; publish each product as soon as it is whole."""
        from astro_dist.workers.machine import choose_machine

        machine = choose_machine(self.config.machine)
        with self.opened(display, redo) as allowed, self.executor(machine) as executor:
            for stage in self.stages:
                self._bring(stage, executor, display, allowed)

    def states(self) -> list[StageState]:
        """Return the status of every stage, in order."""
        return self.now.of_all(self.stages)

    def permit(self, redo: Sequence[str]) -> set[str]:
        """Return the stages that may be replaced; refuse a run that mixes settings or replaces others."""
        self.now.redo = set(redo)
        return self.now.permit(self.stages, self.only)

    @contextlib.contextmanager
    def opened(self, display: Display, redo: Sequence[str] = ()) -> Iterator[set[str]]:
        """Lock and prepare the run directory; yield the names of the stages that may be replaced."""
        # Before the lock, which would make its file in somebody else's folder.
        self.refuse_place()
        with lock_folder(self.root), stop_when_storage_fails(self.root) as self.anchor:
            marks = {self.root / p.product: p.fingerprint for p in self.ledger.all_published().values()}
            # Before any status is computed, because products of a killed replacement have the wrong names.
            undo_replacements([(self.root / stage.product).parent for stage in self.known], marks)
            allowed = self.permit(redo)
            self._announce(display)
            # From here on the folder is a run directory, whatever happens.
            self.ledger.root.mkdir(exist_ok=True)
            if not self.closing:
                write_config(self.root, self.config, display.note)
            if old := self.ledger.unprotected():
                names = ", ".join(old)
                display.note(f"records of version 0.1.0 carry no sha256 and are read as they are: {names}")
            if marks and manifest_fault(self.root) is not None:
                write_manifest(self.root, self.config.seed, display.note)
            # Notes of an earlier command would be counted as progress of this one.
            drop_notes(self.root / "logs" / "progress", [stage.name for stage in self.known])
            yield allowed

    def begin(self, stage: Stage) -> None:
        """Prepare a stage for workers that share its tasks; the caller holds the driver lock."""
        state = self.now.of(stage)
        if state.status == "done":
            return
        self._compare_inputs(stage)
        rounds = self.rounds(state)
        self._tidy(rounds, state.status)
        stage.prepare(rounds.run)
        Journal(self.root, "driver").note("begin", stage=stage.name, fingerprint=state.fingerprint)
        # Last: a worker that reads this record may use the prepared output at once.
        self.ledger.begin(stage.name, state.fingerprint)

    def rounds(self, state: StageState) -> Rounds:
        """Return the tasks of a stage in the version that its settings and inputs ask for."""
        return Rounds(self.run, state.stage, state.fingerprint)

    def follow(self, redo: Sequence[str] = ()) -> None:
        """Do missing tasks as a second rank of a launched training; the first rank records and publishes."""
        self.now.redo = set(redo)
        for stage in self.stages:
            state = self.now.of(stage)
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
        """Return the paths of the results that exist and are up to date, by name."""
        done = {state.stage.product for state in self.states() if state.status == "done"}
        current = {name: path for name, path in self.shown.items() if done & _with_parents(path)}
        return {name: self.root / path for name, path in current.items() if (self.root / path).exists()}

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

    def executor(self, machine: "Machine") -> contextlib.AbstractContextManager[Executor]:
        """Open the executor that the configuration names."""
        # Here, because `status` and `plan` open none.
        from astro_dist.workers.executors import open_executor

        log = self.root / "logs" / "ray.log"
        return open_executor(self.kind, machine, log, self.config.machine.ray_address)

    def _bring(self, stage: Stage, executor: Executor, display: Display, allowed: set[str]) -> None:
        state = self.now.of(stage)
        if state.status == "done":
            display.skipped(stage)
            return
        # Repeated after `permit`: only now are the inputs published and the fingerprint is final.
        self.now.refuse_losing(state, allowed)
        self._compare_inputs(stage)
        rounds = self.rounds(state)
        run = rounds.run
        self._tidy(rounds, state.status)
        Journal(self.root, "driver").note("begin", stage=stage.name, fingerprint=state.fingerprint)
        with display.stage(stage, run):
            finished = self._finish(rounds, executor, display)
            # Workers were killed in the middle of a file perhaps; the product is to hold its own files alone.
            _sweep_writers(rounds)
            final, mark = self.root / stage.product, state.fingerprint[:12]
            published = self.ledger.published(stage.name)
            files = published.files if published and published.product == stage.product else None
            if (aside := replace_product(run.output, final, mark, files)) is not None:
                display.note(f"{final} is not what this run published; it is now {aside.name}")
            # Read a moment ago by `_finish`; later stages need not read it again.
            self.inputs.rename(run.output, final)
        for text in finished.facts.get("notes", ()):
            display.note(f"{stage.name}: {text}")
        self.ledger.publish(
            stage.name,
            Published(
                state.fingerprint,
                self.now.basis(stage),
                stage.product,
                finished.files,
                finished.facts,
                stage.stable,
                compared=True,
            ),
        )
        Journal(self.root, "driver").note("published", stage=stage.name, fingerprint=state.fingerprint)
        # Until here the old product was published, so that a kill costs neither of the two.
        for name in self.ledger.unprotected():
            if (before := self.ledger.published(name)) is not None:
                self.ledger.publish(name, before)
        # Records of other versions describe outputs that `_tidy` has removed.
        self.ledger.drop_versions(stage.name, keep=state.fingerprint)
        drop_replaced(final, mark)
        # What was begun from an earlier copy of the product may have read it damaged.
        for later in self.known:
            if stage.name in later.inputs:
                self._drop_begun(later)
        # Without this the stage would stay `redo`, and all later ones `after`.
        self.now.redo.discard(stage.name)
        write_manifest(self.root, self.config.seed, display.note)

    def _tidy(self, rounds: Rounds, status: str) -> None:
        """Remove leftovers of killed workers, and delete records of tasks whose files are gone.

        Tasks that workers of an array gave up stay given up for the job that closes the stage.
        """
        run, records = rounds.run, rounds.records
        final = self.root / run.target
        if not self.closing:
            records.try_again()
        final.parent.mkdir(parents=True, exist_ok=True)
        sweep(self.root, BESIDE)
        sweep(self.ledger.root)
        sweep_outputs(final, run.output, self.ledger.marks(rounds.stage.name))
        _sweep_writers(rounds)
        if not run.output.exists():
            # A kill between the rename and the publication leaves the product under its final name. Whether
            # what lies there is that product, its digests say.
            finished = records.finished() if status == "todo" and final.exists() else None
            # With neither the output nor its product the records stand for files that are gone.
            if finished is None or self.inputs.digests(final) != finished.files:
                records.forget_all()
        # Before the output is made: `sweep_outputs` removes outputs of versions that are in the ledger only.
        records.folder.mkdir(parents=True, exist_ok=True)

    def _finish(self, rounds: Rounds, executor: Executor, display: Display) -> Finished:
        """Run the tasks until the plan names none without a result, compare their files, and finish."""
        stage, run, records = rounds.stage, rounds.run, rounds.records
        # A kill after this record costs nothing: the product only has to be renamed and published.
        if (finished := records.finished()) is not None:
            self._drop_scratch(rounds)
            if not run.output.exists() or self.inputs.digests(run.output) == finished.files:
                return finished
            # Damaged since then: the tasks of what is damaged run again.
            records.forget(())
        for _ in range(MAX_REPAIRS):
            try:
                with executor.crew(stage, run) as crew:
                    finished = self._complete(rounds, crew, display)
            except StoppedError:
                raise
            except Exception as error:
                # Whatever a task has met: a damaged input is the truer reason.
                self._compare_inputs(stage)
                # What tasks of this stage have written may be damaged too; it is made again.
                damaged = isinstance(error, IntegrityError) and self._forget_damaged(
                    rounds, Reading(run.output), records.results(), display
                )
                if not damaged:
                    raise
                continue
            if finished is not None:
                return finished
        raise IntegrityError(f"{stage.name}: its data are damaged again and again; check the disk")

    def _complete(self, rounds: Rounds, crew: Crew, display: Display) -> Finished | None:
        """Run the missing tasks and finish; return None where files differ and tasks have to run again."""
        stage, run, records = rounds.stage, rounds.run, rounds.records
        results = self._run_tasks(rounds, crew, display)
        display.finishing()
        # Before the comparison, so that the sealed bytes are read back too.
        sealed = stage.seal(run, results)
        reading = Reading(run.output)
        if self._forget_damaged(rounds, reading, {**results, **sealed}, display):
            return None
        reading.drop_unstated()
        facts = stage.finish(run, results)
        finished = Finished(facts, reading.digests(without=stage.scratch))
        # Before the record that vouches for what the tasks and `finish` made from the inputs.
        self._compare_inputs(stage)
        records.record_finish(finished)
        self.inputs.note(reading)
        self._drop_scratch(rounds)
        return finished

    def _forget_damaged(self, rounds: Rounds, reading: Reading, results: Results, display: Display) -> bool:
        """Forget the tasks whose files differ from their results; return whether there are any."""
        damaged = reading.find_damage(results)
        if damaged:
            again = rounds.forget(damaged)
            display.note(f"{rounds.stage.name}: {_damage_text(damaged)}; {len(again)} tasks run again")
        return bool(damaged)

    def _compare_inputs(self, stage: Stage) -> None:
        """Compare the inputs of a stage; after damage nothing that was begun from them is gone on with."""
        try:
            self.inputs.compare(stage)
        except DamagedInputError:
            self._drop_begun(stage)
            raise

    def _drop_begun(self, stage: Stage) -> None:
        """Remove the hidden outputs of a stage; without them `_tidy` forgets the records of their tasks."""
        final = self.root / stage.product
        sweep_outputs(final, final, self.ledger.marks(stage.name))

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
                # The records may hold tasks that the plan does not name with the present results.
                names = {task.name for task in now.tasks}
                return {name: result for name, result in now.results.items() if name in names}
            stage.prepare(rounds.run)
            rounds.note("driver", len(now.tasks))
            display.tasks(stage, now.done, len(now.tasks), getattr(crew, "size", 1))
            failures = now.failures + crew.execute(now.missing, display.done)
            if failures:
                lines = list_some([f"{f.task}: {f.reason}" for f in failures])
                raise QuarantinedError(
                    f"{stage.name}: {len(failures)} of {len(now.tasks)} tasks are quarantined ({lines}); the "
                    "others are done: mend the cause and run the same command again"
                )


def _sweep_writers(rounds: Rounds) -> None:
    """Remove what killed writers have left among the records and the files of one version of a stage."""
    sweep(rounds.records.folder)
    if rounds.run.output.is_dir():
        for folder in [rounds.run.output, *(p for p in rounds.run.output.rglob("*") if p.is_dir())]:
            sweep(folder)


def _with_parents(path: str) -> set[str]:
    return {path, *(parent.as_posix() for parent in Path(path).parents)}


def _damage_text(tasks: Collection[str]) -> str:
    shown = ", ".join(sorted(tasks)[:3]) + (" and others" if len(tasks) > 3 else "")
    return f"the files of {shown} differ from what was written"
