"""Files packed with gzip are checked and scored as what is in them, within a bound."""

import bz2
import gzip
import json
import re
import shutil
from pathlib import Path

import pytest

from astro_dist.challenge import handed_in
from astro_dist.challenge.handed_in import score_name, unpacked
from astro_dist.challenge.score import Options
from astro_dist.challenge.validate import validate_file
from astro_dist.engine.errors import ConfigError
from tests.challenge.test_validate import FORMS, good, write


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """The temporary folder, which has to be empty again."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


def pack(path, ending=".gz"):
    packed = path.with_name(path.name + ending)
    packed.write_bytes(gzip.compress(path.read_bytes(), 1))
    return packed


def read(path, judge):
    faults, notes = validate_file(path, judge.about, judge.field)
    return list(faults.lines()), notes


@pytest.mark.parametrize("form", FORMS)
def test_a_packed_catalogue_has_the_faults_and_the_score_of_the_plain_one(judge, tmp_path, scratch, form):
    columns = good(8)
    columns["dec_deg"][4] = 45.0
    plain = write(tmp_path / f"found{form}", columns)
    packed = pack(plain)
    assert read(packed, judge) == read(plain, judge)
    assert read(packed, judge)[0] == ["row 5, position: (180.0004, 45.0) is not in the map"]
    assert judge.score(packed) == judge.score(plain)
    # The content says what is packed, and not the name.
    shutil.move(packed, tmp_path / "found")
    assert read(tmp_path / "found", judge) == read(plain, judge)


def test_packed_masks_are_masks(judge, folder, tmp_path, scratch):
    for name in ("mask.fits", "instances.fits", "coco.json"):
        shutil.copy(folder / "hidden" / name, tmp_path)
    packed = judge.score(pack(tmp_path / "mask.fits"), Options(pack(tmp_path / "instances.fits")))
    assert packed == judge.score(tmp_path / "mask.fits", Options(tmp_path / "instances.fits"))
    assert judge.score(pack(tmp_path / "coco.json")) == judge.score(tmp_path / "coco.json")
    assert read(tmp_path / "coco.json.gz", judge) == ([], [])
    # Messages name the file that was handed in.
    (tmp_path / "bad.json").write_text(json.dumps({"images": []}))
    with pytest.raises(ConfigError, match=r"bad\.json\.gz: not as COCO has it"):
        judge.score(pack(tmp_path / "bad.json"))


def test_what_is_cut_damaged_or_too_large_is_one_line(judge, tmp_path, scratch, monkeypatch):
    packed = pack(write(tmp_path / "found.csv", good(4000)))
    whole = packed.read_bytes()
    for content in (whole[:-9], whole[:40], whole[:60] + b"\0" * 40 + whole[100:], whole[:12]):
        packed.write_bytes(content)
        (line,) = read(packed, judge)[0]
        assert line.startswith("the file: its packed bytes break off")
        with pytest.raises(ConfigError, match=r"found\.csv\.gz: its packed bytes break off"):
            judge.score(packed)
    # A name alone unpacks nothing, and what is packed otherwise has a remedy.
    plain = write(tmp_path / "plain.csv", good())
    for name, content, said in (
        ("plain.csv.gz", plain.read_bytes(), "it is not packed with gzip; take .gz out of its name"),
        ("b.csv", bz2.compress(plain.read_bytes()), "packed with bzip2; unpack it (bunzip2)"),
    ):
        (tmp_path / name).write_bytes(content)
        assert said in read(tmp_path / name, judge)[0][0]
        with pytest.raises(ConfigError, match=re.escape(said)):
            judge.score(tmp_path / name)
    shutil.copy(plain, tmp_path / "plain.bz2")
    assert read(tmp_path / "plain.bz2", judge) == ([], [])
    # A file that would fill the disk is refused while it is unpacked.
    monkeypatch.setattr(handed_in, "MOST_BYTES", 1 << 23)
    packed.write_bytes(gzip.compress(bytes(100 << 20)))
    assert packed.stat().st_size < 1 << 20
    assert read(packed, judge)[0] == ["the file: more than 8 MB are packed in it; hand in fewer rows"]
    with pytest.raises(ConfigError, match="more than 8 MB are packed in it"), unpacked(packed):
        pass


def test_names_of_scores():

    assert [score_name(Path(name)) for name in ("a/b.csv", "b.csv.gz", "b.gz", "b")] == ["b"] * 4
