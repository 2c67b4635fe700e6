"""SIGKILL at random moments, inside saves too: the weights are those of an undisturbed training."""

import itertools
import multiprocessing
import random
import time

import pytest

from astro_dist.train.checkpoint import checkpoint_folder
from astro_dist.train.ranks import free_port
from tests.train import pair

SOAK = pytest.mark.soak
STEPS = 60


@pytest.fixture(scope="module")
def processes():
    """A context whose processes start with everything imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.train.pair"])
    return context


@pytest.fixture
def start(processes):
    """Starts the ranks of a training; none outlives the test."""
    everyone = []

    def begin(root, settings):
        ranks, port = settings.get("ranks", 1), free_port()
        whole = {"steps": STEPS, **settings}
        started = [
            processes.Process(target=pair.fit_as_rank, args=(str(root), rank, port), kwargs=whole)
            for rank in range(ranks)
        ]
        everyone.extend(started)
        for process in started:
            process.start()
        return started

    yield begin
    for process in everyone:
        process.kill()
        process.join()


def finish(started):
    for process in started:
        process.join()
    assert [process.exitcode for process in started] == [0] * len(started)


def newest_step(folder):
    return max((int(path.name.removeprefix("step-")) for path in folder.glob("step-*")), default=0)


def kill_at(started, folder, step, rng):
    """Kill all ranks a moment after a checkpoint of ``step``; return whether a save was under way."""
    while newest_step(folder) < step and any(process.is_alive() for process in started):
        time.sleep(0.001)
    time.sleep(rng.uniform(0, 0.02))
    for process in rng.sample(started, len(started)):
        process.kill()
    inside = any(folder.glob(".step-*.part"))
    for process in started:
        process.join()
    return inside


@pytest.mark.parametrize(
    ("kills", "settings"),
    [
        (3, {}),
        pytest.param(20, {}, marks=SOAK),
        pytest.param(20, {"ranks": 2}, marks=SOAK),
        pytest.param(20, {"ranks": 2, "strategy": "zero2"}, marks=SOAK),
    ],
)
def test_kills_at_random_moments_change_nothing(start, tmp_path, kills, settings):
    whole, rng, inside = tmp_path / "whole", random.Random(kills), 0
    finish(start(whole, settings))
    for attempt in itertools.count():
        broken = tmp_path / f"broken-{attempt}"
        folder = checkpoint_folder(pair.toy_cell(broken, steps=STEPS, **settings))
        for kill in range(kills):
            at = (kill + rng.random()) * (STEPS - 2) / kills
            inside += kill_at(start(broken, settings), folder, at, rng)
        # On a busy machine the last kill may come after the last step, and shows nothing.
        if newest_step(folder) < STEPS:
            break
    finish(start(broken, settings))
    assert pair.summary(broken) == pair.summary(whole)
    assert not any(folder.glob(".step-*"))
    if kills > 10:
        assert inside > 0
