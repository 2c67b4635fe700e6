"""The stage `package`: its bytes depend on no worker, executor or kill, and half a package is never seen."""

import importlib.util
import os
import random
import shutil
import signal

import pytest

from astro_dist.challenge.about import verify_package
from tests.end_to_end.conftest import stable_digests
from tests.end_to_end.test_kill import disturb_stage, finish, stage_line, start, wait_for

HIPS = all(importlib.util.find_spec(name) for name in ("reproject", "mocpy"))
"""Whether tiles can be made too: their packages are an extra."""
PACKAGED = {
    "challenge.enabled": True,
    "challenge.tile_pix": 128,
    "challenge.hips": HIPS,
    "challenge.training_share": 0.02,
}


@pytest.fixture(scope="module")
def packaged(toy_run, tmp_path_factory):
    """The toy run with a package that one process made."""
    out = tmp_path_factory.mktemp("packaged") / "run"
    shutil.copytree(toy_run[0], out)
    finish(stage_line("package", out, "serial", PACKAGED))
    assert verify_package(out / "challenge") == []
    tiles = [n for n in stable_digests(out)["challenge"] if n.startswith("public/hips/Norder")]
    assert (len(tiles) > 8) == HIPS
    return out


@pytest.mark.soak
@pytest.mark.parametrize(("executor", "workers"), [("processes", 1), ("processes", 2), ("ray", 2)])
def test_no_byte_depends_on_workers_and_executor(toy_run, packaged, tmp_path, executor, workers):
    out = tmp_path / "run"
    shutil.copytree(toy_run[0], out)
    finish(stage_line("package", out, executor, PACKAGED, "--workers", workers))
    assert stable_digests(out) == stable_digests(packaged)


def kill_while_it_is_made(toy_run, packaged, out, times, chance):
    """Kill driver and four workers while they write; nothing is seen until all of it is there."""
    line = stage_line("package", out, "processes", PACKAGED, "--workers", 4)
    shutil.copytree(toy_run[0], out)
    for _ in range(times):
        driver = start(line)
        wait_for(out, "package", driver, working=chance.random() < 0.7)
        if driver.poll() is None:
            os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
        if (out / "challenge").exists():
            # The last worker may be done before the kill comes.
            assert verify_package(out / "challenge") == []
    finish(line)
    assert stable_digests(out) == stable_digests(packaged)
    assert not [p for p in out.rglob("*.part") if "logs" not in p.parts]


def test_a_killed_package_is_whole_or_not_there(toy_run, packaged, tmp_path):
    kill_while_it_is_made(toy_run, packaged, tmp_path / "run", 1, random.Random(7))


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_forty_killed_packages_are_whole_or_not_there(toy_run, packaged, tmp_path):
    kill_while_it_is_made(toy_run, packaged, tmp_path / "run", 40, random.Random(8))


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("executor", ["processes", "ray"])
def test_fifty_kills_of_package(packaged, tmp_path, executor):
    out = tmp_path / "run"
    shutil.copytree(packaged, out)
    disturb_stage(out, "package", executor, 50, random.Random(9), PACKAGED)
