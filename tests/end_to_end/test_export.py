"""Exports: the sky position of every pixel is that of the map, and masks come back as they went out."""

import io
import json
import subprocess
import sys
import tarfile

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from PIL import Image

from astro_dist import pipelines
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import tree_digests, tree_files
from astro_dist.exports import fields
from astro_dist.exports.pieces import parse_indices
from astro_dist.exports.target import Target
from astro_dist.sky.annotations import Annotations
from astro_dist.sky.class_words import ClassWords
from astro_dist.sky.expert_files import find_edits
from astro_dist.sky.fits_file import verify_fits
from astro_dist.sky.label_files import read_labels
from astro_dist.sky.windows import Window
from astro_dist.store.reader import StoreReader
from tests.waiting import wait_until

FORMS = ("--fits", "--png", "--grid", "--coco", "--radiff", "--webdataset", "--parquet")


@pytest.fixture(scope="module")
def out(toy_run, tmp_path_factory):
    from astro_dist.cli import main

    folder = tmp_path_factory.mktemp("export")
    forms = (*FORMS, "--quiet")
    for what in ("cutouts", "stamps"):
        call = ["export", str(toy_run[0]), what, "--index", "3,0-1", "--out", str(folder / what), *forms]
        assert main(call) == 0
    return folder


def test_a_cutout_has_the_place_the_beam_and_the_unit_of_its_map(toy_run, out):
    store = StoreReader(toy_run[0] / "cutouts.zarr")
    with fits.open(out / "cutouts" / "cutout-000003.fits") as hdus:
        image, header = hdus[0].data, hdus[0].header
    np.testing.assert_array_equal(image, store.read("image", [3])[0])
    assert (header["BUNIT"], header["BMAJ"] * 3600) == ("Jy/beam", pytest.approx(header["BMIN"] * 3600))
    assert header["BMAJ"] * 3600 == pytest.approx(store.columns["beam_major_arcsec"][3])
    source = pipelines.reopen(toy_run[0]).run.product("maps") / store.attrs["maps"][0]["name"]
    whole = fits.getheader(source.with_suffix(".fits"))
    y0, x0 = (int(store.columns[name][3]) for name in ("y0", "x0"))
    x, y = np.meshgrid([0, 63.5, 127], [0, 127])
    ours, theirs = WCS(header).all_pix2world(x, y, 0), WCS(whole).all_pix2world(x + x0, y + y0, 0)
    # One part in 10^12 of a degree: what text of 16 digits leaves.
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        WCS(header).all_pix2world(63.5, 63.5, 0),
        [store.columns[f"{c}_deg"][3] for c in ("ra", "dec")],
        atol=1e-6,
    )
    for name in ("mask", "instances"):
        pixels = fits.getdata(out / "cutouts" / f"cutout-000003-{name}.fits")
        np.testing.assert_array_equal(pixels, store.read(name, [3])[0])
    assert "origin a simulated survey" in str(header["HISTORY"])
    assert header["SYNTH"] is True
    assert verify_fits(out / "cutouts" / "cutout-000003.fits") == ([], [])


def test_a_stamp_says_that_it_has_no_place(out):
    header = fits.getheader(out / "stamps" / "stamp-000001.fits")
    assert "no place on the sky" in str(header["COMMENT"])
    assert header["SYNTH"] is True
    assert header["BMAJ"] > 0


