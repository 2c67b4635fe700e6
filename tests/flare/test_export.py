"""The exported folders: what torchvision, timm and `datasets` expect of them."""

import csv
import re

import numpy as np
import pytest
from PIL import Image

from astro_dist.engine.ledger import Ledger
from astro_dist.engine.origins import of_facts
from astro_dist.flare.export import safe_name
from astro_dist.flare.sets import SOURCES, read_pictures_set
from astro_dist.store.pictures import publish_pictures, write_pictures
from astro_dist.store.reader import StoreReader

SPLIT_WORDS = re.compile("train|test|valid|eval", re.IGNORECASE)
N = 12


def make_run(root, planes=3, dtype="uint8"):
    rng = np.random.default_rng(1)
    pictures = rng.integers(0, 256, (N, planes, 16, 16)).astype(np.uint8)
    if dtype == "float32":
        pictures = rng.uniform(-1, 1, pictures.shape).astype(np.float32)
    write_pictures(root / "pictures.zarr", 0, pictures, N)
    columns = {"label": np.arange(N) % 2, "split": np.arange(N) // 2 % 4, "group": np.arange(N)}
    attrs = {"labels": ["test stars", "a/b"], "names": [f"{i}.jpg" for i in range(N)]}
    attrs |= {"planes": planes, "dtype": dtype}
    publish_pictures(root / "pictures.zarr", 16, N, {**columns, "file": np.arange(N)}, attrs)
    return pictures


@pytest.mark.parametrize(("planes", "dtype"), [(3, "uint8"), (1, "uint8"), (1, "float32")])
def test_every_part_is_a_folder_of_classes_with_a_table(tmp_path, command, planes, dtype):
    pictures = make_run(tmp_path / "run", planes, dtype)
    done = command("flare", "export", tmp_path / "run", tmp_path / "out")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'out'}: pictures\n")
    store, seen = StoreReader(tmp_path / "run" / "pictures.zarr"), []
    for part, split in (("learn", 0), ("check", 1), ("judge", 2), ("apart", 3)):
        folder = tmp_path / "out" / "pictures" / part
        with (folder / "metadata.csv").open() as handle:
            rows = list(csv.DictReader(handle))
        there = {path.relative_to(folder).as_posix() for path in folder.glob("*/*")}
        assert there == {row["file_name"] for row in rows}
        for row in rows:
            index = int(row["name"].removesuffix(".jpg"))
            seen.append(index)
            assert store.columns["split"][index] == split
            assert row["label"] == store.attrs["labels"][index % 2]
            assert int(row["group"]) == index
            found = np.asarray(Image.open(folder / row["file_name"]))
            wanted = pictures[index] if dtype == "uint8" else np.rint((pictures[index] + 1) * 127.5)
            np.testing.assert_array_equal(found, wanted[0] if planes == 1 else wanted.transpose(1, 2, 0))
    assert sorted(seen) == list(range(N))
    names = [path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*")]
    assert not [name for name in names if SPLIT_WORDS.search(name)]


def test_a_folder_that_exists_or_a_run_without_pictures_is_one_line(tmp_path, command):
    make_run(tmp_path / "run")
    (tmp_path / "out").mkdir()
    for words, message in (
        ((tmp_path / "run", tmp_path / "out"), "exists already"),
        ((tmp_path / "run", tmp_path / "absent" / "out"), "there is no folder"),
        ((tmp_path / "out", tmp_path / "new"), "has no pictures yet"),
    ):
        done = command("flare", "export", *words)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert message in done.stderr
    assert not (tmp_path / "new").exists()


def test_a_damaged_store_leaves_nothing_behind_and_what_a_kill_left_is_removed(tmp_path, command):
    make_run(tmp_path / "run")
    (tmp_path / f".out.{'0' * 12}.part").mkdir()
    shard = tmp_path / "run" / "pictures.zarr" / "picture" / "c.0.0.0.0"
    data = bytearray(shard.read_bytes())
    data[40] ^= 1
    shard.write_bytes(data)
    assert command("flare", "export", tmp_path / "run", tmp_path / "out").returncode == 3
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_names_of_classes_are_names_of_folders_without_words_for_splits():
    names = ["train", "Testing", "validation", "valid", "a/b", "..", "stars", "contest", "eval", "val", "dev"]
    safe = [safe_name(name) for name in names]
    assert not [name for name in safe if SPLIT_WORDS.search(name) or name in ("val", "dev")]
    assert safe[names.index("stars")] == "stars"
    assert len(set(safe)) == len(safe)


def test_sets_name_the_pictures_that_each_is_made_of(compared, tmp_path, command):
    done = command("export", compared, "sets", "--csv", "--out", tmp_path / "sets")
    assert done.returncode == 0, done.stderr
    files = sorted((tmp_path / "sets").iterdir())
    assert [path.stem for path in files] == sorted(p.stem for p in (compared / "sets").glob("*.parquet"))
    labels = StoreReader(compared / "pictures.zarr").attrs["labels"]
    for path in files:
        rows, _ = read_pictures_set(compared / "sets" / f"{path.stem}.parquet")
        with path.open() as handle:
            told = list(csv.DictReader(handle))
        assert [row["class"] for row in told] == [labels[label] for label in rows.label]
        assert [int(row["index"]) for row in told] == rows.index.tolist()
        assert [row["store"] for row in told] == [SOURCES[source] for source in rows.source]
    refused = command("export", compared, "sets", "--png", "--out", tmp_path / "other")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "sets can be --csv" in refused.stderr


def test_painted_pictures_come_with_the_terms_of_what_painted_them(compared, tmp_path, command):
    assert command("export", compared, "pictures", "--out", tmp_path / "p").returncode == 0
    origins = [o for one in Ledger(compared).all_published().values() for o in of_facts(one.facts)]
    assert origins
    card = (tmp_path / "p" / "README.md").read_text()
    assert all(f"| {o.name} | {o.terms or 'none'} | {o.cite or '-'} |" in card for o in origins)
