import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from astro_dist.engine.errors import ConfigError, IntegrityError
from astro_dist.engine.ledger import Ledger, Published

MARK = "ab" * 32


def test_records_come_back_and_can_be_forgotten(tmp_path):
    ledger = Ledger(tmp_path)
    for name in ("t-0", "t-1", "t-2"):
        ledger.record("stage", MARK, name, {"value": name}, {"seconds": 1})
    assert ledger.results("stage", MARK) == {n: {"value": n} for n in ("t-0", "t-1", "t-2")}
    assert ledger.results("stage", "cd" * 32) == {}
    ledger.forget("stage", MARK, ("t-1",))
    assert list(ledger.results("stage", MARK)) == ["t-0", "t-2"]
    ledger.forget("stage", MARK)
    assert ledger.results("stage", MARK) == {}


def test_publications_round_trip_and_retract(tmp_path):
    ledger = Ledger(tmp_path)
    published = Published(MARK, {"seed": 1}, "field", {"map.fits": "00"}, {"n": 3})
    ledger.publish("assemble", published)
    assert ledger.published("assemble") == published
    ledger.retract("assemble")
    assert ledger.published("assemble") is None


def test_numerics_that_differ_are_refused_with_both(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.settle_numerics("generate", MARK, {"device": "A", "threads": 1}, "delete it")
    ledger.settle_numerics("generate", MARK, {"device": "A", "threads": 1}, "delete it")
    with pytest.raises(ConfigError, match=r"device: A then, B now.*afresh: delete it"):
        ledger.settle_numerics("generate", MARK, {"device": "B", "threads": 1}, "delete it")
    assert ledger.results("generate", MARK) == {}


def test_of_two_machines_that_begin_at_once_one_is_refused(tmp_path):
    ledger, machines = Ledger(tmp_path), "ABCDEFGH"
    begin = threading.Barrier(len(machines))

    def settle(device):
        begin.wait()
        try:
            ledger.settle_numerics("generate", MARK, {"device": device}, "delete it")
        except ConfigError:
            return False
        return True

    with ThreadPoolExecutor(len(machines)) as threads:
        assert sum(threads.map(settle, machines)) == 1
    assert [p.name for p in ledger.task_folder("generate", MARK).iterdir()] == [".numerics.json"]


def test_a_torn_record_is_named(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.record("stage", MARK, "t-0", {}, {})
    path = ledger.task_folder("stage", MARK) / "t-0.json"
    path.write_text("{")
    with pytest.raises(IntegrityError, match=r"t-0\.json"):
        ledger.results("stage", MARK)
