"""Products that lie elsewhere behind links: all commands work, and nothing that lies there is lost."""

import os

import pytest

from astro_dist.engine.errors import AstroDistError, IntegrityError
from astro_dist.engine.files import tree_digests
from astro_dist.engine.integrity import repair_run, verify_run
from tests.toys import execute

TREE = {"machine": {"executor": "serial"}, "shards": {"count": 3, "wanted": 0}}


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    root = tmp_path_factory.mktemp("reference")
    execute(root, TREE)
    return products(root)


def products(root):
    found = {name: tree_digests(root / name) for name in ("shards", "out")}
    return {name: {f: d for f, d in files.items() if "damaged" not in f} for name, files in found.items()}


def to_scratch(root, scratch):
    os.rename(root / "shards", scratch / "shards")
    (root / "shards").symlink_to(scratch / "shards")


def through_a_chain(root, scratch):
    to_scratch(root, scratch)
    (root / "shards").unlink()
    for number in range(5):
        (scratch / f"link-{number}").symlink_to("shards" if number == 0 else f"link-{number - 1}")
    (root / "shards").symlink_to(scratch / "link-4")


def a_file_of_the_product(root, scratch):
    os.rename(root / "shards" / "shard-001.bin", scratch / "shard-001.bin")
    (root / "shards" / "shard-001.bin").symlink_to(scratch / "shard-001.bin")


def a_single_file(root, scratch):
    os.rename(root / "out" / "total.txt", scratch / "total.txt")
    (root / "out" / "total.txt").symlink_to(scratch / "total.txt")


def the_ledger(root, scratch):
    os.rename(root / "ledger", scratch / "ledger")
    (root / "ledger").symlink_to(scratch / "ledger")


def the_run_directory(root, scratch):
    os.rename(root, scratch / "run")
    root.symlink_to(scratch / "run")


MOVES = (
    *(to_scratch, through_a_chain, a_file_of_the_product, a_single_file),
    *(the_ledger, the_run_directory),
)


@pytest.fixture
def moved(tmp_path, request):
    root, scratch = tmp_path / "run", tmp_path / "scratch"
    scratch.mkdir()
    execute(root, TREE)
    request.param(root, scratch)
    return root, scratch


@pytest.mark.parametrize("moved", MOVES, indirect=True, ids=lambda move: move.__name__)
def test_what_was_moved_and_linked_back_is_whole_and_can_be_made_again(moved, reference):
    root, scratch = moved
    there = tree_digests(scratch)
    assert verify_run(root) == {}
    execute(root, TREE)
    assert products(root) == reference
    execute(root, TREE, redo=["shards"])
    assert products(root) == reference
    assert verify_run(root) == {}
    if not (scratch / "run").exists() and not (scratch / "ledger").exists():
        assert tree_digests(scratch) == there
    assert not [path for path in (*root.rglob("*.part"), *scratch.rglob("*.part"))]


@pytest.mark.parametrize("moved", MOVES, indirect=True, ids=lambda move: move.__name__)
def test_damage_behind_a_link_is_found_named_and_mended(moved, reference):
    root, scratch = moved
    places = scratch / "total.txt", scratch / "shard-001.bin", root / "shards" / "shard-001.bin"
    damaged = next(path for path in places if path.exists())
    damaged.write_bytes(b"damaged")
    (faults,) = verify_run(root).values()
    assert [damaged.name in fault for fault in faults] == [True]
    repair_run(root, print)
    execute(root, TREE)
    assert products(root) == reference
    assert verify_run(root) == {}


def dangling(path, tmp_path):
    path.symlink_to(tmp_path / "absent")


def loop(path, tmp_path):
    path.symlink_to(path.name)


def another_run(path, tmp_path):
    execute(tmp_path / "other", {**TREE, "seed": 8})
    path.symlink_to(tmp_path / "other" / "shards")


def home(path, tmp_path):
    (tmp_path / "home" / "deep").mkdir(parents=True)
    (tmp_path / "home" / "thesis.tex").write_text("mine")
    path.symlink_to(tmp_path / "home")


def times_of(folder, but):
    """When everything in a folder but one run directory was written."""
    return {p: p.lstat().st_mtime_ns for p in folder.rglob("*") if but not in (p, *p.parents)}


@pytest.mark.parametrize("lead", [dangling, loop, another_run, home], ids=lambda lead: lead.__name__)
def test_a_link_that_leads_astray_is_found_and_replaced_and_what_it_leads_to_stays(tmp_path, lead, reference):
    root = tmp_path / "run"
    execute(root, TREE)
    os.rename(root / "shards", tmp_path / "gone")
    lead(root / "shards", tmp_path)
    theirs = times_of(tmp_path, root)
    with pytest.raises(AstroDistError) as caught:
        execute(root, {**TREE, "total": {"factor": 2}}, redo=["total"])
    assert isinstance(caught.value, IntegrityError)
    assert verify_run(root)["shards"]
    repair_run(root, print)
    execute(root, TREE)
    assert products(root) == reference
    assert verify_run(root) == {}
    assert times_of(tmp_path, root) == theirs
