"""What a run directory may replace: what it published itself, in steps that a kill does not break."""

import contextlib
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from astro_dist.engine import custody
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import find_owner, tree_digests
from astro_dist.engine.integrity import repair_run, verify_run
from astro_dist.engine.journal import read_journal
from astro_dist.engine.ledger import Ledger
from tests.toys import execute, toy_runner

SERIAL = {"machine": {"executor": "serial"}}
OTHER = {**SERIAL, "total": {"factor": 3}}


def products(root):
    return {name: tree_digests(root / name) for name in ("shards", "out")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run; tests that change anything copy it first."""
    root = tmp_path_factory.mktemp("finished") / "run"
    execute(root, SERIAL)
    return root


@pytest.fixture(scope="module")
def reference(finished):
    return products(finished)


def write(path, text="mine"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def listen(path):
    with socket.socket(socket.AF_UNIX) as server, contextlib.chdir(path.parent):
        server.bind(path.name)


def snapshot(folder):
    """``{relative name: (kind and permissions, inode, content or target)}`` of all below a folder."""
    found = {}
    for path in folder.rglob("*"):
        facts = path.lstat()
        text = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[path.relative_to(folder).as_posix()] = (facts.st_mode, facts.st_ino, text)
    return found


MARK = "0123456789ab"
# What the folder of --out may hold when no run has worked there; the name that the refusal shows.
STRANGERS = {
    "file": ("thesis.tex", lambda root, other: write(root / "thesis.tex")),
    "folder of a product's name": ("shards", lambda root, other: write(root / "shards/deep/a")),
    "empty folder of a product's name": ("shards", lambda root, other: (root / "shards").mkdir()),
    "file of a product's name": ("out", lambda root, other: write(root / "out")),
    "configuration": ("config.yaml", lambda root, other: write(root / "config.yaml", "mine: 1\n")),
    "report": ("report.html", lambda root, other: write(root / "report.html")),
    "manifest": ("manifest.json", lambda root, other: write(root / "manifest.json", "{}")),
    "hidden part": (".x.part", lambda root, other: write(root / ".x.part")),
    "part with a mark": (f".shards.{MARK}.part", lambda root, other: write(root / f".shards.{MARK}.part/a")),
    "link to a folder": ("shards", lambda root, other: (root / "shards").symlink_to(other)),
    "link to a file": ("out", lambda root, other: (root / "out").symlink_to(other / "precious")),
    "link to nowhere": ("out", lambda root, other: (root / "out").symlink_to("/absent")),
    "hard link": ("report.html", lambda root, other: os.link(other / "precious", root / "report.html")),
    "pipe": ("shards", lambda root, other: os.mkfifo(root / "shards")),
    "socket": ("shards", lambda root, other: listen(root / "shards")),
    "ledger that is a file": ("ledger", lambda root, other: write(root / "ledger")),
    "ledger of another kind": ("ledger", lambda root, other: write(root / "ledger/2026/accounts.csv")),
    "checkpoints": ("checkpoints", lambda root, other: write(root / "checkpoints/step-00000007/weights")),
    "git checkout": (".git", lambda root, other: write(root / ".git/HEAD")),
    "logs and a file": ("notes", lambda root, other: (write(root / "logs/a"), write(root / "notes"))),
}


@pytest.mark.parametrize("kind", STRANGERS)
def test_a_folder_of_somebody_else_is_refused_before_anything_is_written(tmp_path, kind):
    root, other = tmp_path / "run", tmp_path / "other"
    root.mkdir()
    write(other / "precious")
    name, make = STRANGERS[kind]
    make(root, other)
    before = snapshot(tmp_path)
    with pytest.raises(ConfigError, match=rf"holds other things \({re.escape(name)}\).*--out"):
        execute(root, SERIAL)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("place", ["new", "shards/inner", "ledger/shards/inner"])
def test_a_folder_inside_another_run_is_refused_before_anything_is_written(tmp_path, finished, place):
    outer = tmp_path / "outer"
    shutil.copytree(finished, outer)
    before = snapshot(tmp_path)
    with pytest.raises(ConfigError, match=f"^{outer} is a run directory, and no other run may lie in it"):
        execute(outer / place, SERIAL)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("left", ["nothing", "an empty folder"])
def test_a_run_that_has_lost_its_ledger_is_refused_until_it_is_back(tmp_path, finished, left):
    root = tmp_path / "run"
    shutil.copytree(finished, root)
    before = snapshot(root / "shards")
    os.rename(root / "ledger", tmp_path / "backup")
    if left == "an empty folder":
        (root / "ledger").mkdir()
    with pytest.raises(ConfigError, match="if this was a run, put its ledger/ back"):
        execute(root, SERIAL)
    for read in (verify_run, lambda root: repair_run(root, print)):
        with pytest.raises(ConfigError, match="put its ledger/ back"):
            read(root)
    shutil.copytree(tmp_path / "backup", root / "ledger", dirs_exist_ok=True)
    execute(root, SERIAL)
    assert snapshot(root / "shards") == before


@pytest.mark.parametrize(
    "left",
    [
        f".config.yaml.{MARK}.part",
        "ledger/shards",
        f"ledger/shards/.begun.json.{MARK}.part",
        "ledger/shards/begun.json",
    ],
)
def test_a_command_killed_before_its_first_record_is_resumed(tmp_path, reference, left):
    (tmp_path / "ledger").mkdir()
    if left.endswith("begun.json"):
        Ledger(tmp_path).begin("shards", "0" * 64)
    elif left.endswith(".part"):
        write(tmp_path / left)
    else:
        (tmp_path / left).mkdir()
    execute(tmp_path, SERIAL)
    assert products(tmp_path) == reference


@pytest.mark.parametrize("kind", ["file", "pipe", "folder"])
def test_a_lock_of_somebody_else_is_refused(tmp_path, kind):
    lock = tmp_path / ".lock"
    {"file": lambda: write(lock), "pipe": lambda: os.mkfifo(lock), "folder": lambda: write(lock / "a")}[
        kind
    ]()
    before = snapshot(tmp_path)
    with pytest.raises(ConfigError, match=r"\.lock|cannot write"):
        execute(tmp_path, SERIAL)
    assert snapshot(tmp_path) == before
    assert find_owner(tmp_path) is None


def test_logs_of_somebody_else_are_left_alone(tmp_path, reference):
    notes = {"logs/notes.txt": "a", "logs/progress/mine.json": "{}", "logs/progress/shards-0.json": "[1]"}
    for name, text in notes.items():
        write(tmp_path / name, text)
    before = snapshot(tmp_path / "logs")
    execute(tmp_path, SERIAL)
    execute(tmp_path, SERIAL, redo=["shards"])
    assert before.items() <= snapshot(tmp_path / "logs").items()
    assert products(tmp_path) == reference


# What a user may put into a run directory; what is called ``.yours-1`` afterwards, if anything is.
GUESTS = {
    "file in a product": {"shards": lambda root: write(root / "shards/notes.txt")},
    "edited product": {"shards": lambda root: write(root / "shards/index.txt")},
    "link and part in a product": {
        "shards": lambda root: (write(root / "shards/.a.part"), (root / "shards/b").symlink_to("/absent"))
    },
    "empty folder in a product": {
        "shards": lambda root: ((root / "shards/empty").mkdir(), write(root / "a"))
    },
    "pipe in place of a product": {"shards": lambda root: (move_away(root), os.mkfifo(root / "shards"))},
    "file in place of a product": {"shards": lambda root: (move_away(root), write(root / "shards"))},
    "beside the products": {
        "manifest.json": lambda root: write(root / "manifest.json", '{"mine": 1}'),
        "config.yaml": lambda root: write(root / "config.yaml"),
        "": lambda root: [write(root / name) for name in BESIDE],
    },
}
BESIDE = (
    *("thesis.tex", "shards.yours-9", "maps/mine.fits", "checkpoints/step-00000001/weights"),
    *(".x.part", f".x.{MARK}.part", f".shards.{MARK}.part/a"),
    *("ledger/a.txt", "ledger/shards/b", "ledger/other/c"),
)


def move_away(root):
    os.rename(root / "shards", root.parent / "away")


@pytest.mark.parametrize("kind", GUESTS)
def test_what_a_user_puts_into_a_run_directory_is_kept(tmp_path, kind, finished, reference, capsys):
    root = tmp_path / "run"
    shutil.copytree(finished, root)
    before = snapshot(root)
    for make in GUESTS[kind].values():
        make(root)
    theirs = {name: facts for name, facts in snapshot(root).items() if before.get(name) != facts}
    # Folders change when something is put into them.
    theirs = {name: facts for name, facts in theirs.items() if not stat.S_ISDIR(facts[0])}
    assert theirs
    execute(root, SERIAL, redo=["shards"])
    after, said = snapshot(root), capsys.readouterr().err
    for name, facts in theirs.items():
        top, _, rest = name.partition("/")
        aside = f"{top}.yours-1" if top in GUESTS[kind] else top
        assert after[f"{aside}/{rest}" if rest else aside] == facts
        assert top not in GUESTS[kind] or f"it is now {aside}" in said
    assert products(root) == reference
    assert verify_run(root) == {}


@pytest.mark.parametrize("kind", ["folder", "file", "link", "dangling", "filled"])
def test_what_no_publication_covers_is_set_aside_and_named(tmp_path, kind, finished, reference, capsys):
    root, theirs = tmp_path / "run", tmp_path / "theirs"
    shutil.copytree(finished, root)
    (root / "ledger" / "shards.json").unlink()
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


def test_files_among_the_records_stay(tmp_path, reference):
    execute(tmp_path, SERIAL)
    version = next(path for path in (tmp_path / "ledger/shards").iterdir() if path.is_dir())
    strange = tmp_path / "ledger/shards" / (16 * "0") / "thesis.tex"
    write(version / "notes.txt")
    write(version / "0.json.damaged-1")
    write(strange)
    execute(tmp_path, OTHER, redo=["shards"])
    execute(tmp_path, SERIAL, redo=["shards"])
    assert [(version / name).read_text() for name in ("notes.txt", "0.json.damaged-1")] == ["mine", "mine"]
    assert strange.read_text() == "mine"
    assert products(tmp_path) == reference


def test_a_folder_with_a_ledger_of_somebody_else_is_not_repaired(tmp_path, capsys):
    write(tmp_path / "ledger/accounts.json", '{"a": 1}')
    write(tmp_path / "config.yaml", "name: me")
    before = snapshot(tmp_path)
    with pytest.raises(ConfigError, match="is it a run directory"):
        repair_run(tmp_path, print)
    with pytest.raises(ConfigError, match="is no run directory"):
        execute(tmp_path, SERIAL)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("name", ["ledger/x.json", "logs/journal/x.jsonl", "logs/progress/x.json"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_pipes_and_folders_under_names_of_ours_stop_nobody(tmp_path, finished, name, make):
    root = tmp_path / "run"
    shutil.copytree(finished, root)
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    make(root / name)
    read_journal(root)
    execute(root, SERIAL)
    found = verify_run(root)
    if name.startswith("ledger"):
        assert "it is no file" in found.pop("ledger")[0]
        repair_run(root, print)
        assert verify_run(root) == {}
    assert found == {}


@pytest.mark.parametrize(
    "asked", ["refuse_inside(root / 'inner')", "refuse_foreign(root)", "require_run(root)"]
)
def test_a_ledger_that_may_not_be_read_is_not_taken_as_empty(tmp_path, asked):
    (tmp_path / "ledger" / "numbers" / f"{0:016x}").mkdir(parents=True)
    (tmp_path / "ledger").chmod(0)
    imports = "import sys; from pathlib import Path; from astro_dist.engine.custody import *"
    code = f"{imports}; root = Path(sys.argv[1]); {asked}"
    # Root reads everything unless it gives that up.
    given_up = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    line = [*given_up, sys.executable, "-c", code, tmp_path]
    done = subprocess.run(line, capture_output=True, check=False, text=True)
    (tmp_path / "ledger").chmod(0o700)
    assert f"ConfigError: you may not read {tmp_path / 'ledger'}" in done.stderr
