"""Pictures and FITS images named on the command line, without a configuration."""

import resource
import shutil
import signal
import subprocess
import sys

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
from astro_dist.sky.fits_file import verify_fits
from tests import waiting
from tests.enhance.fits_images import RMS, header, sky, write


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
    assert enhance(photo, path, "--out", out) == 0
    assert capsys.readouterr().out.splitlines() == [f"{out}/photo.png: 42 x 36", f"{out}/map.fits: 160 x 128"]
    assert enhance(photo, "--out", tmp_path / "drawn", "--samples", 1, "--calls", 2) == 0
    with Image.open(tmp_path / "drawn" / "photo.png") as found:
        wanted = SuperRes.from_pretrained("enhance").enhance(np.asarray(Image.open(photo)), steps=2)
        # A rounding may fall to the other side.
        assert np.abs(np.asarray(found, int) - np.asarray(wanted, int)).max() <= 1


def test_a_picture_of_16_bits_is_the_same_by_path_and_by_object(tmp_path):
    values = np.random.default_rng(1).integers(0, 65536, (12, 16)).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    by_path, by_object = astro_dist.enhance(tmp_path / "a.png"), astro_dist.enhance(Image.fromarray(values))
    np.testing.assert_array_equal(np.asarray(by_path), np.asarray(by_object))


def test_what_is_there_already_stays_and_the_others_are_made(tmp_path, capsys):
    """A rerun after a stop goes on, even where no file is left to make."""
    paths, out = [write(tmp_path / f"{name}.fits", sky()) for name in "ab"], tmp_path / "out"
    out.mkdir()
    (out / "a.fits").write_text("of the user")
    for again in (False, True):
        assert enhance(*paths, "--out", out) == 0
        said = capsys.readouterr().out.splitlines()
        assert said[0] == f"{out}/a.fits: there already, left as it is; to make it anew name another --out"
        assert ("left as it is" in said[1]) == again
    assert (out / "a.fits").read_text() == "of the user"
    assert len(list(out.iterdir())) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_both_signals_end_the_command_soon_and_files_stay_whole(tmp_path, number):
    rng, out = np.random.default_rng(3), tmp_path / "out"
    paths = [tmp_path / f"{i}.fits" for i in range(4)]
    write(paths[0], rng.normal(size=(1500, 1500)).astype(np.float32))
    for path in paths[1:]:
        shutil.copy(paths[0], path)
    words = [sys.executable, "-m", "astro_dist", "enhance", *map(str, paths), "--out", str(out)]
    begun = waiting.start(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    waiting.wait_until((out / "0.fits").exists, begun)
    begun.send_signal(number)
    said = begun.communicate(timeout=60)[1]
    assert (begun.returncode, said) == (75, "astro-dist: stopped on request; run the same command to go on\n")
    made = sorted(out.iterdir())
    assert 1 <= len(made) < 4
    for path in made:
        fits.getdata(path)
        assert verify_fits(path) == ([], [])


def test_sources_that_are_taken_back_are_told_with_their_places(tmp_path, capsys):
    image = sky(sources=0)
    # Beside a hole the enlargement rises above 5 sigma, and the input stays below 4.
    image[20, 30], image[18:23, 31:34] = 3.9 * RMS, -10 * RMS
    assert enhance(write(tmp_path / "a.fits", image), "--out", tmp_path / "out") == 0
    said = "160 x 128; 1 source that the input does not show was taken back, at (x, y) from 0: (60, 41)"
    assert said in capsys.readouterr().out


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
    error = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[2].partition(":")[0] for line in error[:-1]] == [str(bad)]
    assert error[-1] == "astro-dist: 1 of 2 files are left out, as said above of each"


def test_a_circle_of_links_is_left_out(tmp_path, capsys):
    path, circle = write(tmp_path / "a.fits"), tmp_path / "b.fits"
    circle.symlink_to(circle)
    assert enhance(path, circle, "--out", tmp_path / "out") == 4
    assert f"{circle}: not a file that can be read" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.fits"]


def test_each_of_several_bad_files_is_named(tmp_path, capsys):
    bad = [tmp_path / f"{name}.fits" for name in "abc"]
    for path in bad:
        path.write_text("no image")
    for good, code, summary in (
        ([], 2, "none of the 3 files could be doubled; mend what is said above of each"),
        ([write(tmp_path / "good.fits")], 4, "3 of 4 files are left out, as said above of each"),
    ):
        assert enhance(*bad, *good, "--out", tmp_path / "out") == code
        said = capsys.readouterr().err.splitlines()
        assert [line.split(": ")[1] for line in said[:-1]] == [str(path) for path in bad]
        assert said[-1] == f"astro-dist: {summary}"


