import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from astro_dist.engine.errors import ConfigError, IntegrityError, QuarantinedError
from astro_dist.engine.files import tree_digests
from astro_dist.engine.integrity import verify_run
from astro_dist.engine.progress import Display
from astro_dist.runner import Runner
from tests import waiting
from tests.toys import TOY, execute, toy_runner
from tests.waiting import records_of, wait_until

SERIAL = {"machine": {"executor": "serial"}}


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Digests of the undisturbed serial run."""
    root = tmp_path_factory.mktemp("reference")
    execute(root, SERIAL)
    return products(root)


def products(root):
    return {name: tree_digests(root / name) for name in ("shards", "out")}


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_processes_publish_the_same_bytes_as_serial(tmp_path, reference, workers):
    execute(tmp_path, {"machine": {"executor": "processes", "workers": workers}})
    assert products(tmp_path) == reference


def test_rounds_keep_the_promise(tmp_path):
    execute(tmp_path, SERIAL)
    runner = toy_runner(tmp_path, SERIAL)
    assert len(runner.rounds(runner.states()[0]).records.results()) > 12
    assert [state.status for state in runner.states()] == ["done", "done"]


def test_second_run_does_nothing(tmp_path):
    execute(tmp_path, SERIAL)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "shards").iterdir()}
    execute(tmp_path, SERIAL)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "shards").iterdir()} == before


def test_only_results_that_are_up_to_date_are_shown(tmp_path):
    execute(tmp_path, SERIAL)
    assert toy_runner(tmp_path, SERIAL).results() == {"sum": tmp_path / "out/total.txt"}
    # The run ends before the sum, which stays as it was.
    config = TOY.resolve({**SERIAL, "shards": {"count": 5}})
    first = Runner(tmp_path, config, TOY.choose(config, "shards"), None, TOY.shown)
    first.execute(Display(live=False), ["shards"])
    assert (tmp_path / "out/total.txt").exists()
    assert first.results() == toy_runner(tmp_path, {"shards": {"count": 5}}).results() == {}


def test_a_lost_worker_is_replaced(tmp_path, reference):
    execute(tmp_path, {"machine": {"workers": 2}, "shards": {"die_once": 3}})
    assert (tmp_path / "died-once").exists()
    assert products(tmp_path) == reference


def test_a_poisonous_task_is_quarantined_and_the_rest_is_done(tmp_path, reference):
    with pytest.raises(QuarantinedError, match=r"1 of 12 tasks .*shard-005: this shard is poisonous"):
        execute(tmp_path, {"machine": {"workers": 2}, "shards": {"poison": 5}})
    runner = toy_runner(tmp_path, {"shards": {"poison": 5}})
    assert len(runner.rounds(runner.states()[0]).records.results()) == 11


def test_changed_section_redoes_only_what_depends_on_it(tmp_path):
    execute(tmp_path, SERIAL)
    changed = {**SERIAL, "total": {"factor": 3}}
    with pytest.raises(
        ConfigError, match=r"total would be made anew, because total.factor: 1 -> 3; add --redo"
    ):
        execute(tmp_path, changed)
    before = products(tmp_path)
    execute(tmp_path, changed, redo=["total"])
    after = products(tmp_path)
    assert after["shards"] == before["shards"]
    assert after["out"] != before["out"]


def test_changed_early_section_names_all_that_follow(tmp_path):
    execute(tmp_path, SERIAL)
    changed = {**SERIAL, "shards": {"count": 20}}
    with pytest.raises(ConfigError, match=r"shards and, after it, total would be made anew"):
        execute(tmp_path, changed)
    execute(tmp_path, changed, redo=["shards"])
    assert [state.status for state in toy_runner(tmp_path, changed).states()] == ["done", "done"]


def test_machine_settings_are_not_part_of_a_fingerprint(tmp_path):
    execute(tmp_path, SERIAL)
    states = toy_runner(tmp_path, {"machine": {"executor": "ray", "workers": 4}}).states()
    assert {state.status for state in states} == {"done"}


def test_settings_that_change_no_byte_are_not_part_of_a_fingerprint(tmp_path):
    execute(tmp_path, SERIAL)
    patient = toy_runner(tmp_path, {**SERIAL, "shards": {"stoppable_s": 9.0}})
    assert [state.status for state in patient.states()] == ["done", "done"]


def test_a_product_that_vanished_is_not_silently_made_again(tmp_path):
    execute(tmp_path, SERIAL)
    (tmp_path / "out/total.txt").unlink()
    with pytest.raises(IntegrityError, match="--redo total"):
        execute(tmp_path, SERIAL)
    execute(tmp_path, SERIAL, redo=["total"])
    assert verify_run(tmp_path) == {}


def test_manifest_lists_every_file(tmp_path):
    execute(tmp_path, SERIAL)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["products"]["shards"]["sha256"] == tree_digests(tmp_path / "shards")
    assert manifest["products"]["out/total.txt"]["byte_stable"] is True


def start_driver(root, stoppable_s=0.0):
    settings = json.dumps({"shards": {"stoppable_s": stoppable_s}})
    call = [sys.executable, "-m", "tests.toys", root, "processes", "2", settings]
    return waiting.start(call, stderr=subprocess.DEVNULL, start_new_session=True)


def descendants(pid):
    import psutil

    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def kill_at_random(root, rounds, chance):
    """Kill the driver, a child or the whole group at random moments, then let one driver finish."""
    for _ in range(rounds):
        driver = start_driver(root)
        time.sleep(chance.uniform(0.2, 1.5))
        if driver.poll() is None:
            kind = chance.choice(["driver", "child", "group"])
            children = descendants(driver.pid)
            if kind == "group":
                os.killpg(driver.pid, signal.SIGKILL)
            elif kind == "child" and children:
                os.kill(chance.choice(children), signal.SIGKILL)
            else:
                driver.kill()
        if driver.poll() is None and chance.random() < 0.5:
            driver.kill()
        driver.wait()
    driver = start_driver(root)
    assert driver.wait() == 0


def test_ten_kills_leave_the_same_bytes(tmp_path, reference):
    kill_at_random(tmp_path, 10, random.Random(5))
    assert products(tmp_path) == reference
    leftovers = list(tmp_path.rglob("*.part"))
    assert leftovers == []


@pytest.mark.soak
def test_two_hundred_kills_leave_the_same_bytes(tmp_path, reference):
    kill_at_random(tmp_path, 200, random.Random(6))
    assert products(tmp_path) == reference


def test_sigterm_stops_cleanly_and_the_same_command_resumes(tmp_path, reference):
    driver = start_driver(tmp_path, stoppable_s=600)
    wait_until(lambda: records_of(tmp_path), driver)
    driver.terminate()
    assert driver.wait() == 75
    driver = start_driver(tmp_path)
    assert driver.wait() == 0
    assert products(tmp_path) == reference


def test_two_drivers_in_one_directory(tmp_path):
    driver = start_driver(tmp_path, stoppable_s=600)
    wait_until((tmp_path / "ledger").exists, driver)
    with pytest.raises(ConfigError, match=rf"another astro-dist works in .*pid {driver.pid}"):
        execute(tmp_path, SERIAL)
    driver.kill()
    driver.wait()


def test_what_killed_writers_leave_is_not_published(tmp_path, monkeypatch):
    from astro_dist.engine.ledger import Records

    left = []
    record = Records.record_finish

    def leave(self, finished):
        """Leave what workers leave that are killed in the middle of a file while their driver lives."""
        for folder in (self.folder, *tmp_path.glob(f".*.{self.fingerprint[:12]}.part")):
            if folder.is_dir():
                left.append(folder / f".a.json.{'0' * 12}.part")
                left[-1].write_text("{")
        record(self, finished)

    monkeypatch.setattr(Records, "record_finish", leave)
    execute(tmp_path, SERIAL)
    assert len(left) >= 3
    assert not list(tmp_path.rglob("*.part"))
    assert verify_run(tmp_path) == {}


def test_kill_between_rename_and_publication_recomputes_nothing(tmp_path, monkeypatch):
    from astro_dist.engine.ledger import Ledger

    def die(self, stage, published):
        raise SystemExit(9)

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "publish", die)
        with pytest.raises(SystemExit):
            execute(tmp_path, SERIAL)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "shards").iterdir()}
    execute(tmp_path, SERIAL)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "shards").iterdir()} == before
    assert verify_run(tmp_path) == {}


def test_a_redo_that_fails_leaves_what_was_published(tmp_path):
    execute(tmp_path, SERIAL)
    before, record = products(tmp_path), (tmp_path / "ledger/shards.json").read_bytes()
    poisoned = {**SERIAL, "shards": {"poison": 5}}
    with pytest.raises(QuarantinedError):
        execute(tmp_path, poisoned, redo=["shards"])
    assert products(tmp_path) == before
    assert (tmp_path / "ledger/shards.json").read_bytes() == record
    execute(tmp_path, SERIAL)
    assert products(tmp_path) == before
    assert verify_run(tmp_path) == {}


def test_a_redo_that_was_killed_goes_on_where_it_was(tmp_path, reference):
    execute(tmp_path, SERIAL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("astro_dist.engine.custody.publish_folder", raise_here)
        with pytest.raises(RuntimeError, match="stopped here"):
            execute(tmp_path, SERIAL, redo=["shards"])
    stamps = {p: p.stat().st_mtime_ns for p in tmp_path.glob(f".shards.{12 * '[0-9a-f]'}.part/*.bin")}
    assert len(stamps) > 12
    execute(tmp_path, SERIAL, redo=["shards"])
    assert sorted(p.stat().st_mtime_ns for p in (tmp_path / "shards").glob("*.bin")) == sorted(
        stamps.values()
    )
    assert products(tmp_path) == reference


def raise_here(*arguments):
    raise RuntimeError("stopped here")


def test_going_back_to_old_settings_makes_the_old_bytes(tmp_path):
    execute(tmp_path, SERIAL)
    before = products(tmp_path)
    execute(tmp_path, {**SERIAL, "total": {"factor": 3}}, redo=["total"])
    execute(tmp_path, SERIAL, redo=["total"])
    assert products(tmp_path) == before


def test_one_stage_alone_does_not_mix_settings(tmp_path):
    execute(tmp_path, SERIAL)
    before = (tmp_path / "config.yaml").read_bytes()
    other = TOY.resolve({**SERIAL, "seed": 8})
    with pytest.raises(ConfigError, match=r"shards was made from other settings \(seed: 7 -> 8\)"):
        Runner(tmp_path, other, TOY.stages, "total").execute(Display(live=False), ["total"])
    assert (tmp_path / "config.yaml").read_bytes() == before
