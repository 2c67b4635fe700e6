"""Pictures of a user enlarged: in Python as FLARE's README has it, and by the command."""

import numpy as np
import pytest
import torch
from PIL import Image

from astro_dist.engine.errors import ConfigError, DataError
from astro_dist.flare import SwinIR
from astro_dist.models import swinir
from astro_dist.pictures.images import BICUBIC


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A folder of an untrained upscaler, which enlarges as bicubic does."""
    folder = tmp_path_factory.mktemp("weights") / "models" / "upscaler"
    swinir.build_swinir("tiny", 2, 3).save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.fixture(scope="module")
def upscaler(weights):
    return SwinIR.from_pretrained(weights, tile_pix=16)


def picture(mode="RGB", size=(21, 34)):
    values = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    return Image.fromarray(values).convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK"])
def test_an_image_gives_an_image(upscaler, mode):
    """Within the rounding of Pillow's two passes over bytes."""
    large, grey = upscaler.enhance(picture(mode)), mode == "L"
    assert (large.size, large.mode) == ((42, 68), "L" if grey else "RGB")
    wanted = picture(mode).convert("L" if grey else "RGB").resize((42, 68), BICUBIC)
    assert np.abs(np.asarray(large, float) - np.asarray(wanted, float)).mean() < 1


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_an_array_gives_an_array(upscaler, mode):
    found = upscaler.enhance(np.asarray(picture(mode)))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, np.asarray(upscaler.enhance(picture(mode))))


def test_arrays_of_other_ranges_are_no_other_pictures(upscaler):
    colours = np.asarray(picture())
    eight = upscaler.enhance(colours)
    unit = upscaler.enhance(colours.astype(np.float32) / 255)
    np.testing.assert_allclose(255 * unit, eight, atol=1e-4)
    np.testing.assert_array_equal(
        upscaler.enhance(colours.astype(np.uint16) * 257), eight.astype(np.uint16) * 257
    )
    np.testing.assert_array_equal(upscaler.enhance(colours.transpose(2, 0, 1)), eight.transpose(2, 0, 1))
    with pytest.raises(DataError, match="of the type int64 is no picture"):
        upscaler.enhance(colours.astype(int))


def test_a_run_a_folder_and_a_file_of_the_authors_are_upscalers(weights, tmp_path):
    file = tmp_path / "model.pth"
    made = swinir.SwinIR(width=12, depths=(2,), heads=2, scale=4, planes=1, features=8, base="none")
    torch.save({"params": made.state_dict()}, file)
    assert SwinIR.from_pretrained(weights.parents[1]).enhance(picture()).size == (42, 68)
    assert SwinIR.from_pretrained(str(file)).enhance(picture("L")).size == (84, 136)


def test_what_is_no_upscaler_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "none.pth", "small"):
        with pytest.raises(ConfigError, match="neither a folder with a published upscaler") as refused:
            SwinIR.from_pretrained(path)
        # No setting names the weights here.
        assert "start_from" not in str(refused.value)


@pytest.mark.parametrize("size", [(7, 30), (30, 7)])
def test_too_small_pictures_are_refused(upscaler, size):
    with pytest.raises(DataError, match="cannot be enlarged: from 8 x 8 pixels"):
        upscaler.enhance(picture(size=size))


def test_the_command_writes_png_files(weights, tmp_path, command):
    picture().save(tmp_path / "a.png")
    # Turned by EXIF: the camera lay on its side.
    exif = Image.Exif()
    exif[0x0112] = 6
    picture().save(tmp_path / "b.jpg", exif=exif)
    both = (tmp_path / "a.png", tmp_path / "b.jpg")
    words = ("flare", "upscale", *both, "--out", tmp_path / "out", "--model", weights)
    done = command(*words)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "out" / "a.png") as a, Image.open(tmp_path / "out" / "b.png") as b:
        assert (a.size, b.size) == ((42, 68), (68, 42))
    before = (tmp_path / "out" / "a.png").read_bytes()
    again = command(*words)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert "already" in again.stderr
    assert (tmp_path / "out" / "a.png").read_bytes() == before


@pytest.mark.parametrize("content", [b"no picture", None], ids=["text", "absent"])
def test_a_file_that_is_no_picture_is_named(weights, tmp_path, command, content):
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    done = command("flare", "upscale", tmp_path / "a.png", "--out", tmp_path / "out", "--model", weights)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "a.png" in done.stderr
