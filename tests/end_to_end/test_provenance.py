"""What is cut out of a real map says of its observation what the map says, and nothing else."""

import io
import json
import shutil
import tarfile

import pytest
import yaml
from astropy.io import fits

from tests.test_starter import write_map

OBSERVED = {
    "TELESCOP": "VLA",
    "INSTRUME": "L-band",
    "OBSERVER": "A. Person",
    "OBJECT": "02120+16547E",
    "DATE-OBS": "1994-06-01",
}
TERMS = "origin FIRST: terms: "


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """The cutouts of two maps of one survey: one with cards of its observation in the header, one without."""
    from astro_dist.cli import main

    root = tmp_path_factory.mktemp("real")
    write_map(root / "told.fits", **OBSERVED)
    write_map(root / "bare.fits", CRVAL1=160.0)
    config = {
        "name": "real",
        "maps": {"files": [str(root / "*.fits")], "survey": "FIRST"},
        "generate": {"objects": 4},
        "assemble": {"shape": [300, 300], "objects": 4},
    }
    (root / "real.yaml").write_text(yaml.safe_dump(config))
    call = ["run", str(root / "real.yaml"), "--out", str(root / "run"), "--to", "cutouts", "--on", "serial"]
    assert main([*call, "--quiet"]) == 0
    return root


def check_header(header, telling):
    """A header repeats the cards of a map that has them; without them it has none of their keys."""
    assert {key: header.get(key) for key in OBSERVED} == (OBSERVED if telling else dict.fromkeys(OBSERVED))
    assert header["SURVEY"] == "FIRST"


def maps_of(folder):
    """The header of each image in a folder, with whether it is of the map that has these cards."""
    headers = [fits.getheader(path) for path in sorted(folder.rglob("*.fits"))]
    assert headers
    return [(header, "told" in str(header["HISTORY"])) for header in headers]


def test_cutouts_have_the_cards_of_their_maps_and_the_terms(real, tmp_path, command):
    forms = ("--fits", "--radiff", "--quiet")
    done = command("export", real / "run", "cutouts", *forms, "--out", tmp_path / "c")
    assert (done.returncode, done.stderr) == (0, "")
    found = maps_of(tmp_path / "c")
    assert {telling for _, telling in found} == {True, False}
    for header, telling in found:
        check_header(header, telling)
        assert header["SYNTH"] is False
        assert TERMS in str(header["HISTORY"])


def test_labels_have_the_cards_of_their_maps(real, tmp_path, command):
    forms = ("--fits", "--radiff")
    assert command("export", real / "run", "annotations", *forms, "--out", tmp_path / "a").returncode == 0
    found = maps_of(tmp_path / "a")
    assert {telling for _, telling in found} == {True, False}
    for header, telling in found:
        check_header(header, telling)


@pytest.fixture
def changed(real, tmp_path):
    """The run with one map gone and another one in the place of the other."""
    for path in real.glob("*.fits"):
        shutil.copy(path, tmp_path)
    fits.setval(real / "told.fits", "CRVAL1", value=170.0)
    (real / "bare.fits").unlink()
    yield real / "run"
    for path in tmp_path.glob("*.fits"):
        shutil.copy(path, real)


def test_a_map_that_is_gone_or_another_one_tells_nothing(changed, tmp_path, command):
    done = command("export", changed, "cutouts", "--out", tmp_path / "c")
    assert (done.returncode, done.stderr.count("the map is not where it was")) == (0, 2)
    for header, _ in maps_of(tmp_path / "c"):
        check_header(header, telling=False)


def test_samples_and_objects_come_with_the_terms_of_the_survey(real, tmp_path, command):
    call = ("--index", "0-2", "--webdataset", "--hf", "--coco", "--out", tmp_path / "s")
    assert command("export", real / "run", "cutouts", *call).returncode == 0
    card = (tmp_path / "s" / "README.md").read_text()
    assert "| FIRST | " in card
    assert "Becker" in card
    assert yaml.safe_load(card.split("---")[1])["configs"]
    (licence,) = json.loads((tmp_path / "s" / "cutouts.json").read_text())["licenses"]
    assert licence["name"].startswith(TERMS)
    only = ("--index", "0", "--webdataset", "--out", tmp_path / "w")
    assert command("export", real / "run", "cutouts", *only).returncode == 0
    card = (tmp_path / "w" / "README.md").read_text()
    assert "| FIRST | " in card
    assert "configs" not in yaml.safe_load(card.split("---")[1])
    with tarfile.open(tmp_path / "w" / "cutouts-000000.tar") as tar:
        facts = json.load(io.BytesIO(tar.extractfile("cutout-000000.json").read()))
    assert facts["map"] in ("told", "bare")
    made = command("export", real / "run", "annotations", "--coco", "--out", tmp_path / "a")
    assert made.returncode == 0
    (licence,) = json.loads((tmp_path / "a" / "annotations.json").read_text())["licenses"]
    assert licence["name"].startswith(TERMS)
