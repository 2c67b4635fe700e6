"""Makes the samples of coming steps in processes of its own, so that a training need not wait for them.

A thread would take turns with the training for Python's lock at every operation, and stall it. A reader is
`python -m astro_dist.train.ahead`: the worker of a stage may be a daemonic process, which may not use
multiprocessing itself. What it is asked for it puts into memory that it shares with the training and that
has no name, so nothing is left of it whoever is killed. A sample is a function of its index, so whether a
reader or the training itself makes it changes nothing; where a reader is lost, the training does.
"""

import itertools
import mmap
import os
import pickle
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Self

from astro_dist.workers.machine import count_cores
from astro_dist.workers.processes import die_with_parent

BEGIN_S = 10.0
"""A training that has lasted less has no reader: to start one costs some seconds of a core."""
MOST_READERS = 4
SLOTS = 3
"""Steps a reader holds: one that is trained on, two to come."""
ALIGNMENT = 64


@dataclass(frozen=True)
class Share:
    """What one rank is to read for a step: its part of the batch, in parts.

    ``data`` has a method ``batch(first, count)`` and pickles.
    """

    data: Any
    batch_size: int
    first: int
    count: int
    part: int

    def __call__(self, step: int) -> list[Any]:
        """Return the parts of a step's batch."""
        first = step * self.batch_size + self.first
        return [self.data.batch(n, self.part) for n in range(first, first + self.count, self.part)]


def count_readers(device: str, threads: int, ranks_here: int) -> int:
    """Return how many readers a rank may have on cores that nothing else needs."""
    free = (count_cores() - threads * ranks_here) // ranks_here
    return max(0, min(free, 1 if device == "cpu" else MOST_READERS))


class ReadAhead:
    """Returns the parts of steps, in order; use it as a context manager.

    Parameters
    ----------
    share : Share
        What a step needs.
    steps : range
        The steps that it will be asked for.
    readers : int
        How many processes make them ahead of time, taking turns; 0 for none.
    """

    def __init__(self, share: Share, steps: range, readers: int) -> None:
        self.share, self.steps, self.count = share, steps, readers
        self.began_s = time.monotonic()
        self.readers: list[_Reader] = []
        self.asked: deque[tuple[int, _Reader]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._dismiss()

    def __call__(self, step: int) -> list[Any]:
        """Return the parts of a step; they hold until the next one is asked for."""
        parts = None
        try:
            if self.asked:
                expected, reader = self.asked.popleft()
                assert expected == step
                parts = reader.take()
            parts = parts or self.share(step)
            self._look_ahead(step, parts)
        except (OSError, EOFError):
            self._dismiss()
            self.count = 0
        return parts or self.share(step)

    def _look_ahead(self, step: int, parts: list[Any]) -> None:
        if not self.count or (not self.readers and time.monotonic() - self.began_s < BEGIN_S):
            return
        if not self.readers:
            size = sum(_padded(buffer.nbytes) for buffer in _take_apart(parts)[1])
            self.readers = [_Reader(self.share, size) for _ in range(self.count)]
        if not all(reader.ready() for reader in self.readers):
            return
        for later in range(step + 1, min(step + len(self.readers) * (SLOTS - 1) + 1, self.steps.stop)):
            if not self.asked or later > self.asked[-1][0]:
                reader = self.readers[later % len(self.readers)]
                reader.ask(later)
                self.asked.append((later, reader))

    def _dismiss(self) -> None:
        self.asked.clear()
        while self.readers:
            self.readers.pop().end()


class _Reader:
    """One process that makes samples, and the memory they come in."""

    def __init__(self, share: Share, size: int) -> None:
        self.size, self.taken, self.heard = size, 0, False
        handle = _open_memory(size * SLOTS)
        try:
            self.memory = memoryview(mmap.mmap(handle, size * SLOTS))
            command = [sys.executable, "-m", "astro_dist.train.ahead", str(handle), str(size)]
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[handle], bufsize=0
            )
        finally:
            os.close(handle)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.given, self.answers = self.process.stdin.fileno(), self.process.stdout.fileno()
        _send(self.given, pickle.dumps(share))

    def ready(self) -> bool:
        """Tell whether the process has come up, without waiting for it."""
        if not self.heard and select.select([self.answers], [], [], 0)[0]:
            self.heard = _receive(self.answers) == b"ready"
        return self.heard

    def ask(self, step: int) -> None:
        """Have a step made; at most two that were not taken."""
        _send(self.given, str(step).encode())

    def take(self) -> list[Any]:
        """Return the parts of the step that was asked for longest ago."""
        start, buffers = self.taken % SLOTS * self.size, []
        self.taken += 1
        skeleton, sizes = pickle.loads(_receive(self.answers))
        for size in sizes:
            buffers.append(self.memory[start : start + size])
            start += _padded(size)
        return list(pickle.loads(skeleton, buffers=buffers))

    def end(self) -> None:
        """Kill the process; its memory goes with the last who looks at it."""
        self.process.kill()
        self.process.communicate()


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _take_apart(parts: list[Any]) -> tuple[bytes, list[memoryview]]:
    """Return parts without their arrays, and the bytes of those."""
    buffers: list[pickle.PickleBuffer] = []
    skeleton = pickle.dumps(parts, protocol=5, buffer_callback=buffers.append)
    return skeleton, [buffer.raw() for buffer in buffers]


def _open_memory(size: int) -> int:
    """Return a file without a name, in memory where there are such files."""
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("samples")
    else:
        with tempfile.TemporaryFile() as file:
            handle = os.dup(file.fileno())
    os.ftruncate(handle, size)
    return handle


def _send(pipe: int, message: bytes) -> None:
    data = memoryview(len(message).to_bytes(8, "big") + message)
    while data:
        data = data[os.write(pipe, data) :]


def _receive(pipe: int) -> bytes:
    """Return the next message; raise EOFError when the other side is gone."""
    return _read(pipe, int.from_bytes(_read(pipe, 8), "big"))


def _read(pipe: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = os.read(pipe, size - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def main(handle: int, size: int) -> None:
    """Live as a reader: make what is asked for until nobody is left to ask."""
    die_with_parent()
    # What Ctrl-C means is for the training to say.
    for number in (signal.SIGINT, signal.SIGTERM):
        # Whoever reads from it decides when it ends.
        signal.signal(number, signal.SIG_IGN)
    given, answers = 0, 1
    memory = memoryview(mmap.mmap(handle, size * SLOTS))
    share = pickle.loads(_receive(given))
    _send(answers, b"ready")
    for number in itertools.count():
        skeleton, buffers = _take_apart(share(int(_receive(given))))
        start = number % SLOTS * size
        for buffer in buffers:
            memory[start : start + buffer.nbytes] = buffer
            start += _padded(buffer.nbytes)
        _send(answers, pickle.dumps((skeleton, [buffer.nbytes for buffer in buffers])))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