def test_the_same_export_writes_the_same_bytes(toy_run, out, command):
    before = {path: path.read_bytes() for path in (out / "cutouts").rglob("*") if path.is_file()}
    call = ("--index", "3,0-1", *FORMS)
    assert command("export", toy_run[0], "cutouts", "--out", out / "cutouts", *call).returncode == 0
    assert {path: path.read_bytes() for path in (out / "cutouts").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("what", "forms"),
    [("cutouts", ("--index", "0-19", "--fits", "--hf", "--grid")), ("annotations", ("--fits", "--radiff"))],
)
def test_a_killed_export_goes_on_where_it_was(toy_run, tmp_path, command, what, forms):
    call = ["export", str(toy_run[0]), what, *forms, "--out"]
    assert command(*call, tmp_path / "whole").returncode == 0
    killed = subprocess.Popen([sys.executable, "-m", "astro_dist", *call, tmp_path / "part"])
    wait_until(lambda: list((tmp_path / "part").rglob("*.fits")))
    killed.kill()
    killed.wait()
    # As a kill in the middle of a file leaves it.
    (tmp_path / "part" / f".half.fits.{'0' * 12}.part").write_bytes(b"half")
    there = {path: path.stat().st_ino for path in (tmp_path / "part").rglob("*.[fp]*s")}
    assert there
    assert len(there) < len(tree_files(tmp_path / "whole"))
    if what == "annotations":
        with pytest.raises(ConfigError, match=r"the export to .* did not end"):
            find_edits(tmp_path / "part")
    done = command(*call, tmp_path / "part")
    assert done.returncode == 0, done.stderr
    assert tree_digests(tmp_path / "part") == tree_digests(tmp_path / "whole")
    kept = [path for path, number in there.items() if path.stat().st_ino == number]
    # Of a piece of which not all files were there all are written again.
    assert len(kept) > len(there) - 3
    assert not list((tmp_path / "part").rglob(".*"))


