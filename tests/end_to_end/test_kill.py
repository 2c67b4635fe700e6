import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.end_to_end.conftest import ROOT, call, stable_digests


def published_tasks(out):
    return {str(p) for p in (Path(out) / "ledger").glob("*/*/*.json")}


def disturb(out, rounds, chance, longest_s):
    """Start the run again and again, and kill a worker, the driver or the whole group at random."""
    line = call("run", "--out", out, "--workers", 2)
    for _ in range(rounds):
        driver = subprocess.Popen(
            line, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(chance.uniform(1.0, longest_s))
        before = published_tasks(out)
        if driver.poll() is None:
            children = psutil.Process(driver.pid).children(recursive=True)
            if children and chance.random() < 0.4:
                os.kill(chance.choice(children).pid, signal.SIGKILL)
                time.sleep(chance.uniform(0.0, 2.0))
            if chance.random() < 0.5:
                os.killpg(driver.pid, signal.SIGKILL)
            driver.kill()
        driver.wait()
        assert before <= published_tasks(out)
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr


def test_killed_runs_end_with_the_same_bytes(toy_run, tmp_path):
    reference, _ = toy_run
    disturb(tmp_path / "run", 6, random.Random(1), 14.0)
    assert stable_digests(tmp_path / "run") == stable_digests(reference)
    assert not [p for p in (tmp_path / "run").rglob("*.part") if "logs" not in p.parts]


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_fifty_killed_runs_end_with_the_same_bytes(toy_run, tmp_path):
    reference, _ = toy_run
    disturb(tmp_path / "run", 50, random.Random(2), 25.0)
    assert stable_digests(tmp_path / "run") == stable_digests(reference)


def test_ctrl_c_stops_cleanly_with_75(tmp_path):
    line = call("run", "--out", tmp_path / "run")
    driver = subprocess.Popen(line, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    while not published_tasks(tmp_path / "run"):
        time.sleep(0.1)
        assert driver.poll() is None
    driver.send_signal(signal.SIGINT)
    _, errors = driver.communicate(timeout=15)
    assert driver.returncode == 75
    assert errors.splitlines()[-1] == "astro-dist: stopped on request; run the same command to go on"
    assert all(json.loads(text) for text in errors.splitlines()[:-1])
