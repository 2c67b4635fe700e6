"""Kills spread over the stages by events: each falls into a stage that has begun, never into a start."""

import random
import shutil
import time
from collections import Counter

import pytest

from tests.end_to_end.conftest import call, stable_digests
from tests.end_to_end.test_kill import WORKERS, check_journal, finish, kill, start
from tests.waiting import end, wait_until

EARLY = ("annotate", "cutouts", "autoencoder", "diffusion")
LATE = ("generate", "assemble", "report")
MANY_TASKS = {
    "generate.objects": 40,
    "generate.per_shard": 2,
    "generate.micro_batch": 2,
    "assemble.band_rows": 16,
    "autoencoder.steps": 40,
    "diffusion.steps": 40,
}
"""A few tens of shards and bands, so that a stage lasts as long as several kills."""


def events_of(out, driver):
    """What the journal says since this driver began its first stage."""
    from astro_dist.engine.journal import read_journal

    events = read_journal(out)
    begins = [i for i, e in enumerate(events) if e["event"] == "begin" and e["pid"] == driver.pid]
    return events[begins[0] :] if begins else []


def stage_of(out, driver):
    """The stage that a driver has begun last, None before the first."""
    stages = [e["stage"] for e in events_of(out, driver) if e["event"] == "begin"]
    return stages[-1] if stages else None


def wait_within(out, driver, stages, stage, done):
    """Wait until some tasks of a stage are done, and one is running, or the driver is past the stage."""

    def has_come():
        if driver.poll() is not None:
            return True
        now = stage_of(out, driver)
        if now is not None and now in stages and stages.index(now) > stages.index(stage):
            return True
        events = [e for e in events_of(out, driver) if e["stage"] == stage]
        ends = sum(e["event"] == "done" for e in events)
        return ends >= done and sum(e["event"] == "start" for e in events) > ends

    wait_until(has_come)


def kill_in_turn(base, out, stages, executor, kills, chance, extra, reference):
    """Kill runs that begin as copies of ``base`` until that many kills have hit; return the hits by stage."""
    line = call("run", "--out", out, "--on", executor, "--workers", WORKERS, extra=extra)
    hits, whole = Counter(), 0
    while sum(hits.values()) < kills:
        shutil.rmtree(out, ignore_errors=True)
        if base is not None:
            shutil.copytree(base, out)
        driver, cost = None, 0
        for stage in sorted(chance.choices(stages, k=6), key=stages.index):
            if driver is None or driver.poll() is not None:
                driver = start(line)
            wait_within(out, driver, stages, stage, done=chance.choice([0, 0, 1, 2, 4]))
            time.sleep(chance.uniform(0.0, 0.3))
            hit = stage_of(out, driver)
            if driver.poll() is None and hit in stages and sum(hits.values()) < kills:
                paid = kill(driver, chance, executor)
                hits[hit] += paid > 0
                cost += paid
        end(driver)
        # The end of the last driver may be one more kill.
        finish(line)
        whole += 1
        check_journal(out, cost + WORKERS)
        assert stable_digests(out) == reference
        assert not [p for p in out.rglob("*.part") if "logs" not in p.parts]
        print(f"{executor}: {dict(hits)} so far", flush=True)
    print(f"{executor}: {sum(hits.values())} kills of {whole} runs, {dict(hits)}: the same bytes")
    return hits


def unfinished(toy_run, folder):
    """A run directory with everything up to the last training, and the digests of its undisturbed end."""
    base = folder / "base"
    shutil.copytree(toy_run[0], base)
    finish(call("run", "--out", base, "--on", "serial", "--redo", "autoencoder", extra=MANY_TASKS))
    reference = stable_digests(base)
    for stage, product in zip(LATE, ("stamps.zarr", "field", "report.html"), strict=True):
        (base / "ledger" / f"{stage}.json").unlink()
        for path in (base / "ledger" / stage, base / product):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree(base / "logs")
    return base, reference


@pytest.fixture(scope="module")
def prepared(toy_run, tmp_path_factory):
    return unfinished(toy_run, tmp_path_factory.mktemp("prepared"))


@pytest.mark.soak
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("executor", ["processes", "ray"])
@pytest.mark.parametrize(("stages", "kills"), [(EARLY, 40), (LATE, 60)], ids=["early", "late"])
def test_a_hundred_kills_of_each_executor(prepared, tmp_path, executor, stages, kills):
    """The seed is 6; `-s` shows how many kills have hit each stage."""
    base, reference = prepared
    begin = base if stages == LATE else None
    chance = random.Random(6)
    hits = kill_in_turn(begin, tmp_path / "run", stages, executor, kills, chance, MANY_TASKS, reference)
    assert sum(hits.values()) == kills
    assert set(hits) == set(stages)
