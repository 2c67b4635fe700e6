"""A build that is killed holds nobody up, and one that lives is left alone."""

import contextlib
import os
import signal
import subprocess
import sys
import threading

import pytest

from astro_dist.train.extensions import FOLDER, build_folder, own_folder
from tests.waiting import wait_until

BUILD = [sys.executable, "-c", "from astro_dist.train.extensions import build_extensions as b; b()"]
HOLD = """
import fcntl, sys, time
guard = open(sys.argv[1], "w")
fcntl.flock(guard, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def builds(tmp_path, monkeypatch):
    """Our folder below a cache folder of the test, with what a killed build has left in it."""
    monkeypatch.setenv(FOLDER, str(tmp_path))
    folder = own_folder()
    for name in ("killed/lock", "killed/half.o", "whole/whole.so"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_what_a_killed_build_left_is_removed_and_nothing_else(builds, tmp_path):
    foreign = tmp_path / "py311_cpu" / "killed" / "lock"
    foreign.parent.mkdir(parents=True)
    foreign.touch()
    with build_folder() as folder:
        assert os.environ[FOLDER] == str(folder) == str(builds)
        assert not (folder / "killed").exists()
    assert os.environ[FOLDER] == str(tmp_path)
    assert (builds / "whole" / "whole.so").exists()
    assert foreign.exists()


def test_a_living_build_is_waited_for_until_it_ends_or_is_killed(builds):
    def build():
        with build_folder():
            done.set()

    holder = subprocess.Popen([sys.executable, "-c", HOLD, builds / ".building"], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    done, waiting = threading.Event(), threading.Thread(target=build)
    waiting.start()
    assert not done.wait(0.3)
    assert (builds / "killed" / "lock").exists()
    holder.kill()
    waiting.join()
    holder.communicate()
    assert done.is_set()
    assert not (builds / "killed").exists()


@pytest.mark.soak
def test_a_build_after_a_killed_build_is_whole(tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER, str(tmp_path))
    lock = own_folder() / "deepspeed_shm_comm" / "lock"
    # Its compilers live on, as after a kill for memory.
    first = subprocess.Popen(BUILD, start_new_session=True)
    try:
        wait_until(lock.exists, first)
        first.kill()
        first.wait()
        assert lock.exists()
        subprocess.run(BUILD, check=True)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(first.pid, signal.SIGKILL)
    assert lock.with_name("deepspeed_shm_comm.so").exists()
    assert not lock.exists()
