"""The stage `pictures` by its command: bytes, quarantine, refusals, splits, and FITS cutouts."""

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from astro_dist.engine.files import tree_digests
from astro_dist.pictures.toy import draw_toy
from astro_dist.store.reader import StoreReader
from tests.pictures.plants import image_of, plant

REAL = Path(__file__).parents[3] / "shared" / "data" / "first"


def configure(folder, **pictures):
    lines = [f"  {key}: {json.dumps(value)}" for key, value in pictures.items()]
    path = folder / "c.yaml"
    path.write_text("\n".join(["pipeline: flare", "pictures:", "  size_pix: 32", "  shard: 7", *lines]))
    return path


def fill(folder, classes=("galaxies", "stars"), count=8):
    for name in classes:
        (folder / name).mkdir(parents=True)
        for i in range(count):
            image_of(draw_toy(name, 1, i, 64)).save(folder / name / f"{i}.png")
    return folder


def facts(root):
    return json.loads((root / "ledger" / "pictures.json").read_text())["facts"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes of eight pictures, one of which is there twice."""
    found = fill(tmp_path_factory.mktemp("pictures"))
    copy = plant(Image.open(found / "stars" / "3.png"), "turned", np.random.default_rng(1))
    copy.save(found / "stars" / "copy.jpg", quality=90)
    return found


@pytest.fixture(scope="module")
def serial(folder, tmp_path_factory):
    from astro_dist.cli import main

    root = tmp_path_factory.mktemp("run")
    config = configure(root, path=str(folder))
    assert main(["pictures", str(config), "--out", str(root / "run"), "--on", "serial"]) == 0
    return root / "run"


def test_pictures_of_a_folder_in_a_store_with_groups_and_splits(serial, folder, command):
    store = StoreReader(serial / "pictures.zarr")
    assert store.attrs["labels"] == ["galaxies", "stars"]
    assert (len(store), store.attrs["source"], store.attrs["split"]) == (17, "folder", "grouped")
    group = dict(zip(store.attrs["names"], store.columns["group"].tolist(), strict=True))
    assert group["stars/3.png"] == group["stars/copy.jpg"]
    assert len(set(group.values())) == 16
    first = np.asarray(Image.open(folder / "galaxies" / "0.png").resize((32, 32), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(store.read("picture", [0])[0], first.transpose(2, 0, 1))
    assert facts(serial)["splits"]["guard"] == 0
    assert all(min(counts[:3]) >= 1 for counts in facts(serial)["classes"].values())
    assert not (serial / "pictures.zarr" / "looks").exists()
    for verb in ("verify", "status", "repair"):
        assert command(verb, serial).returncode == 0


def test_its_bytes_do_not_depend_on_workers(serial, folder, tmp_path, command):
    config = configure(tmp_path, path=str(folder))
    assert command("pictures", config, "--out", tmp_path / "run", "--workers", "2").returncode == 0
    assert tree_digests(tmp_path / "run" / "pictures.zarr") == tree_digests(serial / "pictures.zarr")


def test_a_damaged_shard_is_repaired(folder, tmp_path, command):
    config, root = configure(tmp_path, path=str(folder)), tmp_path / "run"
    assert command("pictures", config, "--out", root, "--on", "serial").returncode == 0
    before = tree_digests(root / "pictures.zarr")
    shard = root / "pictures.zarr" / "picture" / "c.0.0.0.0"
    shard.write_bytes(shard.read_bytes()[:-9])
    assert command("verify", root).returncode == 3
    assert command("repair", root).returncode == 0
    assert command("pictures", config, "--out", root, "--on", "serial").returncode == 0
    assert tree_digests(root / "pictures.zarr") == before


def test_what_is_no_picture_is_quarantined_by_name_and_can_be_left_out(tmp_path, command):
    folder = fill(tmp_path / "p")
    (folder / "stars" / "text.jpg").write_text("none")
    Image.new("L", (20_000, 4)).save(folder / "stars" / "wide.png")
    config, root = configure(tmp_path, path=str(folder)), tmp_path / "run"
    done = command("pictures", config, "--out", root, "--on", "serial")
    assert done.returncode == 4
    assert done.stderr.splitlines()[-1].startswith(
        "astro-dist: pictures: 2 quarantined (stars/text.jpg: no picture"
    )
    assert "stars/wide.png: 20000 x 4 pixels" in done.stderr
    store = StoreReader(root / "pictures.zarr")
    names = store.attrs["names"]
    assert [names[row] for row in store.attrs["unreadable"]] == ["stars/text.jpg", "stars/wide.png"]
    assert store.columns["split"][store.attrs["unreadable"]].tolist() == [3, 3]
    assert facts(root)["classes"] == {"galaxies": [6, 1, 1, 0], "stars": [6, 1, 1, 2]}
    assert facts(root)["groups"] == 16
    # The others of its shard are there, and the same command says again what is not.
    star = np.asarray(Image.open(folder / "stars" / "7.png").resize((32, 32), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(
        store.read("picture", [names.index("stars/7.png")])[0], star.transpose(2, 0, 1)
    )
    assert command("pictures", config, "--out", root, "--on", "serial").returncode == 4
    assert command("verify", root).returncode == 0
    assert command("flare", "export", root, tmp_path / "e").returncode == 0
    assert len(list((tmp_path / "e").rglob("*.png"))) == 16
    config = configure(tmp_path, path=str(folder), exclude=["stars/text.jpg", "*wide.png"])
    words = ("--out", root, "--on", "serial", "--redo", "pictures")
    assert command("pictures", config, *words).returncode == 0
    assert facts(root)["pictures"] == 16


def test_a_class_that_cannot_be_read_names_its_pictures(tmp_path, command):
    folder = fill(tmp_path / "p", count=4)
    for i in range(2):
        (folder / "stars" / f"{i}.png").write_bytes(b"")
    done = command(
        "pictures", configure(tmp_path, path=str(folder)), "--out", tmp_path / "run", "--on", "serial"
    )
    assert done.returncode == 4
    assert "the class stars has 2 pictures that are no copies" in done.stderr
    assert "stars/0.png: no picture" in done.stderr


def test_a_class_of_copies_is_refused_before_anything_runs(tmp_path, command):
    folder = fill(tmp_path / "p", count=5)
    for i in range(1, 5):
        (folder / "stars" / f"{i}.png").write_bytes((folder / "stars" / "0.png").read_bytes())
    done = command("plan", configure(tmp_path, path=str(folder)))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "the class stars has 1 pictures that are no copies of each other" in done.stderr


def test_splits_as_published_are_marked(tmp_path, command):
    config = configure(tmp_path, per_class=6, split="as_published", classes=["stars", "planets"])
    done = command("pictures", config, "--out", tmp_path / "run", "--on", "serial")
    assert done.returncode == 0
    assert "copies of test pictures are in training" in done.stderr
    assert StoreReader(tmp_path / "run" / "pictures.zarr").attrs["split"] == "as_published"


def test_toys_in_grey_with_counts_of_their_own_and_macro_classes(tmp_path, command):
    macro = {"Far": ["galaxies"], "Near": ["planets"]}
    config = configure(tmp_path, per_class={"galaxies": 6, "planets": 4}, planes=1, macro=macro)
    assert command("pictures", config, "--out", tmp_path / "run", "--on", "serial").returncode == 0
    store = StoreReader(tmp_path / "run" / "pictures.zarr")
    assert (len(store), store.attrs["planes"], store.attrs["macro"]) == (10, 1, macro)


REFUSED = {
    "toy": ({"classes": ["moons", "stars"]}, "no toy of class 'moons'"),
    "few": ({"per_class": 2}, "has 2 pictures"),
    "one": ({"classes": ["stars"]}, "one class, stars"),
    "macro": ({"macro": {"A": ["stars"], "B": ["planets"]}}, "has no macro class"),
    "both": ({"file": "a.h5", "path": "x"}, "does not read path"),
    "fits": ({"source": "fits", "path": "x"}, "there is no folder"),
    "shares": ({"test_fraction": 0.6, "validation_fraction": 0.4}, "leave nothing to train on"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_settings_that_lead_nowhere_are_one_line(tmp_path, command, case):
    settings, message = REFUSED[case]
    done = command("plan", configure(tmp_path, **settings))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert message in done.stderr


def write_cutout(path, ra, dec, seed, blank=False, colours=()):
    shape = (len(colours), 40, 40) if colours else (40, 40)
    values = np.random.default_rng(seed).normal(0, 1e-4, shape).astype(np.float32)
    values[..., 18:22, 18:22] += 5e-3 * (np.array(colours)[:, None, None] if colours else 1)
    if blank:
        values[:] = np.nan
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 20.5, "CRPIX2": 20.5})
    header.update({"CRVAL1": ra, "CRVAL2": dec, "CDELT1": -5e-4, "CDELT2": 5e-4, "BUNIT": "JY/BEAM"})
    fits.writeto(path, values, header)


def test_fits_cutouts_are_one_float_plane_and_share_sky_in_groups(tmp_path, command):
    folder = tmp_path / "fits"
    folder.mkdir()
    for i in range(10):
        write_cutout(folder / f"{1 + i % 2}0{i}.fits", 10 + i, -5, i)
    # Six arcmin from number 0, and one kept apart near number 1.
    write_cutout(folder / "10near.fits", 10.1, -5, 11)
    write_cutout(folder / "21apart.fits", 11.05, -5, 12)
    names = {"FRI": ["1*"], "FRII": ["2*"]}
    settings = {"source": "fits", "path": str(folder), "planes": 1, "by_name": names, "apart": ["?1*"]}
    config = configure(tmp_path, **settings, duplicates=False)
    done = command("pictures", config, "--out", tmp_path / "run", "--on", "serial")
    assert done.returncode == 0, done.stderr
    store = StoreReader(tmp_path / "run" / "pictures.zarr")
    group = dict(zip(store.attrs["names"], store.columns["group"].tolist(), strict=True))
    assert group["100.fits"] == group["10near.fits"]
    assert group["201.fits"] == group["21apart.fits"]
    assert len(set(group.values())) == 10
    apart = store.attrs["names"].index("21apart.fits")
    assert np.flatnonzero(store.columns["split"] == 3).tolist() == [apart]
    pictures = store.read("picture", range(12))
    assert (pictures.dtype, pictures.shape) == (np.float32, (12, 1, 32, 32))
    assert pictures.min() >= -1
    assert pictures.max() <= 1
    # The background of every cutout is one value, and its source far above.
    np.testing.assert_allclose(np.median(pictures, axis=(1, 2, 3)), -1 + 2 * 0.6 / 4.2, atol=0.02)
    assert (pictures[:, 0, 16, 16] > 0).all()
    np.testing.assert_allclose(store.columns["ra_deg"][0], 10, atol=1e-3)
    write_cutout(folder / "10blank.fits", 50, 5, 13, blank=True)
    done = command("pictures", config, "--out", tmp_path / "other", "--on", "serial")
    assert done.returncode == 4
    assert "pictures: 1 quarantined (10blank.fits: blank or constant" in done.stderr
    store = StoreReader(tmp_path / "other" / "pictures.zarr")
    (row,) = store.attrs["unreadable"]
    assert (store.attrs["names"][row], store.columns["split"][row]) == ("10blank.fits", 3)
    assert np.isnan(store.columns["ra_deg"][row])
    assert len(set(store.columns["group"].tolist())) == 11


def test_fits_cutouts_of_three_planes_are_colours(tmp_path, command):
    folder = tmp_path / "fits"
    folder.mkdir()
    for i in range(8):
        write_cutout(folder / f"{1 + i % 2}0{i}.fits", 10 + i, -5, i, colours=(4.0, 1.0, 1.0))
    settings = {"source": "fits", "path": str(folder), "by_name": {"a": ["1*"], "b": ["2*"]}}
    config = configure(tmp_path, **settings, duplicates=False)
    done = command("pictures", config, "--out", tmp_path / "run", "--on", "serial")
    assert done.returncode == 0, done.stderr
    pictures = StoreReader(tmp_path / "run" / "pictures.zarr").read("picture", range(8))
    assert (pictures.dtype, pictures.shape) == (np.float32, (8, 3, 32, 32))
    red, green, blue = pictures[:, :, 16, 16].T
    assert (red > green + 0.1).all()
    np.testing.assert_allclose(green, blue, atol=0.05)
    write_cutout(folder / "109.fits", 50, 5, 9)
    done = command("pictures", config, "--out", tmp_path / "other", "--on", "serial")
    assert done.returncode == 4
    assert "one plane and colours have three; set pictures.planes to 1" in done.stderr


@pytest.mark.skipif(not REAL.is_dir(), reason="the real pictures are not in ../shared/data")
@pytest.mark.soak
def test_no_two_splits_of_first_cutouts_share_sky(tmp_path, command):
    config = Path(__file__).parents[2] / "configs" / "flare" / "first.yaml"
    words = ("--out", tmp_path / "run", "--on", "serial", "--set", f"pictures.path={REAL}")
    assert command("pictures", config, *words).returncode == 0
    store = StoreReader(tmp_path / "run" / "pictures.zarr")
    ra, dec = np.radians(store.columns["ra_deg"]), np.radians(store.columns["dec_deg"])
    units = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
    near = units @ units.T > np.cos(np.radians(9 / 60))
    split = store.columns["split"]
    parted = near & (split[:, None] != split) & (split[:, None] < 3) & (split < 3)
    assert not parted.any()
    assert facts(tmp_path / "run")["splits"]["guard"] == 311
