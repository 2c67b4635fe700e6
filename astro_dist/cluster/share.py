"""A worker of an array: does its share of a stage's tasks, then tasks that other workers have not done yet.

Workers hold no lock and share nothing but files. Done tasks are in the ledger, so that any number of workers
may start, stop and start again. A claim marks a task as being done; claims save work, and no result depends
on them.
"""

import contextlib
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from astro_dist.engine.files import lock_folder
from astro_dist.engine.journal import read_journal
from astro_dist.engine.progress import Display
from astro_dist.engine.rounds import Rounds, refuse_quarantined
from astro_dist.engine.stopping import check_stop
from astro_dist.engine.work import Crew, Run, Stage, Task
from astro_dist.runner import Runner
from astro_dist.workers.allocation import find_allocation
from astro_dist.workers.attempts import MAX_LOSSES
from astro_dist.workers.machine import choose_machine

BEAT_S = 5.0
"""Seconds between touches of a worker's sign."""
STALE_S = 30.0
"""Seconds without a touch after which the claims of a worker are stale."""
POLL_S = 2.0
"""Seconds between looks at the ledger while other workers do all missing tasks."""
BEGIN_S = 600.0
"""Seconds to wait for the driver lock while another worker begins the stage."""


def do_share(runner: Runner, name: str, number: int, parts: int, display: Display) -> None:
    """Work on a stage as worker ``number`` of ``parts``, until nothing is missing.

    Given-up tasks are left to the job that closes the stage. A stage whose product is published already is
    left to that job too, because only the closing job may replace a product.
    """
    (stage,) = runner.stages
    mark = _find_begun(runner, stage)
    if mark is None:
        return
    rounds = Rounds(runner.run, stage, mark)
    run = rounds.run
    machine = choose_machine(runner.config.machine)
    size = machine.workers_for(stage, run)
    # Workers of all elements are numbered through, since their numbers name their logs.
    machine = replace(machine, first_worker=number * size)
    # The job id outlasts a requeue, so that claims from before it count as stale (`_is_active`).
    who = f"{os.environ.get('SLURM_ARRAY_JOB_ID', os.getpid())}_{number}"
    with (
        runner.executor(machine) as executor,
        executor.crew(stage, run) as crew,
        display.stage(stage, run),
        Claims(run, who) as claims,
    ):
        _share(rounds, crew, claims, Portion(number, parts, size), display)


def _find_begun(runner: Runner, stage: Stage) -> str | None:
    """Return the fingerprint of the version of a stage to work on, None for no work.

    Usually the job before has begun that version. Where the run was made longer while that job was in the
    queue, the first worker begins the version.
    """
    (state,) = runner.states()
    mark = runner.ledger.begun(stage.name)
    if state.status != "todo" or mark == state.fingerprint:
        return mark
    with lock_folder(runner.root, BEGIN_S):
        # Another worker may have begun the version while this one waited for the lock.
        if runner.ledger.begun(stage.name) != state.fingerprint:
            runner.begin(stage)
    return state.fingerprint


def close_stage(runner: Runner, redo: Sequence[str], following: str | None, display: Display) -> None:
    """Do the tasks of a stage that workers have left, publish the stage, and begin the following one."""
    # The configuration is not written again, and tasks that workers gave up stay given up.
    runner.closing = True
    if find_allocation() is not None:
        # A training starts its own ranks on all nodes; tasks of other stages reach other nodes through Ray.
        runner.kind = "serial" if runner.stages[0].gang else "ray"
    runner.execute(display, redo)
    if following is not None:
        after = Runner(runner.root, runner.config, runner.known, following, runner.shown)
        with lock_folder(runner.root):
            after.now.redo = set(redo)
            after.begin(after.stages[0])
    else:
        refuse_quarantined(runner.ledger)


