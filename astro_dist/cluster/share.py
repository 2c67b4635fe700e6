"""A worker of an array: takes its share of a stage's tasks, then what others have not done yet.

It holds no lock and hands over nothing but files: what is done is in the ledger, so any number of
workers may come, go and come back. A claim says that a task is being done; it only saves work.
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
from astro_dist.engine.rounds import Rounds
from astro_dist.engine.stopping import check_stop
from astro_dist.engine.work import Crew, Run, Stage, Task
from astro_dist.runner import Runner
from astro_dist.workers.allocation import find_allocation
from astro_dist.workers.attempts import MAX_LOSSES
from astro_dist.workers.machine import choose_machine

BEAT_S = 5.0
STALE_S = 30.0
POLL_S = 2.0
BEGIN_S = 600.0


def do_share(runner: Runner, name: str, number: int, parts: int, display: Display) -> None:
    """Work on a stage as worker ``number`` of ``parts``, until nothing is missing.

    Tasks that are given up are left to the job that closes the stage; so is a stage that would replace
    what is published.
    """
    (stage,) = runner.stages
    mark = _find_begun(runner, stage)
    if mark is None:
        return
    rounds = Rounds(runner.run, stage, mark)
    run = rounds.run
    machine = choose_machine(runner.config.machine)
    size = machine.workers_for(stage, run)
    machine = replace(machine, first_worker=number * size)
    who = f"{os.environ.get('SLURM_ARRAY_JOB_ID', os.getpid())}_{number}"
    with (
        runner.executor(machine) as executor,
        executor.crew(stage, run) as crew,
        display.stage(stage, run),
        Claims(run, who) as claims,
    ):
        _share(rounds, crew, claims, Portion(number, parts, size), display)


def _find_begun(runner: Runner, stage: Stage) -> str | None:
    """Return which version of a stage to work on, None for nothing; the first worker begins a new one.

    Usually it was begun by the job before; not where a run was made longer while that was in the queue.
    """
    (state,) = runner.states()
    mark = runner.ledger.begun(stage.name)
    if state.status != "todo" or mark == state.fingerprint:
        return mark
    with lock_folder(runner.root, BEGIN_S):
        if runner.ledger.begun(stage.name) != state.fingerprint:
            runner.begin(stage)
    return state.fingerprint


def close_stage(runner: Runner, redo: Sequence[str], following: str | None, display: Display) -> None:
    """Bring one stage to its end, whatever workers have left of it, and begin the one that follows."""
    runner.closing = True
    if find_allocation() is not None:
        # The ranks of a training spread themselves; all else needs Ray to reach the other nodes.
        runner.kind = "serial" if runner.stages[0].gang else "ray"
    runner.execute(display, redo)
    if following is not None:
        after = Runner(runner.root, runner.config, runner.known, following, runner.shown)
        with lock_folder(runner.root):
            after.redo = set(redo)
            after.begin(after.stages[0])


class Portion:
    """Which tasks a worker likes best, and how many it takes at a time."""

    def __init__(self, number: int, parts: int, size: int) -> None:
        self.number, self.parts, self.size = number, parts, size

    def order(self, tasks: Sequence[Task]) -> list[Task]:
        """Return the tasks with those of this worker's own share first, then those of the next ones."""
        places = sorted(range(len(tasks)), key=lambda i: ((i - self.number) % self.parts, i))
        return [tasks[i] for i in places]

    def batch(self, missing: int) -> int:
        """Return how many to take: fewer towards the end, so that all end at about the same time."""
        return max(self.size, missing // (2 * self.parts))


def _share(rounds: Rounds, crew: Crew, claims: "Claims", mine: Portion, display: Display) -> None:
    rounds.stage.prepare(rounds.run)
    while True:
        check_stop()
        now = rounds.look()
        display.tasks(rounds.stage, len(now.tasks) - len(now.missing), len(now.tasks))
        if not now.missing:
            return
        batch = claims.take(mine.order(now.missing), mine.batch(len(now.missing)))
        # A claim is given back after its result is written, so what another worker has ended between
        # the look above and the claim shows here.
        ended = rounds.ended()
        todo = [task for task in batch if task.name not in ended]
        if todo:
            crew.execute(todo, lambda task, result: display.done(task, result))
        claims.release()
        if not batch:
            time.sleep(POLL_S)


class Claims:
    """The tasks that this worker is doing, as files that others see; use it as a context manager.

    A claim holds one line per worker that ever took it. It is stale when the last of them has shown no
    sign of life for `STALE_S` of the observer's own time, so clocks need not agree.
    """

    def __init__(self, run: Run, who: str) -> None:
        self.run, self.who = run, who
        self.folder = run.records.claims
        self.held: list[Path] = []
        self.seen: dict[str, tuple[int, float]] = {}
        self.ended = threading.Event()
        self.heart = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> "Claims":
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sign(self.who).touch()
        self.heart.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.ended.set()
        self.heart.join()
        self.release()
        self._sign(self.who).unlink(missing_ok=True)

    def take(self, tasks: Sequence[Task], count: int) -> list[Task]:
        """Claim up to ``count`` tasks: free ones first, else those whose worker has fallen silent."""
        taken = {path.name for path in self.folder.iterdir()}
        free = (task for task in tasks if task.name not in taken and self._create(task))
        silent = (task for task in tasks if self._adopt(task))
        return list(islice(free, count)) or list(islice(silent, count))

    def release(self) -> None:
        """Give all claims back."""
        while self.held:
            self.held.pop().unlink(missing_ok=True)

    def _create(self, task: Task) -> bool:
        path = self.folder / task.name
        if path.exists():
            return False
        # Never without its owner: a claim that died half written could be adopted by nobody.
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
        """Take over a claim of a worker that is gone; give up a task that has cost too many."""
        path = self.folder / task.name
        try:
            owners = path.read_text().split()
        except FileNotFoundError:
            return False
        if not owners or self._lives(owners[-1]):
            return False
        if len(owners) >= MAX_LOSSES and self._times_begun(task) >= MAX_LOSSES:
            reason = f"{len(owners)} jobs ended while they did it, the last {owners[-1]}"
            self.run.records.give_up(task.name, reason)
            return False
        with path.open("a") as file:
            file.write(f"{self.who}\n")
        self.held.append(path)
        return True

    def _times_begun(self, task: Task) -> int:
        """Return how often a task was begun: the claims of a job are more than the tasks that it does."""
        mine = {
            "event": "start",
            "stage": self.run.stage,
            "fingerprint": self.run.fingerprint,
            "task": task.name,
        }
        return sum(mine.items() <= event.items() for event in read_journal(self.run.root))

    def _lives(self, who: str) -> bool:
        """Tell whether another worker has shown a sign of life lately; this one's earlier life is over."""
        if who == self.who:
            return False
        try:
            beat = self._sign(who).stat().st_mtime_ns
        except FileNotFoundError:
            return False
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
                os.utime(self._sign(self.who))
