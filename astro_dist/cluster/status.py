"""The progress of a run, from its ledger, its journal and the queue; nothing is written."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from astro_dist.cluster.queue import Queue, log_folder, queue_of
from astro_dist.cluster.slurm import Queued, script_name
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import find_owner
from astro_dist.engine.journal import read_journal
from astro_dist.engine.ledger import DAMAGED
from astro_dist.engine.progress import read_progress
from astro_dist.engine.states import StageState
from astro_dist.runner import Runner

WORDS = {"done": "done", "changed": "settings changed", "after": "waits"}
INDENT = " " * 13


@dataclass
class WorkerFigures:
    """The tasks that one worker has done of a stage since the stage was last begun."""

    name: str
    host: str
    tasks: int = 0
    seconds: float = 0.0
    now: str = ""
    since: float = 0.0

    @property
    def tasks_per_s(self) -> float:
        """Tasks per second of work, 0 before the first one ended."""
        return self.tasks / self.seconds if self.seconds else 0.0


def measure_workers(events: list[dict[str, Any]], stage: str, fingerprint: str) -> list[WorkerFigures]:
    """Return the figures of every worker since the stage was last begun."""
    mine = [e for e in events if e.get("stage") == stage and e.get("fingerprint") == fingerprint]
    # Events of earlier commands would mix old rates with those of the present workers.
    begins = [i for i, event in enumerate(mine) if event["event"] == "begin"]
    workers: dict[tuple[str, str], WorkerFigures] = {}
    for event in mine[begins[-1] :] if begins else mine:
        if event["event"] not in ("open", "start", "done"):
            continue
        # Numbers of workers may repeat on other hosts.
        key = (event["host"], event["who"])
        worker = workers.setdefault(key, WorkerFigures(event["who"], event["host"]))
        # The event `open` names no task, so that a worker that starts shows none.
        worker.now, worker.since = event.get("task", ""), event["time"]
        if event["event"] == "done":
            worker.tasks, worker.seconds, worker.now = worker.tasks + 1, worker.seconds + event["seconds"], ""
    return [workers[key] for key in sorted(workers)]


def work_seconds(events: list[dict[str, Any]], stage: str, fingerprint: str) -> float:
    """Return the seconds from every begin of a stage to what was last heard of it, 0 for one not begun.

    Hours between a stop and the command that went on are not counted.
    """
    mine = [e for e in events if e.get("stage") == stage and e.get("fingerprint") == fingerprint]
    seconds, began = 0.0, None
    for i, event in enumerate(mine):
        began = event["time"] if event["event"] == "begin" or began is None else began
        if i + 1 == len(mine) or mine[i + 1]["event"] == "begin":
            seconds, began = seconds + event["time"] - began, None
    return round(seconds, 3)


def _now_made(events: list[dict[str, Any]]) -> dict[str, str]:
    """Return the stage that was begun last and is not published, with its fingerprint."""
    last = [event for event in events if event["event"] in ("begin", "published")][-1:]
    return {event["stage"]: event["fingerprint"] for event in last if event["event"] == "begin"}


def status_lines(runner: Runner) -> list[str]:
    """Return the lines of `astro-dist status`."""
    owner, events = find_owner(runner.root), read_journal(runner.root)
    jobs: Queue = {}
    states = runner.states()
    try:
        jobs = queue_of(runner.root)
        idle = "jobs are in the queue" if jobs else _say_idle(states, events)
    except ConfigError as error:
        # The ledger and the journal are readable without Slurm.
        idle = f"nothing is running on this machine, and the queue cannot be read: {error}"
    # A lock that a job holds on its node may not show here; the queue shows the job.
    running = bool(owner) or any(row.state == "RUNNING" for rows in jobs.values() for row in rows)
    lines = [f"running: {owner}" if owner else "running: jobs" if running else idle]
    if not (owner or jobs) and any(state.status != "done" for state in states):
        lines += _last_lines(log_folder(runner.root))
    for state in states:
        if state.status == "todo" or (running and _is_replaced(runner, state, events)):
            lines += _stage_lines(runner, state, events, running)
        else:
            seconds = work_seconds(events, state.stage.name, state.fingerprint)
            took = f", {_duration(seconds)}" if state.status == "done" and seconds else ""
            lines.append(f"{state.stage.name:<12} {_say_status(runner, state)}{took}")
        names = [script_name(state.stage.name, shared) for shared in (True, False)]
        lines += [f"{INDENT}{line}" for name in names for line in _job_lines(jobs.get(name, []))]
    return lines + [f"{name}: {path}" for name, path in runner.results().items()]


def _say_idle(states: list[StageState], events: list[dict[str, Any]]) -> str:
    """Say of a run that nobody works on whether it is complete, and since when nothing has happened."""
    if all(state.status == "done" for state in states):
        return "complete: every stage is done"
    since = max((event["time"] for event in events), default=None)
    last = f" since {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(since))}" if since else ""
    return f"nothing is running here{last}; the same command goes on"


def status_facts(runner: Runner) -> dict[str, Any]:
    """Return the state of a run for programs: its owner, its stages with tasks and workers, its results."""
    owner, events = find_owner(runner.root), read_journal(runner.root)
    try:
        jobs: Queue | None = queue_of(runner.root)
    except ConfigError:
        jobs = None
    stages: list[dict[str, Any]] = []
    now = _now_made(events) if owner or jobs else {}
    for state in runner.states():
        done, total = _count_tasks(runner, state, events) if state.fingerprint else (0, 0)
        workers = measure_workers(events, state.stage.name, state.fingerprint) if owner or jobs else []
        # Queued jobs by the names of their sbatch files.
        names = [script_name(state.stage.name, shared) for shared in (True, False)]
        rows = [asdict(row) for name in names for row in (jobs or {}).get(name, [])]
        stages.append(
            {
                **{"stage": state.stage.name, "changes": state.changes},
                "status": "running" if now.get(state.stage.name) == state.fingerprint else state.status,
                **{"tasks_done": done, "tasks": total or None, "jobs": rows},
                "seconds": work_seconds(events, state.stage.name, state.fingerprint),
                "workers": [{**asdict(worker), "tasks_per_s": worker.tasks_per_s} for worker in workers],
            }
        )
    results = {name: str(path) for name, path in runner.results().items()}
    known = {"run": runner.root, "owner": owner, "queue_read": jobs is not None}
    seconds = round(sum(stage["seconds"] for stage in stages), 3)
    return {**known, "stages": stages, "seconds": seconds, "results": results}


def _say_status(runner: Runner, state: StageState) -> str:
    """Say where a stage stands that is neither missing nor being made."""
    published = runner.ledger.published(state.stage.name)
    if published is not None and published.is_doubted:
        doubted = " and ".join(
            name for name, digest in published.basis["inputs"].items() if digest == DAMAGED
        )
        return f"to be made again: {doubted} may have been damaged when it was read"
    if published is not None and state.status == "after":
        return "waits; stays as it is if its inputs come out with the same bytes"
    if state.changes and all(line.startswith("inputs.") for line in state.changes):
        names = " and ".join(line.removeprefix("inputs.").partition(":")[0] for line in state.changes)
        return f"to be made again: {names} has other bytes now"
    return WORDS[state.status]


def _job_lines(rows: list[Queued]) -> list[str]:
    """Return a line for each job and state, with the nodes, or why the job waits and its expected start."""
    groups: dict[tuple[str, str], list[Queued]] = {}
    for row in rows:
        # An array has a row for each running element; together they make one line.
        groups.setdefault((row.id, row.state), []).append(row)
    lines = []
    for (job, state), same in groups.items():
        several = ",".join(row.element for row in same if row.element != "N/A")
        where = ", ".join(sorted({row.nodes for row in same if row.nodes}))
        why = f"{same[0].reason}, expected {same[0].start}" if state == "PENDING" else where
        lines.append(f"job {job}{f'[{several}]' if several else ''} {state.lower()} ({why})")
    return lines


def _is_replaced(runner: Runner, state: StageState, events: list[dict[str, Any]]) -> bool:
    """Return whether the product of a stage is being made anew while the old product is still in place."""
    # A begun stage whose fingerprint is that of the present settings is being made; other begins are history.
    begins = [e for e in events if e["event"] == "begin" and e["stage"] == state.stage.name]
    if state.status == "after" or not begins or begins[-1]["fingerprint"] != state.fingerprint:
        return False
    done, total = _count_tasks(runner, state, events)
    return state.status == "changed" or done < total


def _count_tasks(runner: Runner, state: StageState, events: list[dict[str, Any]]) -> tuple[int, int]:
    """Return how many tasks of a stage are done, and how many are planned; 0 before the first plan."""
    # From the journal: a plan may open all maps of a run, which workers have done already.
    own = {"event": "tasks", "stage": state.stage.name, "fingerprint": state.fingerprint}
    planned = [event["tasks"] for event in events if own.items() <= event.items()]
    return len(runner.rounds(state).records.results()), planned[-1] if planned else 0


def _stage_lines(runner: Runner, state: StageState, events: list[dict[str, Any]], running: bool) -> list[str]:
    stage, (done, total) = state.stage, _count_tasks(runner, state, events)
    workers = measure_workers(events, stage.name, state.fingerprint) if running else []
    rate = sum(worker.tasks_per_s for worker in workers)
    text = f"{stage.name:<12} {done} of {total or '?'} tasks done"
    if not (running or done or total):
        return [f"{stage.name:<12} not begun"]
    if rate and total:
        text += f", {rate:.3g} per s, about {_duration((total - done) / rate)} left"
    lines = [text]
    for worker in workers:
        doing = f", {worker.now} for {_duration(time.time() - worker.since)}" if worker.now else ""
        speed = f" ({worker.tasks_per_s:.3g} per s)" if worker.tasks else ""
        lines.append(f"{INDENT}worker {worker.name} on {worker.host}: {worker.tasks} tasks{speed}{doing}")
    notes = read_progress(runner.root / "logs" / "progress", stage.name)
    return lines + [f"{INDENT}{_progress_text(note)}" for note in notes]


def _progress_text(note: dict[str, Any]) -> str:
    text = f"{note['task']}: {note['done']:g} of {note['total']:g}"
    if not note.get("per_s"):
        return text
    left_s = (note["total"] - note["done"]) / note["per_s"]
    return f"{text}, {note['per_s']:.3g} per s, about {_duration(left_s)} left"


def _last_lines(logs: Path) -> list[str]:
    """Return the last line of the newest log of a failed job, which may explain why no job is left."""
    for path in sorted(logs.glob("*.out"), key=lambda path: path.stat().st_mtime, reverse=True):
        lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
        # A command that succeeds ends its output with the event `end`.
        if lines and not lines[-1].startswith('{"event": "end"'):
            return [f"a job ended with: {lines[-1]} ({path.name})"]
    return []


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
