"""What no chain and no training can use is refused in one line that says how to mend it."""

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.enhance.fits_images import sky, write

TRAINING = {"steps": 1, "batch_size": 2, "crop_pix": 16}


def fits_run(tmp_path, command, **settings):
    path = tmp_path / "bad.fits"
    tree = {"pipeline": "enhance", "enhance": {"files": [str(path)], **settings}}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(tree))
    return command("enhance", tmp_path / "c.yaml", "--out", tmp_path / "run", "--on", "serial", "-q")


@pytest.mark.parametrize(
    ("image", "cards", "said"),
    [
        (sky(), {"CRPIX1": "left"}, "its CRPIX1 is 'left', which is no number"),
        (sky().astype(np.float64) * 1e303, {}, "values beyond 1e.17; divide it"),
        (np.full((32, 32), np.inf, np.float32), {}, "no pixel holds data"),
    ],
)
def test_maps(tmp_path, command, image, cards, said):
    write(tmp_path / "bad.fits", image, **cards)
    done = fits_run(tmp_path, command)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    import re

    assert re.search(said, done.stderr)


def test_a_wrong_hdu_names_its_setting_and_a_wide_beam_is_fine(tmp_path, command):
    write(tmp_path / "bad.fits")
    assert "enhance.hdu: SCI is none of its images" in fits_run(tmp_path, command, hdu="SCI").stderr
    assert "fwhm_pix: must be at most 10000" in fits_run(tmp_path, command, fwhm_pix=1e9).stderr
    assert fits_run(tmp_path, command, fwhm_pix=1e4).returncode == 0


@pytest.fixture
def pictures(tmp_path):
    """Write pictures of two classes, each made by a function of its number."""

    def make(draw):
        for name in ("a", "b"):
            (tmp_path / "pictures" / name).mkdir(parents=True, exist_ok=True)
            for i in range(5):
                Image.fromarray(draw(i)).save(tmp_path / "pictures" / name / f"{i}.png")

    return make


def grey(i):
    values = np.random.default_rng(i).integers(0, 256, (16, 16)).astype(np.uint8)
    return np.stack([values] * 3, -1)


def constant(i):
    return np.full((16, 16, 3), (20 * i, 9, 200), np.uint8)


def one_pixel(i):
    return constant(i)[:1, :1]


COLOUR, CLEANER = {"colourise": {**TRAINING, "gan": False}}, {"cleaner": {**TRAINING, "crop_pix": 32}}


@pytest.mark.parametrize(
    ("draw", "section", "said"),
    [
        (grey, COLOUR, "the pictures of the training split are grey"),
        (
            constant,
            {"superres": {**TRAINING, "preset": "local", "width": 8}},
            "none of 10 can be used; a/0.png",
        ),
        (constant, COLOUR, "none of 10 can be used; a/0.png: one colour everywhere"),
        (one_pixel, CLEANER, "none of 10 can be used; a/0.png: one colour everywhere"),
        (one_pixel, {"enhance": {}}, "none of 10 can be used; a/0.png: one colour everywhere"),
    ],
)
def test_pictures_that_nothing_can_be_learnt_from(tmp_path, command, pictures, draw, section, said):
    pictures(draw)
    done = picture_run(tmp_path, command, section)
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[-1]


def picture_run(tmp_path, command, section, **settings):
    tree = {"pipeline": "enhance", **section}
    tree["pictures"] = {"path": str(tmp_path / "pictures"), "size_pix": 32, "duplicates": False, **settings}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(tree))
    return command("run", tmp_path / "c.yaml", "--out", tmp_path / "run", "--on", "serial", "-q")


def test_a_constant_picture_of_many_is_left_out_by_name(tmp_path, command, pictures):
    pictures(lambda i: constant(i) if i == 3 else grey(i))
    done = picture_run(tmp_path, command, {"enhance": {}})
    assert done.returncode == 4
    assert "2 quarantined (a/3.png: one colour everywhere" in done.stderr.splitlines()[-1]


def test_bits_that_are_cut_are_said(tmp_path, command, pictures):
    pictures(lambda i: grey(i)[..., 0].astype(np.uint16) * 257)
    assert (
        "pictures of 16 bits, such as 0.png, are stored with 8" in picture_run(tmp_path, command, {}).stderr
    )
    assert "16 bits" not in picture_run(tmp_path, command, {}, dtype="float32").stderr
