import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from astro_dist.engine.config import validate
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import tree_digests
from astro_dist.engine.journal import read_journal
from astro_dist.engine.work import MachineConfig
from astro_dist.workers.machine import Machine, choose_machine
from astro_dist.workers.ray import RayExecutor
from astro_dist.workers.ray_leftovers import (
    PREFIX,
    find_processes,
    make_folder,
    remove_cluster,
    short_folder,
    sweep_clusters,
)
from tests import waiting
from tests.toys import SHARDS, execute, toy_runner
from tests.waiting import records_of, wait_until


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Digests of the undisturbed serial run."""
    root = tmp_path_factory.mktemp("serial")
    execute(root, {"machine": {"executor": "serial"}})
    return tree_digests(root / "shards")


def folders_of(pid):
    return list(short_folder().glob(f"{PREFIX}{pid}-*"))


def start(root, pause_s=0.4):
    """Start a run from a folder with a `numpy.py`, which no process of the run may import."""
    settings = json.dumps({"shards": {"pause_s": pause_s}})
    call = [sys.executable, "-P", "-m", "tests.toys", str(root), "ray", "2", settings]
    here = root.with_name(f"{root.name}-here")
    here.mkdir(exist_ok=True)
    (here / "numpy.py").write_text("raise ImportError('the numpy of the current folder')")
    there = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return waiting.start(call, stderr=subprocess.PIPE, text=True, cwd=here, env=there)


def victims(driver, name):
    """Return the processes of that name below the driver."""
    found = []
    for process in psutil.Process(driver).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if name in process.name():
                found.append(process)
    return found


def test_two_fake_gpus_give_two_actors_with_one_gpu_each_and_the_serial_bytes(tmp_path, reference):
    machine = {"executor": "ray", "gpus": 2, "fake_gpus": True}
    execute(tmp_path, {"machine": machine, "shards": {"pause_s": 0.05}})
    assert tree_digests(tmp_path / "shards") == reference
    runner = toy_runner(tmp_path)
    logs = runner.ledger.records("shards", next((tmp_path / "ledger/shards").iterdir()).name).logs()
    assert {tuple(log["gpus"]) for log in logs} == {(0,), (1,)}
    assert len({log["pid"] for log in logs}) == 2
    assert not folders_of(os.getpid())


def test_a_clean_end_leaves_no_process_and_no_file_and_may_be_followed_by_another(tmp_path):
    for _ in range(2):
        with RayExecutor(Machine(cores=1, gpus=0, workers=1), tmp_path / "ray.log") as executor:
            folder = executor.folder
            assert (folder / "token").stat().st_mode & 0o777 == 0o600
            assert folder.stat().st_mode & 0o777 == 0o700
            processes = psutil.Process(executor.process.pid).children(recursive=True)
            names = {process.name() for process in processes}
            assert {"gcs_server", "raylet"} <= names
        assert not folder.exists()
        assert not [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def test_whatever_is_killed_the_run_goes_on_and_a_killed_driver_takes_its_cluster_along(tmp_path, reference):
    driver = start(tmp_path)
    for i, name in enumerate(("ray::Actor", "raylet")):
        wait_until(lambda i=i: len(records_of(tmp_path)) > 3 * i, driver)
        wait_until(lambda name=name: victims(driver.pid, name), driver)[0].kill()
    wait_until(lambda: len(records_of(tmp_path)) >= 7, driver)
    (folder,) = folders_of(driver.pid)
    driver.kill()
    _, errors = driver.communicate()
    assert driver.returncode == -9, errors
    wait_until(lambda: not folder.exists() and not find_processes(folder))
    again = start(tmp_path)
    _, errors = again.communicate()
    assert again.returncode == 0, errors
    assert tree_digests(tmp_path / "shards") == reference
    starts = [e["task"] for e in read_journal(tmp_path) if e["event"] == "start" and e["stage"] == "shards"]
    assert len(starts) - len(set(starts)) <= 1 + 2 * 2


def test_what_a_killed_driver_and_foreman_left_is_swept_at_the_next_start():
    code = "import signal; signal.pause()"
    dead = waiting.start([sys.executable, "-c", "pass"])
    dead.wait()
    mine = make_folder()
    orphaned = mine.with_name(mine.name.replace(str(os.getpid()), str(dead.pid)))
    mine.rename(orphaned)
    environment = {**os.environ, "RAY_AUTH_TOKEN_PATH": str(orphaned / "token")}
    left = waiting.start([sys.executable, "-c", code], env=environment)
    wait_until(lambda: [p.pid for p in find_processes(orphaned)] == [left.pid], left)
    used = make_folder()
    foreign = mine.with_name(f"astro_dist-{dead.pid}")
    foreign.mkdir()
    sweep_clusters()
    left.wait()
    assert not orphaned.exists()
    foreign.rmdir()
    assert used.exists()
    remove_cluster(used)
    assert not used.exists()


@pytest.mark.parametrize("starts", [1, pytest.param(10, marks=pytest.mark.soak)])
def test_two_clusters_side_by_side_do_not_mix(tmp_path, reference, starts):
    for i in range(starts):
        roots = [tmp_path / f"{side}{i}" for side in "ab"]
        drivers = [start(root, pause_s=0.0) for root in roots]
        for driver in drivers:
            _, errors = driver.communicate()
            assert driver.returncode == 0, errors
            assert not folders_of(driver.pid)
        nodes = []
        for root in roots:
            assert tree_digests(root / "shards") == reference
            logs = [json.loads(p.read_text())["log"] for p in root.glob("ledger/shards/*/[!.]*.json")]
            nodes.append({log["node"] for log in logs})
        assert len(nodes[0]) == len(nodes[1]) == 1
        assert nodes[0] != nodes[1]


@pytest.mark.soak
def test_an_actor_that_hangs_is_replaced(tmp_path, reference):
    machine = {"executor": "ray", "workers": 2, "task_limit_s": 5}
    execute(tmp_path, {"machine": machine, "shards": {"hang_once": 3}})
    assert tree_digests(tmp_path / "shards") == reference
    (lost,) = [event for event in read_journal(tmp_path) if event["event"] == "lost"]
    assert lost["task"] == "shard-003"


def test_a_wrong_address_is_one_clear_line(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    machine = {"executor": "ray", "ray_address": "127.0.0.1:1"}
    with pytest.raises(ConfigError, match=r"cannot use the Ray cluster at 127.0.0.1:1: .*refused; is it up"):
        execute(tmp_path, {"machine": machine})


def test_without_ray_the_package_is_named_at_once(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['ray'] = None\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ConfigError, match="this needs ray, which is not installed"):
        execute(tmp_path / "run", {"machine": {"executor": "ray"}})


def test_workers_follow_gpus_then_cores():
    run = toy_runner("/nonexistent").run
    assert Machine(cores=8, gpus=2, workers=None).workers_for(SHARDS, run) == 2
    assert Machine(cores=8, gpus=0, workers=None).workers_for(SHARDS, run) == 8
    assert Machine(cores=8, gpus=2, workers=3).workers_for(SHARDS, run) == 3
    assert Machine(cores=8, gpus=2, workers=None, gpus_per_worker=0.3).workers_for(SHARDS, run) == 6


@pytest.mark.parametrize(
    ("gpus", "workers", "share"), [(2, 2, 1.0), (2, 3, 0.5), (1, 3, 0.3333), (0, 4, 0.0)]
)
def test_every_worker_finds_a_place_on_a_gpu(gpus, workers, share):
    assert Machine(8, gpus, workers).gpu_share(SHARDS, workers) == share


def test_wishes_are_spread_over_a_cluster():
    asked = choose_machine(MachineConfig(ray_address="head:1", gpus=3, gpus_per_worker=0.5))
    assert asked.spread({"CPU": 64.0, "GPU": 8.0}).workers_for(SHARDS, toy_runner("/nonexistent").run) == 6
    found = choose_machine(MachineConfig(ray_address="head:1")).spread({"CPU": 64.0, "GPU": 8.0})
    assert (found.cores, found.gpus) == (64, 8)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"gpus": 99}, r"machine.gpus: 99 asked for and \d+ found"),
        ({"gpus": -1}, "gpus: must be at least 0, not -1"),
        ({"workers": 0}, "workers: must be at least 1, not 0"),
        ({"executor": "slurm"}, "executor: 'slurm' is none of its words; valid here: processes, ray, serial"),
    ],
)
def test_impossible_machines_are_refused(settings, line):
    with pytest.raises(ConfigError, match=line):
        choose_machine(validate(MachineConfig, settings))