@pytest.mark.parametrize("place", ["file", "file/below", "/dev/null", "/proc/x", "link"])
def test_a_place_that_takes_no_files_is_refused_in_a_line(tmp_path, capsys, place):
    path = write(tmp_path / "a.fits")
    (tmp_path / "file").write_text("of the user")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert enhance(path, "--out", tmp_path / place) == 2
    error = capsys.readouterr().err
    assert f"{tmp_path / place}/a.fits cannot be written (" in error
    assert error.endswith("; name another --out\n")
    assert error.count("\n") == 1
    assert (tmp_path / "file").read_text() == "of the user"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            ("a.jpg", "a.png"),
            "out/a.png would be written twice, of {0}/a.jpg and of {0}/a.png; rename",
        ),
        (
            ("a.fits", "a.fts"),
            "out/a.fits would be written twice, of {0}/a.fits and of {0}/a.fts; rename",
        ),
        (("a.jpg", "./a.jpg"), "{0}/a.jpg is named twice; name it once"),
        (("a.fits", "out/a.fits"), "out/a.fits is one of the files to double; name another --out"),
    ],
)
def test_files_of_one_name_and_files_in_the_folder_are_refused(tmp_path, capsys, names, said):
    (tmp_path / "out").mkdir()
    for name in names:
        (write if "f" in name[-4:-1] else save)(tmp_path / name)
    before = (tmp_path / names[-1]).read_bytes()
    assert enhance(*(tmp_path / name for name in names), "--out", tmp_path / "out") == 2
    assert said.format(tmp_path) in capsys.readouterr().err
    assert (tmp_path / names[-1]).read_bytes() == before


@pytest.mark.parametrize("name", ["m.fits", "m.fit", "m.fts", "m.FTS", "m.fits.gz"])
def test_every_suffix_becomes_fits(tmp_path, name):
    write(tmp_path / name)
    assert enhance(tmp_path / name, "--out", tmp_path / "out") == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["m.fits"]


@pytest.mark.parametrize("hdu", ["SCI", "1"])
def test_one_of_several_images_is_chosen(tmp_path, capsys, hdu):
    """The planes of quality inherit the unit, as files of observatories have it."""
    first = fits.PrimaryHDU(header=fits.Header({"BUNIT": "electron/s"}))
    cards = header(beam=False)
    del cards["BUNIT"]
    science = fits.ImageHDU(sky(), cards, name="SCI")
    quality = fits.ImageHDU((sky() > 0).astype(np.uint8), cards, name="DQ")
    path = tmp_path / "m.fits"
    fits.HDUList([first, science, quality]).writeto(path)
    assert enhance(path, "--out", tmp_path / "out") == 2
    assert "HDU 1 SCI 64 x 80; HDU 2 DQ 64 x 80; choose one with --hdu" in capsys.readouterr().err
    assert enhance(path, "--out", tmp_path / "out", "--hdu", "WHT") == 2
    assert "--hdu: WHT is none of its images (HDU 1 SCI" in capsys.readouterr().err
    assert enhance(path, "--out", tmp_path / "out", "--hdu", hdu) == 0
    large = fits.getdata(tmp_path / "out" / "m.fits")
    np.testing.assert_array_equal(large, astro_dist.enhance(path, hdu=int(hdu) if hdu == "1" else hdu))
    with pytest.raises(astro_dist.ConfigError, match=r"choose one with hdu$"):
        astro_dist.enhance(path)


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
        ("two.fits", (), "choose one with --hdu"),
        ("m.fits", ("--samples", "2"), "--samples is for pictures"),
        ("m.fits", ("--calls", "2"), "--calls is for pictures"),
        ("a.png", ("--hdu", "0"), "--hdu is for FITS files; give pictures a command of their own"),
        ("c.yaml", ("--samples", "2"), "--samples is a setting of the configuration"),
        ("c.yaml", ("--hdu", "0"), "--hdu is a setting of the configuration"),
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


def test_a_full_disk_stops_with_75_and_the_same_command_goes_on(tmp_path):
    """A limit on the size of a file is a disk that is full for large ones."""
    paths = [write(tmp_path / "a.fits", sky((16, 16))), write(tmp_path / "b.fits", sky((256, 256)))]
    words = [sys.executable, "-m", "astro_dist", "enhance", *map(str, paths), "--out", str(tmp_path / "out")]

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))

    done = subprocess.run(words, preexec_fn=limit, capture_output=True, text=True, timeout=300)
    assert done.returncode == 75, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "the disk is full" in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.fits"]
    assert enhance(*paths, "--out", tmp_path / "out") == 0
    assert (tmp_path / "out" / "b.fits").exists()


def test_numbers_of_samples_and_calls_have_bounds(tmp_path, capsys):
    photo = save(tmp_path / "photo.png")
    for option, most in (("--calls", 10000), ("--samples", 1024)):
        assert enhance(photo, "--out", tmp_path / "out", option, most + 1) == 2
        assert f"{option} is {most + 1}; give a number from 1 to {most}" in capsys.readouterr().err
