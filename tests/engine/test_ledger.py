import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from astro_dist.engine.errors import ConfigError, IntegrityError
from astro_dist.engine.ledger import Finished, Ledger, Published

MARK = "ab" * 32


def test_records_come_back_and_can_be_forgotten(tmp_path):
    ledger = Ledger(tmp_path)
    records, another = ledger.records("stage", MARK), ledger.records("stage", MARK)
    for name in ("t-2", "t-0", "t-1"):
        records.record(name, {"sha256": {}, "value": name}, {"seconds": 1})
    assert list(records.results()) == list(another.results()) == ["t-0", "t-1", "t-2"]
    assert another.results() == {n: {"sha256": {}, "value": n} for n in ("t-0", "t-1", "t-2")}
    assert [log["seconds"] for log in another.logs()] == [1, 1, 1]
    assert ledger.records("stage", "cd" * 32).results() == {}
    records.forget(["t-1"])
    assert list(records.results()) == list(another.results()) == ["t-0", "t-2"]
    assert (another.result("t-1"), another.result("t-2")) == (None, {"sha256": {}, "value": "t-2"})
    records.forget_all()
    assert records.results() == another.results() == {}


def test_what_was_finished_is_kept_until_a_task_is_forgotten(tmp_path):
    records = Ledger(tmp_path).records("stage", MARK)
    finished = Finished({"n": 3}, {"map.fits": "00"})
    assert records.finished() is None
    records.record_finish(finished)
    assert Ledger(tmp_path).records("stage", MARK).finished() == finished
    assert records.results() == {}
    records.forget(["t-0"])
    assert records.finished() is None


def test_what_version_0_1_0_finished_is_finished_again(tmp_path):
    records = Ledger(tmp_path).records("stage", MARK)
    records.record("t-0", {}, {})
    (records.folder / ".finished.json").write_text('{"cutouts": 12}')
    assert records.finished() is None


def test_publications_round_trip_and_retract(tmp_path):
    ledger = Ledger(tmp_path)
    published = Published(MARK, {"seed": 1}, "field", {"map.fits": "00"}, {"n": 3})
    ledger.publish("assemble", published)
    assert ledger.published("assemble") == published
    ledger.retract("assemble")
    assert ledger.published("assemble") is None


def test_numerics_that_differ_are_refused_with_both(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.records("generate", MARK).settle_numerics({"device": "A", "threads": 1}, "delete it")
    ledger.records("generate", MARK).settle_numerics({"device": "A", "threads": 1}, "delete it")
    with pytest.raises(ConfigError, match=r"device: A then, B now.*afresh: delete it"):
        ledger.records("generate", MARK).settle_numerics({"device": "B", "threads": 1}, "delete it")
    assert ledger.records("generate", MARK).results() == {}


def test_of_two_machines_that_begin_at_once_one_is_refused(tmp_path):
    ledger, machines = Ledger(tmp_path), "ABCDEFGH"
    begin = threading.Barrier(len(machines))

    def settle(device):
        begin.wait()
        try:
            ledger.records("generate", MARK).settle_numerics({"device": device}, "delete it")
        except ConfigError:
            return False
        return True

    with ThreadPoolExecutor(len(machines)) as threads:
        assert sum(threads.map(settle, machines)) == 1
    assert [p.name for p in ledger.records("generate", MARK).folder.iterdir()] == [".numerics.json"]


def test_a_torn_record_is_named(tmp_path):
    records = Ledger(tmp_path).records("stage", MARK)
    records.record("t-0", {}, {})
    path = records.folder / "t-0.json"
    path.write_text("{")
    with pytest.raises(IntegrityError, match=r"t-0\.json"):
        records.results()
