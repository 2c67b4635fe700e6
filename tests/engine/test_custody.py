"""What a run directory may replace: what it published itself, in steps that a kill does not break."""

import os
from pathlib import Path

import pytest

from astro_dist.engine import custody
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import tree_digests
from astro_dist.engine.integrity import repair_run, verify_run
from tests.toys import execute, toy_runner

SERIAL = {"machine": {"executor": "serial"}}
OTHER = {**SERIAL, "total": {"factor": 3}}


def products(root):
    return {name: tree_digests(root / name) for name in ("shards", "out")}


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    root = tmp_path_factory.mktemp("reference")
    execute(root, SERIAL)
    return products(root)


FOREIGN = {
    "a file": lambda root: (root / "thesis.tex").write_text("mine"),
    "a folder of a product's name": lambda root: (root / "shards").mkdir(),
    "a configuration": lambda root: (root / "config.yaml").write_text("mine: 1\n"),
    "a report": lambda root: (root / "report.html").write_text("mine"),
    "a hidden part": lambda root: (root / ".x.part").write_text("mine"),
    "a link": lambda root: (root / "out").symlink_to("/absent"),
    "a manifest": lambda root: (root / "manifest.json").write_text("{}"),
    "a part with a mark": lambda root: (root / ".shards.0123456789ab.part").mkdir(),
    "a ledger that is a file": lambda root: (root / "ledger").write_text("mine"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_folder_of_somebody_else_is_refused_before_anything_is_written(tmp_path, kind):
    FOREIGN[kind](tmp_path)
    before = {path.name: path.lstat().st_mtime_ns for path in tmp_path.iterdir()}
    (name,) = before
    with pytest.raises(ConfigError, match=rf"holds other things \({name}\).*--out"):
        execute(tmp_path, SERIAL)
    assert {path.name: path.lstat().st_mtime_ns for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("kind", ["folder", "file", "link", "dangling", "filled"])
def test_what_no_publication_covers_is_set_aside_and_named(tmp_path, kind, reference, capsys):
    execute(tmp_path / "run", SERIAL)
    root, theirs = tmp_path / "run", tmp_path / "theirs"
    repair = root / "ledger" / "shards.json"
    repair.unlink()
    os.rename(root / "shards", tmp_path / "old")
    theirs.mkdir()
    (theirs / "precious.txt").write_text("mine")
    make = {
        "folder": lambda path: path.mkdir(),
        "file": lambda path: path.write_text("mine"),
        "link": lambda path: path.symlink_to(theirs),
        "dangling": lambda path: path.symlink_to(tmp_path / "absent"),
        "filled": lambda path: (path.mkdir(), (path / "shard-000.bin").write_text("mine")),
    }
    make[kind](root / "shards")
    execute(root, SERIAL, redo=["shards"])
    assert "is not what this run published; it is now shards.yours-1" in capsys.readouterr().err
    assert os.path.lexists(root / "shards.yours-1")
    assert (theirs / "precious.txt").read_text() == "mine"
    assert products(root) == reference
    if kind == "filled":
        assert (root / "shards.yours-1" / "shard-000.bin").read_text() == "mine"


def test_a_configuration_that_was_edited_is_set_aside(tmp_path, capsys):
    execute(tmp_path, SERIAL)
    path = tmp_path / "config.yaml"
    path.write_text(path.read_text() + "# a note of mine\n")
    assert verify_run(tmp_path) == {"ledger": ["config.yaml: its bytes have changed since it was written"]}
    execute(tmp_path, SERIAL)
    assert "is not as a run wrote it; it is now config.yaml.yours-1" in capsys.readouterr().err
    assert (tmp_path / "config.yaml.yours-1").read_text().endswith("# a note of mine\n")
    assert verify_run(tmp_path) == {}


def test_a_product_may_lie_elsewhere_behind_a_link(tmp_path, reference):
    root, scratch = tmp_path / "run", tmp_path / "scratch"
    execute(root, SERIAL)
    os.rename(root / "shards", scratch)
    (root / "shards").symlink_to(scratch)
    execute(root, SERIAL)
    assert verify_run(root) == {}
    (scratch / "shard-003.bin").write_bytes(b"damaged")
    repair_run(root, print)
    assert (root / "shards.damaged-1").is_symlink()
    execute(root, SERIAL)
    assert products(root) == reference
    os.rename(root / "shards", tmp_path / "again")
    (root / "shards").symlink_to(tmp_path / "again")
    execute(root, SERIAL, redo=["shards"])
    assert not (root / "shards").is_symlink()
    assert products(root) == reference
    assert len(list((tmp_path / "again").iterdir())) > 12
    assert not list(root.glob(".*.part"))


STEPS = ("publish_folder", "fsync_folder", "drop_replaced", "publish")


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_between_the_steps_of_a_replacement_costs_neither_product(tmp_path, monkeypatch, step):
    execute(tmp_path, SERIAL)
    before = products(tmp_path)

    def die(*arguments, **more):
        raise SystemExit(9)

    with monkeypatch.context() as patch:
        where = {
            "publish_folder": "astro_dist.engine.custody.publish_folder",
            "fsync_folder": "astro_dist.engine.custody.fsync_folder",
            "drop_replaced": "astro_dist.runner.drop_replaced",
            "publish": "astro_dist.engine.ledger.Ledger.publish",
        }
        patch.setattr(where[step], die)
        with pytest.raises(SystemExit):
            execute(tmp_path, OTHER, redo=["total"])
    if step == "drop_replaced":
        # The successor was published: only the rest of the old one is to be removed.
        execute(tmp_path, OTHER)
    else:
        execute(tmp_path, SERIAL)
        assert products(tmp_path) == before
        execute(tmp_path, OTHER, redo=["total"])
    assert products(tmp_path)["out"] != before["out"]
    assert verify_run(tmp_path) == {}
    assert not list(tmp_path.rglob("*.part"))
    assert [state.status for state in toy_runner(tmp_path, OTHER).states()] == ["done", "done"]


def test_names_aside_are_counted_up(tmp_path):
    for number in (1, 2, 3):
        (tmp_path / "a").write_text(str(number))
        assert custody.set_aside(tmp_path / "a", "yours") == tmp_path / f"a.yours-{number}"
    assert sorted(path.read_text() for path in tmp_path.iterdir()) == ["1", "2", "3"]


def test_the_lock_follows_no_link(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    root = tmp_path / "run"
    root.mkdir()
    (root / ".lock").symlink_to(victim)
    with pytest.raises(ConfigError, match="cannot write to the run directory"):
        execute(root, SERIAL)
    assert victim.read_text() == "mine"
    assert Path(root / ".lock").is_symlink()
