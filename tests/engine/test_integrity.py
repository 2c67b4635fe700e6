import os

import pytest

from astro_dist.engine.custody import find_strange
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import lock_folder, tree_digests
from astro_dist.engine.integrity import repair_run, verify_run
from tests.toys import execute

LEFTOVER = ".a.0123456789ab.part"
SERIAL = {"machine": {"executor": "serial"}}


def damage(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_verify_names_every_kind_of_damage(tmp_path):
    execute(tmp_path, SERIAL)
    assert verify_run(tmp_path) == {}
    damage(tmp_path / "shards/shard-003.bin")
    (tmp_path / "shards/shard-004.bin").unlink()
    (tmp_path / "shards/stranger.bin").write_bytes(b"x")
    assert verify_run(tmp_path) == {
        "shards": [
            "shards/shard-003.bin: its bytes have changed since it was published",
            "shards/shard-004.bin: missing",
            "shards/stranger.bin: not part of the product",
        ]
    }


def test_whatever_is_strange_in_a_product_is_named_and_a_repair_takes_out_that_alone(tmp_path):
    execute(tmp_path, SERIAL)
    before, product = tree_digests(tmp_path), tmp_path / "shards"
    (product / "empty/deep").mkdir(parents=True)
    (product / "link").symlink_to("/absent")
    os.mkfifo(product / "pipe")
    for name in (".x.part", LEFTOVER):
        (product / name).touch()
    strange = [LEFTOVER, ".x.part", "empty", "link", "pipe"]
    assert verify_run(tmp_path) == {"shards": [f"shards/{name}: not part of the product" for name in strange]}
    # A driver that works here may be writing the one with a mark.
    with lock_folder(tmp_path):
        assert len(verify_run(tmp_path)["shards"]) == len(strange) - 1
    said = []
    repair_run(tmp_path, said.append)
    assert said[-1] == "shards: what is not part of shards lies in shards.yours-1 now"
    assert verify_run(tmp_path) == {}
    assert before.items() <= tree_digests(tmp_path).items() | {".lock": before[".lock"]}.items()
    assert sorted(os.listdir(tmp_path / "shards.yours-1")) == strange
    execute(tmp_path, SERIAL)
    assert (tmp_path / "shards.yours-1" / "empty" / "deep").is_dir()


def test_a_repaired_run_makes_the_same_bytes_and_nothing_else(tmp_path):
    execute(tmp_path, SERIAL)
    before, made = tree_digests(tmp_path / "shards"), (tmp_path / "out/total.txt").stat().st_mtime_ns
    for number in (1, 2):
        damage(tmp_path / "shards/shard-003.bin")
        said = []
        repair_run(tmp_path, said.append)
        assert said == [
            "shards/shard-003.bin: its bytes have changed since it was published",
            f"shards: shards is now shards.damaged-{number}, remove that when you like; "
            "the next run makes shards anew",
        ]
        assert verify_run(tmp_path) == {}
        execute(tmp_path, SERIAL)
        assert tree_digests(tmp_path / "shards") == before
    assert (tmp_path / "out/total.txt").stat().st_mtime_ns == made
    assert (tmp_path / "shards.damaged-2/shard-003.bin").exists()


def test_a_product_that_is_gone_is_made_again(tmp_path):
    execute(tmp_path, SERIAL)
    before = (tmp_path / "out/total.txt").read_bytes()
    (tmp_path / "out/total.txt").unlink()
    said = []
    repair_run(tmp_path, said.append)
    assert said[-1] == "total: the next run makes out/total.txt anew"
    execute(tmp_path, SERIAL)
    assert (tmp_path / "out/total.txt").read_bytes() == before


def test_a_sound_run_is_left_alone(tmp_path):
    execute(tmp_path, SERIAL)
    before = tree_digests(tmp_path)
    repair_run(tmp_path, pytest.fail)
    assert tree_digests(tmp_path) == {**before, ".lock": tree_digests(tmp_path)[".lock"]}


def test_only_a_run_can_be_repaired(tmp_path):
    with pytest.raises(ConfigError, match="is it a run directory"):
        repair_run(tmp_path / "absent", print)
    assert not (tmp_path / "absent").exists()


def test_a_run_whose_products_are_all_damaged_is_still_a_run(tmp_path):
    execute(tmp_path, SERIAL)
    before = tree_digests(tmp_path / "shards")
    damage(tmp_path / "shards/shard-003.bin")
    (tmp_path / "out/total.txt").write_text("0")
    repair_run(tmp_path, print)
    assert list((tmp_path / "ledger").glob("*.json")) == []
    execute(tmp_path, SERIAL)
    assert tree_digests(tmp_path / "shards") == before


def test_a_link_in_a_product_is_strange_where_a_folder_was_published(tmp_path):
    for name in ("product/a/x", "product/b/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    files = ["a/x", "b/x"]
    assert find_strange(tmp_path / "product", files) == []
    os.rename(tmp_path / "product/b", tmp_path / "scratch")
    (tmp_path / "product/b").symlink_to(tmp_path / "scratch")
    assert find_strange(tmp_path / "product", files) == ["b"]
    assert find_strange(tmp_path / "product/a/x", files) == ["."]
    assert find_strange(tmp_path / "product/a/x", ["."]) == find_strange(tmp_path / "absent", files) == []
