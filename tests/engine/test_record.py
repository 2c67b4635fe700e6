"""Records: every bit of them is protected, and what is damaged is never believed."""

import json

import pytest

from astro_dist import pipelines
from astro_dist.engine.errors import IntegrityError
from astro_dist.engine.files import tree_digests
from astro_dist.engine.integrity import repair_run, verify_run
from astro_dist.engine.ledger import Ledger, Published
from astro_dist.engine.record import is_protected, read_record, write_record
from tests.toys import execute, toy_runner

SERIAL = {"machine": {"executor": "serial"}}
BODY = {"task": "a", "result": {"sha256": {"x": "00"}, "n": 1.5, "text": "é\n"}, "log": {"seconds": 0.25}}


def test_a_record_is_one_line_that_says_its_format(tmp_path):
    path = tmp_path / "r.json"
    write_record(path, BODY)
    assert read_record(path) == BODY
    assert path.read_text().count("\n") == 1
    assert json.loads(path.read_text())["format"] == 2
    assert is_protected(path)


def test_every_bit_of_a_record_is_noticed(tmp_path):
    path = tmp_path / "r.json"
    write_record(path, BODY)
    whole = path.read_bytes()
    for place in range(len(whole)):
        for bit in range(8):
            data = bytearray(whole)
            data[place] ^= 1 << bit
            path.write_bytes(data)
            with pytest.raises(IntegrityError, match=r"is damaged"):
                read_record(path)
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(IntegrityError, match=r"is damaged"):
            read_record(path)


def test_a_record_of_version_0_1_0_is_read(tmp_path):
    path = tmp_path / "r.json"
    path.write_text(json.dumps(BODY, indent=1, sort_keys=True) + "\n")
    assert read_record(path) == BODY
    assert not is_protected(path)


@pytest.mark.parametrize("product", ["/etc/passwd", "../other", "a/../../b", "", "."])
def test_a_product_outside_the_run_directory_is_refused(tmp_path, product):
    ledger = Ledger(tmp_path)
    ledger.publish("total", Published("ab", {}, product, {".": "00"}))
    if product == ".":
        with pytest.raises(IntegrityError, match="does not lie below"):
            ledger.published("total")
        return
    with pytest.raises(IntegrityError, match="does not lie below"):
        ledger.published("total")


@pytest.mark.parametrize("value", ["[]", "1", '"x"', "{}", '{"fingerprint": 1}', "[" * 100_000])
def test_any_json_is_one_line(tmp_path, value):
    (tmp_path / "ledger").mkdir()
    (tmp_path / "ledger" / "total.json").write_text(value)
    with pytest.raises(IntegrityError, match=r"total\.json is damaged"):
        Ledger(tmp_path).published("total")


def spoil(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("kind", ["publication", "task", "finished", "config.yaml", "manifest.json"])
def test_damage_of_records_is_found_named_and_mended_to_the_same_bytes(tmp_path, kind):
    execute(tmp_path, SERIAL)
    before = tree_digests(tmp_path / "shards"), tree_digests(tmp_path / "out")
    paths = {
        "publication": tmp_path / "ledger" / "shards.json",
        "task": next((tmp_path / "ledger" / "shards").glob("*/shard-003.json")),
        "finished": next((tmp_path / "ledger" / "total").glob("*/.finished.json")),
        "config.yaml": tmp_path / "config.yaml",
        "manifest.json": tmp_path / "manifest.json",
    }
    path = paths[kind]
    spoil(path)
    (fault,) = verify_run(tmp_path)["ledger"]
    assert fault.startswith(f"{path.relative_to(tmp_path)}: ")
    said = []
    repair_run(tmp_path, said.append)
    assert f"{path.name} is now {path.name}.damaged-1" in "\n".join(said).replace(str(path.parent), "")
    assert not any("delete" in line for line in said)
    execute(tmp_path, SERIAL)
    assert verify_run(tmp_path) == {}
    assert (tree_digests(tmp_path / "shards"), tree_digests(tmp_path / "out")) == before


def test_a_damaged_map_is_not_published_again_because_its_record_is_lost(tmp_path):
    """The advice of version 0.1.0 was to delete the record, after which damage had a fresh sha256."""
    execute(tmp_path, SERIAL)
    before = tree_digests(tmp_path / "shards")
    spoil(tmp_path / "shards" / "shard-003.bin")
    (tmp_path / "ledger" / "shards.json").write_text("garbage")
    assert "ledger/shards.json" in verify_run(tmp_path)["ledger"][0]
    repair_run(tmp_path, print)
    execute(tmp_path, SERIAL)
    assert tree_digests(tmp_path / "shards") == before
    assert (tmp_path / "shards.yours-1" / "shard-003.bin").exists()


def test_records_of_the_old_form_are_protected_at_the_next_publication(tmp_path, capsys):
    execute(tmp_path, SERIAL)
    path = tmp_path / "ledger" / "shards.json"
    path.write_text(json.dumps(read_record(path), indent=1))
    execute(tmp_path, SERIAL)
    assert "carry no sha256 and are read as they are: shards" in capsys.readouterr().err
    execute(tmp_path, {**SERIAL, "total": {"factor": 2}}, redo=["total"])
    assert is_protected(path)
    capsys.readouterr()
    execute(tmp_path, {**SERIAL, "total": {"factor": 2}})
    assert "carry no sha256" not in capsys.readouterr().err
    assert verify_run(tmp_path) == {}


def test_a_damaged_input_is_refused_before_a_stage_opens(tmp_path):
    execute(tmp_path, SERIAL)
    before = (tmp_path / "out" / "total.txt").read_bytes()
    spoil(tmp_path / "shards" / "shard-003.bin")
    changed = {**SERIAL, "total": {"factor": 3}}
    with pytest.raises(IntegrityError, match=r"shard-003\.bin is not what shards published, and total"):
        execute(tmp_path, changed, redo=["total"])
    assert (tmp_path / "out" / "total.txt").read_bytes() == before
    repair_run(tmp_path, print)
    execute(tmp_path, changed, redo=["total"])
    assert verify_run(tmp_path) == {}


def test_an_input_is_read_once_per_command_and_not_at_all_when_it_was_just_published(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr("astro_dist.engine.outputs.sha256_file", lambda path: read.append(path.name) or "")
    execute(tmp_path, SERIAL)
    assert read == []
    monkeypatch.undo()
    runner = toy_runner(tmp_path, SERIAL)
    runner.inputs.compare(runner.stages[1])
    seen = dict(runner.inputs.seen)
    assert len(seen) > 12
    monkeypatch.setattr("astro_dist.engine.outputs.sha256_file", lambda path: pytest.fail(f"{path} again"))
    runner.inputs.compare(runner.stages[1])
    assert runner.inputs.seen == seen
    assert pipelines.DEFAULT == "radio"
