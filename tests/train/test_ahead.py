"""Readers ahead of a training give the training's own samples, and a lost reader does no harm."""

from dataclasses import dataclass, field

import numpy as np
import psutil
import pytest
import torch

from astro_dist.train import ahead
from astro_dist.train.ahead import ReadAhead, Share, count_readers
from tests.waiting import wait_until


@dataclass(frozen=True)
class Samples:
    """A batch with arrays of several types."""

    image: np.ndarray
    mask: np.ndarray
    number: int


@dataclass
class Numbers:
    """Data whose samples hold their index."""

    made: list = field(default_factory=list)

    def __getstate__(self):
        return {"made": []}

    def batch(self, first, count):
        self.made.append(first)
        image = np.arange(first, first + count, dtype=np.float32)[:, None] * np.ones(5, np.float32)
        return Samples(image, (image[:, 0] % 256).astype(np.uint8), first)


@pytest.fixture
def share(monkeypatch):
    monkeypatch.setattr(ahead, "BEGIN_S", 0.0)
    return Share(Numbers(), batch_size=12, first=6, count=6, part=3)


def check(parts, step):
    assert [part.number for part in parts] == [12 * step + 6, 12 * step + 9]
    for part in parts:
        assert np.array_equal(part.image[:, 4], np.arange(part.number, part.number + 3, dtype=np.float32))
        assert np.array_equal(part.mask, np.arange(part.number, part.number + 3) % 256)
        assert part.image.flags.writeable


def read_until_ahead(read, steps):
    """Read two steps, with readers up at the second one; return the next step, which a reader makes."""
    check(read(steps[0]), steps[0])
    wait_until(lambda: read.readers and all(reader.ready() for reader in read.readers))
    check(read(steps[1]), steps[1])
    return steps[2]


class Tensors:
    """Data whose samples are tensors, which are no arrays."""

    def batch(self, first, count):
        return torch.arange(first, first + count)


def test_samples_without_arrays_are_read_ahead_too(monkeypatch):
    monkeypatch.setattr(ahead, "BEGIN_S", 0.0)
    share = Share(Tensors(), batch_size=4, first=0, count=4, part=4)
    with ReadAhead(share, range(2000), 1) as read:
        read(0)
        wait_until(lambda: read.readers[0].ready())
        # The second is made here, and asks the reader for the third.
        assert [read(step)[0].tolist() for step in (1, 2)] == [[4, 5, 6, 7], [8, 9, 10, 11]]


@pytest.mark.parametrize("readers", [1, 2])
def test_readers_give_what_the_training_would_make(share, readers):
    steps = range(40, 2000)
    with ReadAhead(share, steps, readers) as read:
        step = read_until_ahead(read, steps)
        for later in range(step, step + 20):
            check(read(later), later)
        assert len(share.data.made) == 2 * (step - 40)
        processes = [psutil.Process(reader.process.pid) for reader in read.readers]
        assert len(processes) == readers
    assert not any(process.is_running() for process in processes)


def test_the_last_step_is_the_last_that_is_made(share):
    steps = range(60)
    with ReadAhead(share, steps, 1) as read:
        for later in range(read_until_ahead(read, steps), 60):
            check(read(later), later)
        assert not read.asked


def test_a_killed_reader_does_no_harm(share):
    steps = range(2000)
    with ReadAhead(share, steps, 2) as read:
        step = read_until_ahead(read, steps)
        read.readers[0].process.kill()
        for later in range(step, step + 8):
            check(read(later), later)
        assert not read.readers


def test_a_short_training_has_no_reader(monkeypatch):
    share = Share(Numbers(), 4, 0, 4, 4)
    with ReadAhead(share, range(5), 1) as read:
        for step in range(5):
            assert len(read(step)) == 1
        assert not read.readers
    assert share.data.made == [0, 4, 8, 12, 16]


def test_readers_take_only_cores_that_are_free(monkeypatch):
    monkeypatch.setattr(ahead, "count_cores", lambda: 8)
    assert count_readers("cpu", 2, 1) == 1
    assert count_readers("cpu", 8, 1) == 0
    assert count_readers("cpu", 4, 2) == 0
    assert count_readers("cuda", 2, 1) == 4
    assert count_readers("cuda", 2, 2) == 2
