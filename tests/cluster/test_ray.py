import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from astro_dist.cluster.ray import PREFIX
from astro_dist.cluster.resources import Machine, choose_machine
from astro_dist.errors import ConfigError
from astro_dist.files import tree_digests
from astro_dist.work import MachineConfig
from tests.toys import SHARDS, execute, toy_pipeline


def leftovers():
    return [p for p in Path(tempfile.gettempdir()).glob(f"{PREFIX}*")]


def test_two_fake_gpus_give_two_actors_with_one_gpu_each_and_the_serial_bytes(tmp_path):
    execute(tmp_path / "serial", {"machine": {"executor": "serial"}})
    machine = {"executor": "ray", "gpus": 2, "fake_gpus": True}
    code = (
        "import sys\nfrom tests.toys import execute\n"
        f"execute({str(tmp_path / 'ray')!r}, {{'machine': {machine!r}, 'shards': {{'pause_s': 0.05}}}})\n"
    )
    before = leftovers()
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert all(line.startswith("{") for line in done.stderr.splitlines()), done.stderr
    assert tree_digests(tmp_path / "ray/shards") == tree_digests(tmp_path / "serial/shards")
    pipeline = toy_pipeline(tmp_path / "ray")
    logs = pipeline.ledger.logs("shards", next((tmp_path / "ray/ledger/shards").iterdir()).name)
    held = {tuple(log["gpus"]) for log in logs}
    assert held == {(0,), (1,)}
    assert len({log["pid"] for log in logs}) == 2
    assert set(leftovers()) <= set(before)
    assert not [
        p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or [])
    ]


def test_killed_driver_and_killed_actor_are_survived(tmp_path):
    execute(tmp_path / "serial", {"machine": {"executor": "serial"}})
    call = [sys.executable, "-m", "tests.toys", str(tmp_path / "ray"), "ray", "2"]
    driver = subprocess.Popen(call, stderr=subprocess.DEVNULL)
    while not list((tmp_path / "ray/ledger").glob("shards/*/*.json")):
        time.sleep(0.1)
    actors = [
        p for p in psutil.Process(driver.pid).children(recursive=True) if "Actor" in " ".join(p.cmdline())
    ]
    assert actors
    os.kill(actors[0].pid, 9)
    time.sleep(0.3)
    driver.kill()
    driver.wait()
    assert subprocess.run(call, stderr=subprocess.DEVNULL, timeout=300, check=False).returncode == 0
    assert tree_digests(tmp_path / "ray/shards") == tree_digests(tmp_path / "serial/shards")


def test_workers_follow_gpus_then_cores():
    run = toy_pipeline("/nonexistent").run
    assert Machine(cores=8, gpus=2, workers=None).workers_for(SHARDS, run) == 2
    assert Machine(cores=8, gpus=0, workers=None).workers_for(SHARDS, run) == 8
    assert Machine(cores=8, gpus=2, workers=3).workers_for(SHARDS, run) == 3


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"gpus": 99}, r"machine.gpus: 99 asked for and \d+ found"),
        ({"gpus": -1}, "not a number of GPUs"),
        ({"workers": 0}, "0 workers can do nothing"),
        ({"executor": "slurm"}, "choose serial, processes or ray"),
    ],
)
def test_impossible_machines_are_refused(settings, line):
    with pytest.raises(ConfigError, match=line):
        choose_machine(MachineConfig(**settings))
