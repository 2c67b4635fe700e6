"""Damaged inputs are noticed before, during and after a stage; what was made of them is made again."""

import os
from dataclasses import replace

import pytest

from astro_dist.cluster.status import status_lines
from astro_dist.engine import custody
from astro_dist.engine.errors import ConfigError, IntegrityError
from astro_dist.engine.files import publish_bytes, sha256_file, tree_digests
from astro_dist.engine.integrity import repair_run, verify_run
from astro_dist.engine.journal import read_journal
from astro_dist.engine.outputs import DamagedInputError
from astro_dist.engine.progress import Display
from astro_dist.engine.record import read_record, write_record
from astro_dist.runner import Runner
from tests.toys import SHARDS, TOTAL, TOY, execute, run_shard, run_total, toy_runner

SERIAL = {"machine": {"executor": "serial"}}
VICTIM = "shard-003.bin"


def spoil(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def started(root, stage):
    return [e["task"] for e in read_journal(root) if e["event"] == "start" and e["stage"] == stage]


def execute_with(root, redo=(), **stages):
    """Run the toy with other stages in the places of its own."""
    config = TOY.resolve(SERIAL)
    known = [stages.get(stage.name, stage) for stage in TOY.choose(config)]
    Runner(root, config, known).execute(Display(live=False), redo)


def products(root):
    return tree_digests(root / "shards"), tree_digests(root / "out")


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    root = tmp_path_factory.mktemp("toy") / "run"
    execute(root, SERIAL)
    return products(root)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_what_is_damaged_while_the_stage_runs_is_noticed_and_nothing_that_was_begun_is_gone_on_with(
    tmp_path, expected, moment
):
    def run(run, task):
        if moment == "before":
            spoil(run.root / "shards" / VICTIM)
        result = run_total(run, task)
        if moment == "after":
            spoil(run.root / "shards" / VICTIM)
        return result

    with pytest.raises(DamagedInputError, match=rf"{VICTIM} is not what shards published") as caught:
        execute_with(tmp_path, total=replace(TOTAL, run=run))
    assert caught.value.exit_code == 3
    assert "repair" in str(caught.value)
    assert not (tmp_path / "out" / "total.txt").exists()
    assert not list((tmp_path / "out").glob(".*"))
    repair_run(tmp_path, print)
    execute(tmp_path, SERIAL)
    # The task was recorded as done, and is done again all the same.
    assert started(tmp_path, "total") == ["total", "total"]
    assert products(tmp_path) == expected


def test_a_file_that_is_put_back_before_the_next_command_does_not_bring_back_what_was_made_of_it(
    tmp_path, expected
):
    def run(run, task):
        spoil(run.root / "shards" / VICTIM)
        return run_total(run, task)

    with pytest.raises(DamagedInputError):
        execute_with(tmp_path, total=replace(TOTAL, run=run))
    spoil(tmp_path / "shards" / VICTIM)
    execute(tmp_path, SERIAL)
    assert products(tmp_path) == expected


def test_a_file_that_is_only_touched_or_copied_over_itself_is_read_again_and_is_fine(tmp_path, expected):
    def run(run, task):
        path = run.root / "shards" / VICTIM
        path.write_bytes(path.read_bytes())
        os.utime(run.root / "shards" / "index.txt")
        return run_total(run, task)

    execute_with(tmp_path, total=replace(TOTAL, run=run))
    assert products(tmp_path) == expected


def test_a_file_that_was_only_added_costs_nothing_that_was_begun(tmp_path, expected):
    def run(run, task):
        (run.root / "shards" / "Thumbs.db").touch()
        return run_total(run, task)

    with pytest.raises(IntegrityError, match=r"Thumbs\.db is not what shards published") as caught:
        execute_with(tmp_path, total=replace(TOTAL, run=run))
    assert not isinstance(caught.value, DamagedInputError)
    (tmp_path / "shards" / "Thumbs.db").unlink()
    execute(tmp_path, SERIAL)
    assert started(tmp_path, "total") == ["total"]
    assert products(tmp_path) == expected


@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_damage_that_a_later_task_meets_in_what_an_earlier_one_wrote_is_mended(tmp_path, expected, executor):
    config = TOY.resolve({"machine": {"executor": executor, "workers": 2}})
    known = [replace(SHARDS, run=run_second_round), TOTAL]
    Runner(tmp_path, config, known).execute(Display(live=False))
    assert products(tmp_path) == expected
    assert started(tmp_path, "shards").count("shard-003") == 2


def run_second_round(run, task):
    first, mark = run.output / VICTIM, run.root / "spoilt"
    if task.args["index"] >= 12:
        if not mark.exists():
            mark.touch()
            spoil(first)
        if sha256_file(first) != run.records.result("shard-003")["sha256"][VICTIM]:
            raise IntegrityError(f"{first} is damaged")
    return run_shard(run, task)


def stop(*args):
    raise KeyboardInterrupt


def test_an_output_that_is_damaged_between_its_last_record_and_its_publication_is_mended(
    tmp_path, expected, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(
            "astro_dist.runner.replace_product", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            execute(tmp_path, SERIAL)
    (hidden,) = tmp_path.glob(".shards.*.part")
    spoil(hidden / VICTIM)
    execute(tmp_path, SERIAL)
    assert products(tmp_path) == expected
    assert started(tmp_path, "shards").count("shard-003") == 2
    assert verify_run(tmp_path) == {}


def test_a_write_between_reading_and_renaming_an_output_is_not_taken_for_what_was_read(tmp_path, monkeypatch):
    def late(output, final, mark, covered):
        if final.name == "shards":
            spoil(output / VICTIM)
        return custody.replace_product(output, final, mark, covered)

    monkeypatch.setattr("astro_dist.runner.replace_product", late)
    with pytest.raises(DamagedInputError, match=VICTIM):
        execute(tmp_path, SERIAL)


def test_what_was_begun_from_an_earlier_copy_of_a_repaired_input_is_begun_anew(tmp_path, expected):
    """A stop, `verify`, `repair`: no comparison of the stage has seen the damage."""

    def run(run, task):
        spoil(run.root / "shards" / VICTIM)
        run_total(run, task)
        run.records.record(task.name, run_total(run, task), {})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute_with(tmp_path, total=replace(TOTAL, run=run))
    assert verify_run(tmp_path).keys() == {"shards"}
    repair_run(tmp_path, print)
    execute(tmp_path, SERIAL)
    assert products(tmp_path) == expected


def make_old(root):
    """Leave a publication as version 0.1.0 did, from an input that was damaged when it was read."""
    path = root / "ledger" / "total.json"
    record = read_record(path)
    del record["compared"]
    publish_bytes(root / "out" / "total.txt", b"from damaged bytes")
    record["files"] = {".": sha256_file(root / "out" / "total.txt")}
    write_record(path, record)


def test_what_an_old_version_made_from_a_damaged_input_is_known_after_the_repair_and_made_again(
    tmp_path, expected, capsys
):
    execute(tmp_path, SERIAL)
    spoil(tmp_path / "shards" / VICTIM)
    make_old(tmp_path)
    assert verify_run(tmp_path).keys() == {"shards"}
    said = []
    repair_run(tmp_path, said.append)
    assert any(line.startswith("total: made from shards by a version that did not compare") for line in said)
    assert verify_run(tmp_path) == {}
    line = "total        to be made again: shards may have been damaged when it was read"
    assert line in status_lines(toy_runner(tmp_path, SERIAL))
    execute(tmp_path, SERIAL)
    assert products(tmp_path) == expected
    assert verify_run(tmp_path) == {}
    assert not any("to be made again" in line for line in status_lines(toy_runner(tmp_path, SERIAL)))


def test_what_was_compared_stays_when_a_damaged_input_is_made_again(tmp_path, expected):
    execute(tmp_path, SERIAL)
    spoil(tmp_path / "shards" / VICTIM)
    repair_run(tmp_path, print)
    (line,) = [line for line in status_lines(toy_runner(tmp_path, SERIAL)) if line.startswith("total")]
    assert line.endswith("waits; stays as it is if its inputs come out with the same bytes")
    execute(tmp_path, SERIAL)
    assert started(tmp_path, "total") == ["total"]
    assert products(tmp_path) == expected


def test_a_missing_input_casts_no_doubt_on_what_an_old_version_made(tmp_path):
    execute(tmp_path, SERIAL)
    make_old(tmp_path)
    (tmp_path / "shards" / VICTIM).unlink()
    repair_run(tmp_path, print)
    execute(tmp_path, SERIAL)
    assert started(tmp_path, "total") == ["total"]


def test_an_input_that_comes_out_with_other_bytes_asks_for_what_was_made_from_it(tmp_path):
    def run(run, task):
        result, name = run_shard(run, task), f"{task.name}.bin"
        return {**result, "sha256": {name: publish_bytes(run.output / name, b"other")}}

    execute(tmp_path, SERIAL)
    spoil(tmp_path / "shards" / VICTIM)
    repair_run(tmp_path, print)
    with pytest.raises(
        ConfigError, match=r"total would be made anew, because inputs\.shards: .*--redo total"
    ):
        execute_with(tmp_path, shards=replace(SHARDS, run=run))
    line = "total        to be made again: shards has other bytes now"
    assert line in status_lines(toy_runner(tmp_path, SERIAL))
    execute(tmp_path, SERIAL, redo=["total"])
    assert (tmp_path / "out" / "total.txt").read_text() == str(
        sum(b"other") * len(tree_digests(tmp_path / "shards")) - sum(b"other")
    )
    assert verify_run(tmp_path) == {}
