"""The display of a run: a live bar on a terminal, JSON lines elsewhere.

Everything goes to standard error; standard output is for results. The figures come from finished tasks and
from the small progress files that long tasks write, so that every executor is shown alike.
"""

import contextlib
import json
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from astro_dist.engine.custody import remove, sweep
from astro_dist.engine.errors import show
from astro_dist.engine.journal import is_finite
from astro_dist.engine.work import Estimate, Run, Stage, Task

LINE_EVERY_S = 10.0
"""Seconds between two lines of progress where there is no terminal."""


class Display:
    """Plan and progress of a run on standard error; ``live`` by default where that is a terminal.

    A ``quiet`` one shows notes alone; a ``verbose`` one a line for each finished task as well.
    """

    def __init__(self, live: bool | None = None, *, quiet: bool = False, verbose: bool = False) -> None:
        self.quiet, self.verbose = quiet, verbose
        self.live = not quiet and (sys.stderr.isatty() if live is None else live)
        self.name, self.finished, self.total, self.before = "", 0, 0, 0
        self.started = self.last_line = 0.0
        self.bar: Any = None
        self.phase = ""
        self.planned_s: dict[str, float] = {}
        self.seats = 1

    def plan(self, rows: list[tuple[Stage, str, Estimate]]) -> None:
        """Show the stages that are not done and their greatest cost."""
        todo = [row for row in rows if row[1] != "done"]
        total = sum(estimate.bytes for _, _, estimate in todo)
        self.planned_s = {stage.name: estimate.cpu_s for stage, _, estimate in todo}
        if self.live:
            for line in plan_lines(rows):
                self.note(line)
        for text in () if self.live else _notes(rows):
            self.note(text)
        self._line("plan", stages=[stage.name for stage, _, _ in todo], disk_bytes=total)

    def note(self, text: str) -> None:
        """Show one line of plain text."""
        if self.live:
            self._print(text)
        elif self.quiet:
            show(f"note: {text}")
        else:
            self._line("note", text=text)

    def skipped(self, stage: Stage) -> None:
        """Show that a stage is already done."""
        if self.live:
            self._print(f"  {stage.name:<12} already done")
        self._line("skipped", stage=stage.name)

    @contextlib.contextmanager
    def stage(self, stage: Stage, run: Run) -> Iterator[None]:
        """Show one stage from its start to its end."""
        self.name, self.started, self.finished, self.total = stage.name, time.monotonic(), 0, 0
        self.phase = ""
        self._line("start", stage=stage.name)
        stop = threading.Event()
        folder = run.root / "logs" / "progress"
        watcher = threading.Thread(target=self._watch, args=(folder, stop), daemon=True)
        with self._bar():
            watcher.start()
            try:
                yield
            finally:
                stop.set()
                watcher.join()
        seconds = time.monotonic() - self.started
        if self.live:
            self._print(f"  {stage.name:<12} done in {seconds:.1f} s")
        self._line("end", stage=stage.name, seconds=round(seconds, 2))

    def tasks(self, stage: Stage, done: int, total: int, seats: int = 1) -> None:
        """Set the tasks of a round, those of them that are done, and how many are done at once."""
        # Tasks that were done before the stage began are left out of the rate.
        self.before = self.before if self.total else done
        self.finished, self.total, self.seats = done, total, max(1, min(seats, total - done))

    def finishing(self) -> None:
        """Show that all tasks are done, and that the product is compared and completed."""
        self.phase = "finishing "
        self._line("finish", stage=self.name)

    def done(self, task: Task, result: dict[str, Any]) -> None:
        """Count one finished task."""
        self.finished += 1
        if self.verbose and self.live:
            self._print(f"  {self.name:<12} {task.name}")
        elif self.verbose:
            self._line("task", stage=self.name, task=task.name)

    @contextlib.contextmanager
    def _bar(self) -> Iterator[None]:
        if not self.live:
            yield
            return
        # Imported here, because runs without a terminal never need it.
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = (
            TextColumn("  {task.description:<12}"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            self.bar = (progress, progress.add_task(self.name, total=None, note=""))
            try:
                yield
            finally:
                self.bar = None

    def _watch(self, folder: Path, stop: threading.Event) -> None:
        """Update the bar, or write a line every `LINE_EVERY_S`, until ``stop`` is set."""
        # Tasks report at most twice a second; looking more often would read the same notes again.
        while not stop.wait(0.5):
            inside = read_progress(folder, self.name)
            # A running task counts as the fraction it reports. A full report is not counted here: the task's
            # result follows and is counted by `done`.
            fraction = sum(note["done"] / note["total"] for note in inside if note["done"] < note["total"])
            rate = (self.finished - self.before) / max(1e-9, time.monotonic() - self.started)
            # Rates of the notes are in the task's own units, hence divided by its total: tasks per second.
            rate += sum(n.get("per_s", 0.0) / n["total"] for n in inside if n["done"] < n["total"])
            if self.bar is not None:
                progress, row = self.bar
                speed = f"{rate:.3g}/s " if self.finished > self.before else ""
                if not rate and (about_s := self._planned_left()):
                    # Before a task has ended there is no rate, and the bar's own column is empty.
                    speed = f"about {max(1, round(about_s / 60))} min "
                text = f"{self.phase}{self.finished}/{self.total or '?'} tasks {speed}{_facts_text(inside)}"
                total = self.total or None
                progress.update(row, completed=self.finished + fraction, total=total, note=text)
            elif not self.phase and time.monotonic() - self.last_line > LINE_EVERY_S:
                self.last_line = time.monotonic()
                left = self.total - self.finished - fraction
                self._line(
                    "progress",
                    stage=self.name,
                    done=round(self.finished + fraction, 3),
                    total=self.total,
                    seconds=round(self.last_line - self.started, 1),
                    tasks_per_s=float(f"{rate:.3g}"),
                    remaining_s=round(left / rate, 1) if rate > 0 else self._planned_left(),
                )

    def _planned_left(self) -> float | None:
        """Return the seconds that are left by the plan's figure, None where it has none or they are over."""
        whole_s = self.planned_s.get(self.name, 0.0) * (1 - self.before / max(1, self.total)) / self.seats
        left_s = round(whole_s - (time.monotonic() - self.started), 1)
        return left_s if left_s > 0 else None

    def _print(self, text: str) -> None:
        if self.bar is not None:
            # Without markup: rich would take brackets in a name for a style and leave them out.
            self.bar[0].console.print(text, markup=False, highlight=False)
        else:
            show(text)

    def _line(self, event: str, **facts: Any) -> None:
        if not (self.live or self.quiet):
            # In UTC, so that lines from the nodes of a cluster can be put in order.
            now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            show(json.dumps({"event": event, **facts, "time": now}))


def read_progress(folder: Path, stage: str) -> list[dict[str, Any]]:
    """Return the latest progress notes of the long tasks of a stage; unreadable ones are left out."""
    notes = []
    for path in sorted(folder.glob(f"{stage}-*.json")):
        # A note may be removed between the listing and the reading.
        with contextlib.suppress(OSError, ValueError, RecursionError):
            note = json.loads(path.read_text())
            if isinstance(note, dict) and isinstance(note.get("task"), str) and _is_measured(note):
                notes.append(note)
    return notes


def _is_measured(note: dict[str, Any]) -> bool:
    """Return whether the figures of a note can be computed with."""
    figures = [note.get("done"), note.get("total"), note.get("per_s", 0.0)]
    return all(is_finite(figure) for figure in figures) and note["total"] > 0


def drop_notes(folder: Path, stages: Sequence[str]) -> None:
    """Remove the progress notes of stages; what else lies in the folder is left alone."""
    for path in (p for p in folder.glob("*.json") if p.is_file()):
        # By content and not by name alone: the folder may have held files of the user's before the run.
        with contextlib.suppress(OSError, ValueError):
            note = json.loads(path.read_bytes())
            if _is_note(note) and note["stage"] in stages:
                remove(path)
    sweep(folder)


def _is_note(value: Any) -> bool:
    return isinstance(value, dict) and {"stage", "done", "total", "time"} <= value.keys()


def _facts_text(notes: list[dict[str, Any]]) -> str:
    """Return the first two figures of the last note; more would leave no room for the bar."""
    plain = {"stage", "task", "done", "total", "time", "per_s"}
    shown = [
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
        for note in notes[-1:]
        for key, value in note.items()
        if key not in plain
    ]
    return " ".join(shown[:2])


def plan_lines(rows: list[tuple[Stage, str, Estimate]]) -> list[str]:
    """Return the plan as a table of plain lines; upper bounds are marked ``<=``."""
    titles = f"{'tasks':>7} {'files':>7} {'disk GB':>9} {'memory GB':>10} {'core min':>9}"
    lines = [f"  {'stage':<12} {'status':<8} {titles}"]
    for stage, status, cost in rows:
        mark = "" if cost.exact else "<="
        lines.append(
            f"  {stage.name:<12} {status:<8} {mark + str(cost.tasks):>7} {mark + str(cost.files):>7} "
            f"{mark + format(cost.bytes / 1e9, '.2f'):>9} {cost.memory_bytes / 1e9:>10.2f} "
            f"{cost.cpu_s / 60:>9.1f}"
        )
    todo = [cost for _, status, cost in rows if status != "done"]
    lines.append(
        f"  still to do: up to {sum(c.bytes for c in todo) / 1e9:.2f} GB of disk, "
        f"{max((c.memory_bytes for c in todo), default=0) / 1e9:.2f} GB of memory per process, "
        f"about {_say_work(sum(c.cpu_s for c in todo))}"
    )
    return [*lines, *(f"  note: {text}" for text in _notes(rows))]


def _say_work(cpu_s: float) -> str:
    """Say core-seconds as people do; less than a minute goes into the start of programs."""
    if cpu_s < 30:
        return "less than a core minute, and the start of programs"
    return f"{cpu_s / 60:.0f} core minutes" if cpu_s < 36_000 else f"{cpu_s / 3600:.0f} core hours"


def _notes(rows: list[tuple[Stage, str, Estimate]]) -> list[str]:
    return [text for _, status, cost in rows if status != "done" for text in cost.notes]