def test_another_export_into_the_folder_of_a_killed_one_takes_no_file_for_its_own(tmp_path):
    (tmp_path / "a.png").write_bytes(b"old")
    with pytest.raises(OSError, match="full"), Target(tmp_path, {"index": 1}):
        raise OSError("full")
    for index, skipped in ((2, False), (2, True), (1, False)):
        target = Target(tmp_path, {"index": index})
        target.__enter__()
        assert target.skips([tmp_path / "a.png"]) == skipped
    with Target(tmp_path, {"index": 1}):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_progress_says_what_is_left(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("astro_dist.exports.target.FIRST_S", -1.0)
    with Target(tmp_path / "out", {}, quiet=False) as target:
        target.total = 4
        assert list(target.watch("ab")) == ["a", "b"]
    assert capsys.readouterr().err == f"{tmp_path / 'out'}: 25% is written, about 0 s are left\n"


def test_pictures_can_be_looked_at(out):
    for what in ("cutouts", "stamps"):
        with Image.open(out / what / "grid-000.png") as sheet:
            assert sheet.width > 3 * 128
            assert "outlines" in sheet.text["Description"]
            assert len(np.unique(np.asarray(sheet.convert("L")))) > 20
    assert len(list((out / "cutouts").glob("cutout-*.png"))) == 3


@pytest.mark.parametrize("form", ["coco", "radiff", "fits"])
def test_masks_come_back_as_they_went_out(toy_run, out, form):
    store = StoreReader(toy_run[0] / "cutouts.zarr")
    masks, numbers = (store.read(name, [3, 0, 1]) for name in ("mask", "instances"))
    folder, order = out / "cutouts", [0, 1, 2]
    if form == "fits":
        path, instances = (folder / f"cutout-000003{s}.fits" for s in ("-mask", "-instances"))
        labels, order = read_labels(path, 1, ClassWords(), instances), [0]
    elif form == "coco":
        labels = read_labels(folder / "cutouts.json", 1, ClassWords())
    else:
        # Folders are read in the order of their names.
        labels, order = read_labels(folder / "radiff", 1, ClassWords()), [1, 2, 0]
    mask, owner = np.zeros(labels.shape, np.uint8), np.zeros(labels.shape, int)
    mask[labels.y, labels.x], owner[labels.y, labels.x] = labels.class_of_pixel, labels.owner + 1
    for (y0, y1, x0, x1), place in zip(labels.frames, order, strict=True):
        here = owner[y0:y1, x0:x1]
        np.testing.assert_array_equal(mask[y0:y1, x0:x1], masks[place])
        # The same pixels form an object, whatever its number is.
        pairs = np.unique(np.stack([here.ravel(), numbers[place].ravel()]), axis=1)
        assert pairs.shape[1] == len(np.unique(here)) == len(np.unique(numbers[place]))


def test_samples_hold_the_arrays_of_the_store_and_their_split(toy_run, out):
    store = StoreReader(toy_run[0] / "cutouts.zarr")
    with tarfile.open(out / "cutouts" / "cutouts-000000.tar") as tar:
        names = tar.getnames()
        facts = json.load(tar.extractfile("cutout-000003.json"))
        image = np.load(io.BytesIO(tar.extractfile("cutout-000003.image.npy").read()))
    assert [name.partition(".")[2] for name in names[:4]] == [
        "image.npy",
        "mask.npy",
        "instances.npy",
        "json",
    ]
    np.testing.assert_array_equal(image, store.read("image", [3])[0])
    rows = {}
    for path in (out / "cutouts" / "data").glob("*.parquet"):
        for row in pq.read_table(path).to_pylist():
            rows[row["index"]] = row | {"file": path.name}
    assert set(rows) == {0, 1, 3}
    for index, row in rows.items():
        split = store.attrs["splits"][store.columns["split"][index]]
        assert row["file"] == f"{split}-00000.parquet"
        assert row["split"] == split
        for name in ("image", "mask", "instances"):
            np.testing.assert_array_equal(row[name], store.read(name, [index])[0])
    assert facts["rms_jy_beam"] == rows[3]["rms_jy_beam"]
    card = (out / "cutouts" / "README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    found = {one["split"]: one["path"] for one in head["configs"][0]["data_files"]}
    assert found == {row["split"]: f"data/{row['split']}-*.parquet" for row in rows.values()}
    assert "| a simulated survey | none | - |" in card


def test_annotations_come_out_on_the_pixels_of_the_map(toy_run, tmp_path, command):
    done = command("export", toy_run[0], "annotations", "--fits", "--coco", "--out", tmp_path / "a")
    assert done.returncode == 0, done.stderr
    annotations = Annotations.load(toy_run[0] / "annotations")
    (name,) = annotations.map_names
    mask = fits.getdata(tmp_path / "a" / f"{name}-classes.fits")
    numbers, header = fits.getdata(tmp_path / "a" / f"{name}-sources.fits", header=True)
    expected = annotations.paint(0, Window.of_shape(mask.shape))
    np.testing.assert_array_equal(mask, expected[0])
    np.testing.assert_array_equal(numbers, expected[1])
    whole = fits.getheader(next((toy_run[0] / "maps").glob(f"{name}.fits")))
    np.testing.assert_allclose(
        WCS(header).all_pix2world(9, 7, 0), WCS(whole).all_pix2world(9, 7, 0), rtol=0, atol=1e-12
    )
    said = json.loads((tmp_path / "a" / "annotations.json").read_text())
    assert {one["object"] for one in said["annotations"]} == set(np.unique(numbers[numbers > 0]).tolist())
    labels = read_labels(tmp_path / "a" / "annotations.json", 1, ClassWords())
    back = np.zeros_like(mask)
    back[labels.y, labels.x] = labels.class_of_pixel
    np.testing.assert_array_equal(back, mask)


@pytest.mark.parametrize(("form", "suffix"), [("ds9", ".reg"), ("crtf", ".crtf")])
def test_regions_outline_the_pixels_of_the_sources(toy_run, tmp_path, command, form, suffix):
    done = command("export", toy_run[0], "annotations", f"--{form}", "--out", tmp_path / "r")
    assert done.returncode == 0, done.stderr
    annotations = Annotations.load(toy_run[0] / "annotations")
    (name,) = annotations.map_names
    drawn_on = next((toy_run[0] / "maps").glob(f"{name}.fits"))
    labels = read_labels(tmp_path / "r" / f"{name}{suffix}", 1, ClassWords(), None, drawn_on)
    painted = np.zeros(labels.shape, np.uint8)
    painted[labels.y, labels.x] = labels.class_of_pixel
    np.testing.assert_array_equal(painted, annotations.paint(0, Window.of_shape(labels.shape))[0])
    assert len(labels.classes) == len(annotations.sources["class"])


def test_a_window_of_the_field_keeps_pixels_place_and_header(toy_run, tmp_path, command):
    call = ("--window", "100:160,200:290", "--fits", "--png", "--out", tmp_path / "f")
    done = command("export", toy_run[0], "field", *call)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "f" / "field-100-160_200-290.png") as picture:
        assert picture.size[0] > 90 * 5
        assert "noise" in picture.text["Description"]
    for name in ("map", "mask", "instances"):
        path = tmp_path / "f" / f"field-100-160_200-290-{name}.fits"
        whole, about = fits.getdata(toy_run[0] / "field" / f"{name}.fits", header=True)
        pixels, header = fits.getdata(path, header=True)
        np.testing.assert_array_equal(pixels, whole[100:160, 200:290])
        np.testing.assert_allclose(
            WCS(header).all_pix2world(3, 5, 0), WCS(about).all_pix2world(203, 105, 0), rtol=0, atol=1e-12
        )
        lost = {"CHECKSUM", "DATASUM", "NAXIS1", "NAXIS2", "CRPIX1", "CRPIX2", "HISTORY", "COMMENT", ""}
        assert all(header[key] == value for key, value in about.items() if key not in lost)
        assert verify_fits(path) == ([], [])


def test_a_picture_of_too_large_a_window_is_refused(toy_run, tmp_path, monkeypatch):
    monkeypatch.setattr(fields, "MOST_PIX", 50)
    with pytest.raises(ConfigError, match="at most 50 pixels a side"), Target(tmp_path / "f", {}) as target:
        fields.export_window(toy_run[0], target, "0:20,0:51", ["png"])
    assert not (tmp_path / "f").exists()


def test_the_truth_comes_out_with_units(toy_run, tmp_path, command):
    done = command("export", toy_run[0], "truth", "--ecsv", "--csv", "--out", tmp_path / "t")
    assert done.returncode == 0, done.stderr
    table = Table.read(tmp_path / "t" / "truth.ecsv")
    truth = fits.getdata(toy_run[0] / "field" / "truth.fits")
    np.testing.assert_array_equal(table["flux_jy"], truth["flux_jy"])
    assert str(table["flux_jy"].unit) == "Jy"
    assert len((tmp_path / "t" / "truth.csv").read_text().splitlines()) == len(truth) + 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cutouts", "--index", "9999"], "--index 9999: there are "),
        (["cutouts", "--index", "x"], "write numbers from 0"),
        (["cutouts", "--csv"], "--csv: cutouts can be --fits, --png"),
        (["truth", "--index", "1"], "--index: truth are exported whole"),
        (["field"], "--window: of a field"),
        (["truth", "--window", "0:1,0:1"], "--window: of a field"),
        (["field", "--window", "0-9"], "write ROW:ROW,COLUMN:COLUMN"),
        (["field", "--window", "0:9,0:99999"], "the field has 500 rows and 620 columns"),
    ],
)
def test_what_cannot_be_exported_is_one_line(toy_run, tmp_path, command, words, said):
    done = command("export", toy_run[0], *words, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert said in done.stderr
    assert not list(tmp_path.iterdir())


def test_numbers_are_parsed_and_bounded():
    assert parse_indices("3,1-2,3", 9) == [3, 1, 2]
    assert parse_indices(None, 3) == [0, 1, 2]
    for text in ("-1", "1-", "2-999999999999", "1.5", ""):
        with pytest.raises(ConfigError):
            parse_indices(text, 9)
