"""Reader processes that make the samples of coming steps, so that a training need not wait for them.

Threads would not do: a thread and the training would take turns on Python's lock at every operation. A reader
is started as `python -m astro_dist.train.ahead`, not by multiprocessing: the worker of a stage may be a
daemonic process, and daemonic processes may not use multiprocessing. A reader writes samples into memory that
the training shares. The memory has no name, so that nothing is left behind when either process is killed. A
sample is a function of its index, so that samples made by a reader and by the training are the same; when a
reader is lost, the training makes the samples itself.
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
from astro_dist.workers.processes import die_with_parent, module_command

BEGIN_S = 10.0
"""Age in seconds of a training that gets readers: starting a reader costs some seconds of a core."""
MOST_READERS = 4
"""Readers of a rank on a GPU, at most."""
SLOTS = 3
"""Steps in the memory of a reader: the step that is trained on and two later ones."""
ALIGNMENT = 64
"""Bytes to a multiple of which each array is padded; 64 is a cache line."""


@dataclass(frozen=True)
class Share:
    """The samples that one rank trains on in a step, split into parts that fit its memory.

    Attributes
    ----------
    data
        Samples with a method ``batch(first, count)``; picklable.
    batch_size
        Samples of a step over all ranks.
    first, count
        Position of this rank's share in the batch, and its length.
    part
        Samples per part.
    """

    data: Any
    batch_size: int
    first: int
    count: int
    part: int

    def __call__(self, step: int) -> list[Any]:
        """Return this rank's parts of the batch of a step."""
        first = step * self.batch_size + self.first
        return [self.data.batch(n, self.part) for n in range(first, first + self.count, self.part)]


def count_readers(device: str, threads: int, ranks_here: int) -> int:
    """Return the number of readers of a rank: only as many as there are cores that no rank computes on."""
    free = (count_cores() - threads * ranks_here) // ranks_here
    return max(0, min(free, 1 if device == "cpu" else MOST_READERS))


class ReadAhead:
    """The parts of each step, in order, made ahead by readers; a context manager that ends the readers.

    Parameters
    ----------
    share : Share
        The samples of a step.
    steps : range
        The steps that will be requested.
    readers : int
        Number of processes that make steps ahead of time, in turn; 0 for none.
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
        """Return the parts of a step; their arrays are overwritten after the next call."""
        parts = None
        try:
            if self.asked:
                expected, reader = self.asked.popleft()
                assert expected == step
                parts = reader.take()
            parts = parts or self.share(step)
            self._look_ahead(step, parts)
        except (OSError, EOFError):
            # A reader has ended. A training without readers is slower and has the same samples.
            self._dismiss()
            self.count = 0
        return parts or self.share(step)

    def _look_ahead(self, step: int, parts: list[Any]) -> None:
        if not self.count or (not self.readers and time.monotonic() - self.began_s < BEGIN_S):
            return
        if not self.readers:
            # All steps have arrays of the same shapes, so that this step's size is that of a slot.
            # Tensors and numbers are no buffers and come through the pipe; memory of no bytes is refused.
            size = max(ALIGNMENT, sum(_padded(buffer.nbytes) for buffer in _take_apart(parts)[1]))
            self.readers = [_Reader(self.share, size) for _ in range(self.count)]
        # A reader needs seconds to import; until all are ready, the training makes its own samples.
        if not all(reader.ready() for reader in self.readers):
            return
        # Each reader has a slot in use and `SLOTS` - 1 that it may fill.
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
    """The training's end of one reader process: its pipes and the memory that both share."""

    def __init__(self, share: Share, size: int) -> None:
        self.size, self.taken, self.started = size, 0, False
        handle = _open_memory(size * SLOTS)
        try:
            self.memory = memoryview(mmap.mmap(handle, size * SLOTS))
            command = module_command("astro_dist.train.ahead", str(handle), str(size))
            # Unbuffered, because `select` and `os.read` see nothing that waits in a buffer of Python.
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[handle], bufsize=0
            )
        finally:
            # The mapping and the child keep the memory.
            os.close(handle)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.given, self.answers = self.process.stdin.fileno(), self.process.stdout.fileno()
        _send(self.given, pickle.dumps(share))

    def ready(self) -> bool:
        """Return whether the process has started, without waiting for it."""
        if not self.started and select.select([self.answers], [], [], 0)[0]:
            self.started = _receive(self.answers) == b"ready"
        return self.started

    def ask(self, step: int) -> None:
        """Request a step; at most two requested steps may wait for `take`, as more would overwrite a slot."""
        _send(self.given, str(step).encode())

    def take(self) -> list[Any]:
        """Return the parts of the step that was requested first among those not taken."""
        # Both processes count steps modulo `SLOTS`; as steps are made and taken in one order, slots agree.
        start, buffers = self.taken % SLOTS * self.size, []
        self.taken += 1
        skeleton, sizes = pickle.loads(_receive(self.answers))
        for size in sizes:
            buffers.append(self.memory[start : start + size])
            start += _padded(size)
        return list(pickle.loads(skeleton, buffers=buffers))

    def end(self) -> None:
        """Kill the process. The shared memory is freed with the last array that refers to it."""
        self.process.kill()
        self.process.communicate()


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _take_apart(parts: list[Any]) -> tuple[bytes, list[memoryview]]:
    """Return the pickled parts without the bytes of their arrays, and those bytes apart."""
    buffers: list[pickle.PickleBuffer] = []
    skeleton = pickle.dumps(parts, protocol=5, buffer_callback=buffers.append)
    return skeleton, [buffer.raw() for buffer in buffers]


def _open_memory(size: int) -> int:
    """Return the descriptor of a file without a name, in memory on Linux, else in the temporary folder."""
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
        # A write that a signal interrupts may have written a part only.
        data = data[os.write(pipe, data) :]


def _receive(pipe: int) -> bytes:
    """Return the next message; raise EOFError when the other process has closed the pipe."""
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
    """Make requested steps until the pipe closes; the main function of a reader process."""
    die_with_parent()
    # Ctrl-C and Slurm's SIGTERM reach every process of a group. The training still needs samples until its
    # next checkpoint, so that readers ignore both and are killed by the training.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    given, answers = 0, 1
    memory = memoryview(mmap.mmap(handle, size * SLOTS))
    share = pickle.loads(_receive(given))
    _send(answers, b"ready")
    for turn in itertools.count():
        skeleton, buffers = _take_apart(share(int(_receive(given))))
        start = turn % SLOTS * size
        for buffer in buffers:
            memory[start : start + buffer.nbytes] = buffer
            start += _padded(buffer.nbytes)
        # Sent after the bytes are in the slot, because the answer is what makes the training read them.
        _send(answers, pickle.dumps((skeleton, [buffer.nbytes for buffer in buffers])))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
