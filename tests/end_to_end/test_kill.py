"""Kills at random: what is made is the same bytes, and nothing that was published is made twice."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from functools import partial
from pathlib import Path

import psutil
import pytest

from astro_dist.engine.journal import read_journal
from astro_dist.radio.pipeline import RADIO
from tests import waiting
from tests.end_to_end.conftest import ROOT, call, stable_digests
from tests.waiting import wait_until

MANY_SHARDS = {"generate.objects": 320, "generate.per_shard": 2, "generate.micro_batch": 2}
"""At least 64 shards."""
NODE_PROCESSES = ("raylet", "gcs_server")
WORKERS = 2


def published_tasks(out):
    return {str(p) for p in (Path(out) / "ledger").glob("*/*/*.json")}


def start(line):
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return waiting.start(line, cwd=ROOT, start_new_session=True, **quiet)


def choose_victims(driver, kind):
    """The processes below a driver of one kind: a worker, a process of a Ray node, anything."""
    found = []
    for process in psutil.Process(driver.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            node = process.name() in NODE_PROCESSES
            if kind == "any" or (kind == "node") == node:
                found.append(process)
    return found


def kill(driver, chance, executor):
    """Kill something of a run and return how many tasks that may cost."""
    kind = chance.choice(["worker", "worker", "driver", "group", *(["node"] if executor == "ray" else [])])
    if kind in ("worker", "node"):
        victims = choose_victims(driver, kind)
        if not victims:
            return 0
        with contextlib.suppress(psutil.Error):
            victim = chance.choice(victims)
            # Of Ray's processes any but an actor may carry all of them.
            cost = WORKERS if executor == "ray" and "Actor" not in victim.name() else 1
            victim.kill()
            return cost
        return 0
    if kind == "group":
        os.killpg(driver.pid, signal.SIGKILL)
    driver.kill()
    driver.wait()
    return WORKERS


def check_journal(out, cost):
    """Check that no published task was begun again and that no more was repeated than was killed."""
    starts, done = Counter(), set()
    for event in read_journal(out):
        key = (event.get("stage"), event.get("fingerprint"), event.get("task"))
        if event["event"] == "start":
            assert key not in done, f"{key} was begun again after it was published"
            starts[key] += 1
        elif event["event"] == "done":
            done.add(key)
    repeated = sum(starts.values()) - len(starts)
    assert repeated <= cost, f"{repeated} tasks repeated, {cost} killed"
    return repeated


def finish(line):
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def disturb(out, moments, chance):
    """Start the run again for every moment, and kill a worker, the driver or the group when it has come."""
    line = call("run", "--out", out, "--workers", WORKERS, "--to", "assemble")
    cost = 0
    for moment in moments:
        driver = start(line)
        moment(driver)
        before = published_tasks(out)
        if driver.poll() is None:
            cost += kill(driver, chance, "processes")
            time.sleep(chance.uniform(0.0, 1.0))
        if driver.poll() is None:
            driver.kill()
            cost += WORKERS
        driver.wait()
        assert before <= published_tasks(out)
    finish(line)
    check_journal(out, cost)


def test_killed_runs_end_with_the_same_bytes(toy_run, tmp_path):
    reference, _ = toy_run
    chance = random.Random(1)

    def within(stage, driver):
        wait_for(tmp_path / "run", stage, driver, working=True)
        time.sleep(chance.uniform(0.0, 0.5))

    stages = ("annotate", "autoencoder", "generate", "assemble")
    disturb(tmp_path / "run", [partial(within, stage) for stage in stages], chance)
    assert stable_digests(tmp_path / "run") == stable_digests(reference)
    assert not [p for p in (tmp_path / "run").rglob("*.part") if "logs" not in p.parts]


def stage_line(stage, out, executor, extra, *more):
    command = ["train", stage] if stage in ("autoencoder", "diffusion") else [stage]
    line = call("COMMAND", "--out", out, "--workers", WORKERS, "--on", executor, *more, extra=extra)
    at = line.index("COMMAND")
    return [*line[:at], *command, *line[at + 1 :]]


def measure(out, stage):
    """Seconds from the last begin of a stage to its last finished task."""
    events = [event for event in read_journal(out) if event.get("stage") == stage]
    begin = max(event["time"] for event in events if event["event"] == "begin")
    return max(event["time"] for event in events) - begin


def disturb_stage(out, stage, executor, kills, chance, extra):
    """Make one stage of a finished run again and again until it was killed ``kills`` times."""
    line = stage_line(stage, out, executor, extra, "--redo", stage)
    disturb_line(out, RADIO.stage(stage), line, executor, kills, chance)


def disturb_line(out, stage, line, executor, kills, chance):
    """Begin a command that makes a stage again, and kill what it started, until ``kills`` have hit."""
    digest = stable_digests(out)
    span_s = measure(out, stage.name)
    killed = cost = repeated = rounds = 0
    driver = None
    while killed < kills:
        if driver is None or driver.poll() is not None:
            if driver is None or is_whole(driver, out, stage):
                repeated += check_journal(out, cost) if driver else 0
                cost, rounds = 0, rounds + 1
                assert stable_digests(out) == digest
                shutil.rmtree(out / "logs" / "journal", ignore_errors=True)
            driver = start(line)
            wait_for(out, stage.name, driver, working=chance.random() < 0.7)
        time.sleep(chance.uniform(0.0, min(6.0, span_s)))
        if driver.poll() is None:
            paid = kill(driver, chance, executor)
            killed, cost = killed + (paid > 0), cost + paid
    driver.wait()
    if not is_whole(driver, out, stage):
        finish(line)
    repeated += check_journal(out, cost)
    print(f"{stage.name} on {executor}: {killed} kills, {rounds} rounds, {repeated} tasks repeated")
    assert stable_digests(out) == digest
    assert not [p for p in out.rglob("*.part") if "logs" not in p.parts]


def is_whole(driver, out, stage):
    """Whether a driver that ended left nothing to go on with: a hidden product, the old one beside it."""
    product = out / stage.product
    return driver.returncode == 0 or not any(product.parent.glob(f".{product.name}.*.part"))


def wait_for(out, stage, driver, working):
    """Wait until this driver has begun the stage and, when ``working``, a worker has begun a task."""

    def has_begun():
        events = [event for event in read_journal(out) if event.get("stage") == stage]
        begun = [e["time"] for e in events if e["event"] == "begin" and e["pid"] == driver.pid]
        started = begun and any(e["event"] == "start" and e["time"] >= begun[-1] for e in events)
        return driver.poll() is not None or started or (begun and not working)

    wait_until(has_begun)


@pytest.fixture(scope="module")
def many_shards(toy_run, tmp_path_factory):
    """The toy run with 64 shards of stamps or more."""
    out = tmp_path_factory.mktemp("many") / "run"
    shutil.copytree(toy_run[0], out)
    finish(stage_line("generate", out, "processes", MANY_SHARDS, "--redo", "generate"))
    assert any(len(list(f.glob("shard-*.json"))) >= 64 for f in (out / "ledger/generate").iterdir())
    return out


def test_a_killed_generation_repeats_only_what_was_running(toy_run, tmp_path):
    shutil.copytree(toy_run[0], tmp_path / "run")
    disturb_stage(tmp_path / "run", "generate", "processes", 3, random.Random(3), {})


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("executor", ["processes", "ray"])
def test_two_hundred_kills_of_generate(many_shards, tmp_path, executor):
    shutil.copytree(many_shards, tmp_path / "run")
    disturb_stage(tmp_path / "run", "generate", executor, 200, random.Random(4), MANY_SHARDS)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("executor", ["processes", "ray"])
@pytest.mark.parametrize(
    "stage", [s.name for s in RADIO.choose(RADIO.resolve({})) if s.stable and s.name != "generate"]
)
def test_fifty_kills_of_every_other_stage(toy_run, tmp_path, stage, executor):
    shutil.copytree(toy_run[0], tmp_path / "run")
    disturb_stage(tmp_path / "run", stage, executor, 50, random.Random(5), {})


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_fifty_killed_runs_end_with_the_same_bytes(toy_run, tmp_path):
    reference, _ = toy_run
    chance = random.Random(2)
    disturb(tmp_path / "run", [lambda driver: time.sleep(chance.uniform(1.0, 25.0))] * 50, chance)
    assert stable_digests(tmp_path / "run") == stable_digests(reference)


def test_ctrl_c_stops_cleanly_with_75(tmp_path):
    line = call("run", "--out", tmp_path / "run")
    quiet = {"stderr": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    driver = waiting.start(line, cwd=ROOT, start_new_session=True, **quiet)
    wait_until(lambda: published_tasks(tmp_path / "run"), driver)
    # As a terminal does: to all that the command has started.
    os.killpg(driver.pid, signal.SIGINT)
    _, errors = driver.communicate()
    assert driver.returncode == 75
    assert errors.splitlines()[-1] == "astro-dist: stopped on request; run the same command to go on"
    assert all(json.loads(text) for text in errors.splitlines()[:-1])


@pytest.mark.parametrize("everyone", [False, True], ids=["driver", "everyone"])
def test_a_training_that_is_told_to_stop_saves_what_it_has(toy_run, tmp_path, everyone):
    """Slurm tells all processes of a job that is cancelled."""
    root = tmp_path / "run"
    shutil.copytree(toy_run[0], root)
    shutil.rmtree(root / "checkpoints", ignore_errors=True)
    settings = {"autoencoder.steps": 100_000, "autoencoder.checkpoint_every_s": 3600}
    line = call("run", "--out", root, "--redo", "autoencoder", extra=settings)
    driver = start(line)
    curve = root / "logs" / "autoencoder.curve.jsonl"
    before = curve.read_text()
    wait_until(lambda: curve.exists() and curve.read_text() not in (before, ""), driver)
    (os.killpg if everyone else os.kill)(driver.pid, signal.SIGTERM)
    assert driver.wait() == 75
    (checkpoint,) = root.glob("checkpoints/*/step-*")
    last = json.loads(curve.read_text().splitlines()[-1])["step"]
    assert checkpoint.name == f"step-{last:08d}"
