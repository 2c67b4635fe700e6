"""Folders of pictures in every layout, and one line for each that cannot be used."""

import numpy as np
import pytest
from PIL import Image

from astro_dist.engine.errors import ConfigError
from astro_dist.pictures.config import PicturesConfig
from astro_dist.pictures.listing import APART, open_listing


def fill(folder, names):
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((20, 20), i, np.uint8)).save(path)
    return folder


def listed(path, **settings):
    return open_listing(PicturesConfig(path=str(path), **settings), 1)


def three(*folders):
    return [f"{folder}/{i}.png" for folder in folders for i in range(3)]


def test_a_folder_per_class(tmp_path):
    fill(tmp_path, [*three("stars", "deep/comets", ".hidden"), "loose.png"])
    (tmp_path / "stars" / "notes.txt").write_text("mine")
    (tmp_path / "dust").mkdir()
    found = listed(tmp_path)
    assert found.classes == ("deep", "stars")
    assert found.names[0] == "deep/comets/0.png"
    assert found.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert found.given.tolist() == [-1] * 6
    assert found.read(1).shape == (3, 64, 64)
    assert found.source.notes == [
        "1 files are no pictures by their names, such as stars/notes.txt",
        "1 pictures lie in no folder of a class and are left out",
        "no picture is in the folder dust: no class is made of it",
    ]


def test_folders_that_are_splits(tmp_path):
    fill(tmp_path, three("Train/a", "Train/b", "val/a", "val/b", "test/a", "test/b"))
    (tmp_path / "Train" / "c").mkdir()
    found = listed(tmp_path)
    assert found.source.notes == ["no picture is in the folder c: no class is made of it"]
    assert found.classes == ("a", "b")
    assert np.bincount(found.given).tolist() == [6, 6, 6]


def test_a_class_may_be_called_test(tmp_path):
    found = listed(fill(tmp_path, three("test", "other")))
    assert found.classes == ("other", "test")
    assert set(found.given.tolist()) == {-1}


def test_a_table_of_names_and_classes(tmp_path):
    fill(tmp_path, [f"{i}.jpg" for i in range(7)])
    rows = [
        "file_name,label,split",
        "0.jpg,a,",
        "1.png,a,",
        "2.jpg,a,test",
        "3.jpg,b,",
        "4.jpg,b,",
        "5.jpg,b,",
    ]
    (tmp_path / "metadata.csv").write_text("\ufeff" + "\n".join([*rows, "6.jpg,,", "absent.jpg,b,"]))
    found = listed(tmp_path)
    assert found.names == tuple(f"{i}.jpg" for i in range(6))
    assert found.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert found.given.tolist() == [-1, -1, 2, -1, -1, -1]
    assert found.source.notes[-2:] == [
        "1 pictures of the table are not there, such as absent.jpg",
        "1 pictures have no class in the table and are left out",
    ]


def test_a_table_of_another_name_with_other_columns(tmp_path):
    fill(tmp_path, [f"in/{i}.png" for i in range(6)])
    lines = ["kind,of", *(f"{'ab'[i % 2]},in/{i}.png" for i in range(6))]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    found = listed(tmp_path, table="t.csv", columns={"file_name": "of", "label": "kind"})
    assert found.labels.tolist() == [0, 1] * 3


def test_classes_by_the_names_of_files_and_some_kept_apart(tmp_path):
    fill(tmp_path, [f"{kind}{sure}{i}.png" for kind in "123" for sure in "01" for i in range(3)])
    found = listed(tmp_path, by_name={"one": ("1*",), "two": ("2*",)}, apart=("?1*",))
    assert found.classes == ("one", "two")
    assert np.bincount(found.given + 1, minlength=5).tolist() == [6, 0, 0, 0, 6]
    assert all(
        (name[1] == "1") == (split == APART) for name, split in zip(found.names, found.given, strict=True)
    )
    with pytest.raises(ConfigError, match=r"100\.png is one and all|10.*is one and all"):
        listed(tmp_path, by_name={"one": ("1*",), "all": ("*",)})


def test_classes_can_be_chosen_and_pictures_left_out(tmp_path):
    fill(tmp_path, three("a", "b", "c"))
    fill(tmp_path, ["a/bad.png"])
    found = listed(tmp_path, classes=("c", "a"), exclude=("a/bad.png",))
    assert found.classes == ("c", "a")
    assert len(found) == 6
    assert found.labels.tolist() == [1, 1, 1, 0, 0, 0]


REFUSED = {
    "no folder": ([], {}, "has no folder of a class with pictures in it"),
    "one class": (three("a"), {}, "one class, a; a classifier needs at least two"),
    "few": ([*three("a"), "b/0.png", "b/1.png"], {}, "the class b has 2 pictures"),
    "exclude": (three("a", "b"), {"exclude": ("c.png",)}, "no picture is called 'c.png'"),
    "class": (three("a", "b"), {"classes": ("a", "bb")}, r"no picture is of class 'bb'; did you mean 'b'"),
    "twice": (three("a", "b"), {"classes": ("a", "a")}, "a class is named twice"),
    "macro": (three("a", "b"), {"macro": {"M": ("a",), "N": ("c",)}}, "N names 'c'"),
    "no macro": (three("a", "b", "c"), {"macro": {"M": ("a",), "N": ("b",)}}, "class c has no macro class"),
    "two macros": (three("a", "b"), {"macro": {"M": ("a",), "N": ("a", "b")}}, "a is in M and in N"),
    "one macro": (three("a", "b"), {"macro": {"M": ("a", "b")}}, "one macro class tells nothing apart"),
    "table": (three("."), {"table": "t.csv"}, r"t\.csv: there is no such file"),
    "table-for-folders": (three("a"), {"table": "t.csv"}, r"no t\.csv in .*pictures\.table=null"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_one_line(tmp_path, case):
    names, settings, message = REFUSED[case]
    with pytest.raises(ConfigError, match=message) as caught:
        listed(fill(tmp_path, names), **settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\n", "it has no column 'file_name'"),
        ("file_name,label\na/0.png,x\na/0.png,y\n", "has two classes"),
        ("file_name,label\nq.png,x\n", "no picture that it names is in"),
        ("file_name,label\na/0.png,x\n\xff", "pictures.table"),
    ],
)
def test_tables_that_cannot_be_used_are_one_line(tmp_path, text, message):
    fill(tmp_path, three("a"))
    (tmp_path / "metadata.csv").write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match=message) as caught:
        listed(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="there is no folder"):
        listed(tmp_path / "absent")
