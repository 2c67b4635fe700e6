"""The journal of a run, for people and tests: one growing file of JSON lines per worker.

No result depends on the journal. A line is appended in one write, so that a kill loses at most one line.
"""

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

TEXTS = ("event", "host", "who", "stage", "fingerprint")
"""Texts that every event has."""


class Journal:
    """The file of a run directory to which one worker, or the driver, appends events."""

    def __init__(self, root: Path, who: str) -> None:
        # The host is part of the name: NFS has no atomic append, so two hosts must not write to one file.
        self.path = root / "logs" / "journal" / f"{os.uname().nodename}-{who}.jsonl"
        self.facts = {"host": os.uname().nodename, "pid": os.getpid(), "who": who}

    def note(self, event: str, **facts: Any) -> None:
        """Append one event with the time; disk errors are ignored, the writing of results raises them."""
        # Wall-clock time, because events of several hosts are put in one order.
        line = json.dumps({"event": event, "time": round(time.time(), 3), **self.facts, **facts}) + "\n"
        with contextlib.suppress(OSError):
            # The run directory itself is not made: a lost mount must not be covered by a new folder.
            for folder in (self.path.parent.parent, self.path.parent):
                folder.mkdir(exist_ok=True)
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666)
            try:
                # One `os.write`, not a buffered file, which may split a line into two writes.
                os.write(handle, line.encode())
            finally:
                os.close(handle)


def read_journal(root: Path) -> list[dict[str, Any]]:
    """Return the events of all workers in the order of their clocks; torn and damaged lines are left out."""
    events = []
    for path in sorted(p for p in (root / "logs" / "journal").glob("*.jsonl") if p.is_file()):
        for line in path.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError, RecursionError):
                event = json.loads(line)
                if _is_event(event):
                    events.append(event)
    return sorted(events, key=lambda event: event["time"])


def _is_event(value: Any) -> bool:
    """Return whether a value has what readers of the journal ask for."""
    if not isinstance(value, dict) or not all(isinstance(value.get(name), str) for name in TEXTS):
        return False
    numbers = ("time", "seconds") if value["event"] == "done" else ("time",)
    return all(is_finite(value.get(name)) for name in numbers) and isinstance(value.get("task") or "", str)


def is_finite(value: Any) -> bool:
    """Return whether a value of JSON is a finite number."""
    # Whole numbers of JSON may have hundreds of digits, which no float holds.
    return isinstance(value, int | float) and abs(value) < 1e300
