"""The one reading of an output: the results of the tasks against the files."""

import hashlib
import os
import random
import zlib

import pytest

from astro_dist.engine.ledger import Ledger, states_output
from astro_dist.engine.outputs import Reading

ROWS = [bytes([n]) * 100 for n in range(4)]


def whole(data):
    return hashlib.sha256(data).hexdigest()


def part(n):
    return {"offset": 10 + 100 * n, "bytes": 100, "crc32": zlib.crc32(ROWS[n])}


@pytest.fixture
def output(tmp_path):
    """A banded file with a head and an end that no result states, and two whole files of two tasks."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/a").write_bytes(b"a" * 5000)
    (tmp_path / "b").write_bytes(b"")
    (tmp_path / "map").write_bytes(b"header0000" + b"".join(ROWS) + b"end")
    return tmp_path


RESULTS = {
    **{f"band-{n}": {"ranges": {"map": part(n)}} for n in range(4)},
    "a": {"sha256": {"deep/a": whole(b"a" * 5000)}},
    "both": {"sha256": {"b": whole(b"")}, "ranges": {}, "other": 3},
}


def test_what_is_as_it_was_written_is_read_once_and_its_digests_are_those_of_the_files(output, monkeypatch):
    reading, opened = Reading(output), []
    monkeypatch.setattr(Reading, "_read", spy(Reading._read, opened))
    assert reading.find_damage(RESULTS) == set()
    assert sorted(opened) == ["b", "deep/a", "map"]
    (output / "index").write_bytes(b"written by finish")
    with (output / "map").open("rb+") as handle:
        handle.write(b"HEADER")
    os.utime(output / "map", ns=(1, 1))
    found = reading.digests()
    assert sorted(opened) == ["b", "deep/a", "index", "map", "map"]
    assert found == {name: whole((output / name).read_bytes()) for name in ("b", "deep/a", "index", "map")}
    assert list(found) == sorted(found)
    assert set(reading.digests(without=("deep",))) == {"b", "index", "map"}


def spy(method, seen):
    def call(self, name, ranges):
        seen.append(name)
        return method(self, name, ranges)

    return call


@pytest.mark.parametrize("seed", range(20))
def test_one_bit_names_the_task_that_wrote_it_and_no_other(output, seed):
    chance = random.Random(seed)
    name = chance.choice(["map", "deep/a"])
    data = bytearray((output / name).read_bytes())
    place = chance.randrange(10, 410) if name == "map" else chance.randrange(len(data))
    data[place] ^= 1 << chance.randrange(8)
    (output / name).write_bytes(data)
    expected = "a" if name == "deep/a" else f"band-{(place - 10) // 100}"
    assert Reading(output).find_damage(RESULTS) == {expected}


def test_files_that_are_gone_or_cut_off_are_damage(output):
    (output / "b").unlink()
    (output / "map").write_bytes((output / "map").read_bytes()[:250])
    assert Reading(output).find_damage(RESULTS) == {"both", "band-2", "band-3"}
    (output / "map").unlink()
    (output / "deep/a").unlink()
    assert Reading(output).find_damage(RESULTS) == set(RESULTS)


def test_a_single_file_is_called_a_dot(tmp_path):
    path = tmp_path / "page.html"
    path.write_bytes(b"page")
    reading = Reading(path)
    assert reading.find_damage({"page": {"sha256": {".": whole(b"page")}}}) == set()
    assert reading.digests() == {".": whole(b"page")}
    assert reading.find_damage({"page": {"sha256": {".": whole(b"Page")}}}) == {"page"}


@pytest.mark.parametrize("result", [{}, {"bytes": 3}, {"sha256": "00"}, {"sha256": {}, "ranges": 4}])
def test_a_result_that_states_nothing_counts_for_nothing(output, result):
    assert not states_output(result)
    records = Ledger(output).records("stage", "ab" * 32)
    records.record("fine", RESULTS["a"], {})
    records.record("old", result, {})
    assert list(records.results()) == ["fine"]
    assert (records.result("fine"), records.result("old")) == (RESULTS["a"], None)


def test_what_nobody_states_is_removed_before_finish_writes_it_again(output):
    (output / "deep/left").write_bytes(b"by a killed finish")
    reading = Reading(output)
    assert reading.find_damage(RESULTS) == set()
    reading.drop_unstated()
    assert sorted(reading.digests()) == ["b", "deep/a", "map"]
