"""Pictures and FITS images named on the command line, without a configuration."""

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

import astro_dist
from astro_dist.cli import main
from astro_dist.enhance import one_picture
from astro_dist.models.super_net import SuperNet
from astro_dist.models.super_presets import settings_of
from astro_dist.models.super_res import SuperRes
from tests.enhance.fits_images import header, sky, write


def save(path, mode="RGB", size=(21, 18)):
    values = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    Image.fromarray(values).convert(mode).save(path)
    return path


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A folder with a small network of one plane for pictures."""
    folder = tmp_path_factory.mktemp("network") / "models" / "superres"
    SuperNet(**settings_of("local", 8, 1)).save_pretrained(folder, safe_serialization=True)
    return folder.parents[1]


def enhance(*words):
    return main(["enhance", *map(str, words)])


def test_a_picture_and_a_map_are_doubled_into_a_folder(tmp_path, capsys):
    photo, out = save(tmp_path / "photo.jpg"), tmp_path / "out"
    path = write(tmp_path / "map.fits", sky())
    assert enhance(photo, path, "--out", out, "--samples", 1, "--calls", 2) == 0
    assert capsys.readouterr().out.splitlines() == [f"{out}/photo.png: 42 x 36", f"{out}/map.fits: 160 x 128"]
    with Image.open(out / "photo.png") as found:
        wanted = SuperRes.from_pretrained("enhance").enhance(np.asarray(Image.open(photo)), steps=2)
        # A rounding may fall to the other side.
        assert np.abs(np.asarray(found, int) - np.asarray(wanted, int)).max() <= 1
    assert enhance(photo, "--out", out) == 2
    assert "is there already" in capsys.readouterr().err


def test_a_map_has_the_bytes_of_the_stage(tmp_path):
    """One with blanks and a source that the bicubic enlargement would invent."""
    image = sky((300, 70))
    image[40:44, 20:23] = np.nan
    path = write(tmp_path / "a.fits", image)
    (tmp_path / "c.yaml").write_text(f"pipeline: enhance\nenhance: {{files: [{path}]}}\n")
    assert enhance(tmp_path / "c.yaml", "--out", tmp_path / "run", "--on", "serial", "-q") == 0
    assert enhance(path, "--out", tmp_path / "out") == 0
    assert (tmp_path / "out" / "a.fits").read_bytes() == (tmp_path / "run/enhanced/a.fits").read_bytes()
    np.testing.assert_array_equal(astro_dist.enhance(path), fits.getdata(tmp_path / "out" / "a.fits"))


def test_tiles_are_the_whole_picture_and_grey_stays_grey(tmp_path, network, monkeypatch):
    doubler = one_picture.Doubler.open(network, 2, 2)
    image = Image.open(save(tmp_path / "a.png", "L", (90, 75)))
    whole = doubler.double(image)
    monkeypatch.setattr(one_picture, "TILE_PIX", 32)
    tiled = doubler.double(image)
    assert (whole.mode, whole.size) == ("L", (180, 150))
    # A rounding may fall to the other side.
    assert np.abs(np.asarray(whole, int) - np.asarray(tiled, int)).max() <= 1


def test_the_time_of_a_picture_is_said_after_its_first_sample(tmp_path, capsys, network, monkeypatch):
    photo, words = save(tmp_path / "photo.png", "L"), ("--samples", 2, "--calls", 1, "--model", network)
    assert enhance(photo, "--out", tmp_path / "quiet", *words) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(one_picture, "SAID_S", 0)
    assert enhance(photo, "--out", tmp_path / "out", *words) == 0
    assert capsys.readouterr().err == f"{photo}: 2 samples, about 0 s left\n"


def test_the_time_that_is_left_is_said_now_and_then(monkeypatch):
    now = iter([0.0, 10.0, 15.0, 40.0, 78.0])
    monkeypatch.setattr(one_picture.time, "monotonic", lambda: next(now))
    left = one_picture.Left(8)
    said = [left.count(pixels) for pixels in (1, 1, 2, 3)]
    assert said == [70.0, None, 40.0, pytest.approx(78 / 7)]


def test_one_bad_file_of_several_is_left_out(tmp_path, capsys, network):
    good, bad = save(tmp_path / "good.png", "L"), tmp_path / "bad.png"
    bad.write_text("no picture")
    assert enhance(bad, good, "--out", tmp_path / "out", "--model", network, "--samples", 1) == 4
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.png"]
    assert "1 of 2 files are left out: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("a.png", (), "name the folder that the files are written into: --out DIR"),
        ("a.png", ("--set", "seed=2"), "--set is for a configuration; files take --model"),
        (
            "a.png",
            ("--model", "nowhere"),
            "'nowhere' is neither a folder with a published superres",
        ),
        ("a.png", ("--model", "radio"), "radio: this network learnt from maps"),
        ("a.png", ("--model", "ONE"), "it has colours, and the network"),
        ("flat.png", (), "flat.png: one colour everywhere"),
        ("dot.png", (), "1 x 1 pixels cannot be enlarged"),
        ("none.png", (), "there is no such file"),
        ("m.fits", ("--model", "radio"), "--model is for pictures; maps go through a network in a run"),
        ("nan.fits", (), "no pixel holds data, all are NaN"),
        ("level.fits", (), "all its pixels are 2"),
        ("short.fits", (), "cut short"),
        ("two.fits", (), "choose one with enhance.hdu of a configuration"),
        ("c.yaml", ("--samples", "2"), "--samples is a setting of the configuration"),
        ("", (), "is a folder; name its files"),
        ("a.heic", (), "is no configuration, and by its name neither a picture nor a FITS file"),
    ],
)
def test_what_cannot_be_doubled_is_refused_in_a_line(tmp_path, capsys, network, name, words, said):
    save(tmp_path / "a.png")
    (tmp_path / "a.heic").write_bytes(b"\x00\x00\x00\x18ftypheic\xff\xfe")
    Image.new("RGB", (20, 20), (1, 2, 3)).save(tmp_path / "flat.png")
    save(tmp_path / "dot.png", size=(1, 1))
    write(tmp_path / "m.fits")
    write(tmp_path / "nan.fits", np.full((32, 32), np.nan, np.float32))
    write(tmp_path / "level.fits", np.full((32, 32), 2, np.float32))
    (tmp_path / "short.fits").write_bytes((tmp_path / "m.fits").read_bytes()[:6000])
    images = [fits.ImageHDU(sky(), header()) for _ in range(2)]
    fits.HDUList([fits.PrimaryHDU(), *images]).writeto(tmp_path / "two.fits")
    (tmp_path / "c.yaml").write_text("pipeline: enhance\nenhance: {}\n")
    out = () if "--out DIR" in said else ("--out", tmp_path / "out")
    words = [str(network) if word == "ONE" else word for word in words]
    assert enhance(tmp_path / name, *words, *out) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