class Portion:
    """The order in which a worker claims tasks, and how many it claims at a time."""

    def __init__(self, number: int, parts: int, size: int) -> None:
        self.number, self.parts, self.size = number, parts, size

    def order(self, tasks: Sequence[Task]) -> list[Task]:
        """Return the tasks of this worker's own share first, then those of the next workers' shares."""
        # A share is every `parts`-th task, so that workers seldom try for the same claim at once.
        places = sorted(range(len(tasks)), key=lambda i: ((i - self.number) % self.parts, i))
        return [tasks[i] for i in places]

    def batch(self, missing: int) -> int:
        """Return how many tasks to claim: fewer towards the end, so that all workers end about together."""
        # Half of an even share, and never less than the workers of this element can do at once.
        return max(self.size, missing // (2 * self.parts))


def _share(rounds: Rounds, crew: Crew, claims: "Claims", mine: Portion, display: Display) -> None:
    # Every worker prepares the output: `prepare` may run any number of times.
    rounds.stage.prepare(rounds.run)
    while True:
        check_stop()
        now = rounds.look()
        rounds.note(claims.who, len(now.tasks))
        display.tasks(rounds.stage, len(now.tasks) - len(now.missing), len(now.tasks))
        if not now.missing:
            return
        batch = claims.take(mine.order(now.missing), mine.batch(len(now.missing)))
        # A worker removes a claim after the result is written. A task that another worker has ended between
        # the look above and this claim is therefore in the ledger now, and is not done again.
        ended = rounds.ended()
        todo = [task for task in batch if task.name not in ended]
        if todo:
            crew.execute(todo, lambda task, result: display.done(task, result))
        claims.release()
        if not batch:
            time.sleep(POLL_S)


class Claims:
    """The tasks that this worker is doing, as files that other workers see; a context manager.

    A claim is a file with one line per worker that ever held it. Each worker touches a file of its own, its
    sign, every `BEAT_S`. A claim is stale when the sign of its last worker has not changed for `STALE_S` of
    the observer's own time, so that the clocks of nodes need not agree.
    """

    def __init__(self, run: Run, who: str) -> None:
        self.run, self.who = run, who
        self.folder = run.records.claims
        self.held: list[Path] = []
        self.seen: dict[str, tuple[int, float]] = {}
        self.ended = threading.Event()
        self.beats = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> "Claims":
        self.folder.mkdir(parents=True, exist_ok=True)
        # The sign precedes any claim: a claim whose owner has no sign counts as stale.
        self._sign(self.who).touch()
        self.beats.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.ended.set()
        self.beats.join()
        # The claims go before the sign, so that no claim is ever left without it.
        self.release()
        self._sign(self.who).unlink(missing_ok=True)

    def take(self, tasks: Sequence[Task], count: int) -> list[Task]:
        """Claim up to ``count`` free tasks and return them; without free tasks, those with stale claims."""
        # One listing spares a failing link for every claimed task.
        taken = {path.name for path in self.folder.iterdir()}
        free = (task for task in tasks if task.name not in taken and self._create(task))
        stale = (task for task in tasks if self._adopt(task))
        return list(islice(free, count)) or list(islice(stale, count))

    def release(self) -> None:
        """Remove all claims of this worker."""
        while self.held:
            self.held.pop().unlink(missing_ok=True)

    def _create(self, task: Task) -> bool:
        path = self.folder / task.name
        if path.exists():
            return False
        # A claim without an owner could never be adopted. The file is therefore written under another name
        # and linked, which is atomic and fails where another worker was first.
        draft = self.folder / f".{task.name}.{self.who}"
        draft.write_text(f"{self.who}\n")
        try:
            os.link(draft, path)
        except FileExistsError:
            return False
        finally:
            draft.unlink()
        self.held.append(path)
        return True

    def _adopt(self, task: Task) -> bool:
        """Take over a stale claim; give up a task during which `MAX_LOSSES` workers ended."""
        path = self.folder / task.name
        try:
            owners = path.read_text().split()
        except FileNotFoundError:
            return False
        if not owners or self._is_active(owners[-1]):
            return False
        if len(owners) >= MAX_LOSSES and self._times_begun(task) >= MAX_LOSSES:
            reason = f"{len(owners)} jobs ended while they did it, the last {owners[-1]}"
            self.run.records.give_up(task.name, reason)
            return False
        # Two workers may adopt a claim at the same moment: the task is done twice, with the same bytes.
        with path.open("a") as file:
            file.write(f"{self.who}\n")
        self.held.append(path)
        return True

    def _times_begun(self, task: Task) -> int:
        """Return how often a task was begun; lost workers also held claims of tasks not yet begun."""
        mine = {
            "event": "start",
            "stage": self.run.stage,
            "fingerprint": self.run.fingerprint,
            "task": task.name,
        }
        return sum(mine.items() <= event.items() for event in read_journal(self.run.root))

    def _is_active(self, who: str) -> bool:
        """Return whether another worker has touched its sign lately.

        A claim under this worker's own name is left over from before a requeue, and is never active.
        """
        if who == self.who:
            return False
        try:
            beat = self._sign(who).stat().st_mtime_ns
        except FileNotFoundError:
            return False
        # A sign seen for the first time counts as active, hence stale at the earliest `STALE_S` later.
        before, since = self.seen.get(who, (0, 0.0))
        if beat != before:
            self.seen[who] = beat, time.monotonic()
            return True
        return time.monotonic() - since < STALE_S

    def _sign(self, who: str) -> Path:
        return self.folder / f".{who}"

    def _beat(self) -> None:
        while not self.ended.wait(BEAT_S):
            with contextlib.suppress(OSError):
                # A failing touch affects claims only; the writing of results raises the disk's error.
                os.utime(self._sign(self.who))
