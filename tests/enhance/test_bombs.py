"""Files that would take all memory: refused in one line before they are decoded, or left out of many."""

import numpy as np
import pytest
from PIL import Image

from astro_dist.store.reader import StoreReader
from tests.enhance.fits_images import write
from tests.pictures.test_decode import png
from tests.sky.fuzz_fits import make_bombs

BOMBS = ("bad gzip size", "bad gzip of gzip", "bad size", "bad tile bomb", "bad NAXIS2 4294967296")


@pytest.fixture(scope="module")
def bombs():
    """Small FITS files that claim, or unpack to, gigabytes; by name."""
    return {name: data for name, data in make_bombs() if name in BOMBS}


def configure(tmp_path, text):
    path = tmp_path / "a.yaml"
    path.write_text(f"pipeline: enhance\n{text}\n")
    return path


def test_a_fits_file_that_unpacks_to_gigabytes_is_refused_in_a_line(tmp_path, command, bombs):
    assert set(bombs) == set(BOMBS)
    for number, (name, data) in enumerate(bombs.items()):
        bad = tmp_path / f"{number}.fits{'.gz' if 'gzip' in name else ''}"
        bad.write_bytes(data)
        config = configure(tmp_path, f'enhance: {{files: ["{bad}"]}}')
        done = command("enhance", config, "--out", tmp_path / f"run{number}", "--on", "serial", "-q")
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), (name, done.stderr)
        assert bad.name in done.stderr


def test_one_bomb_of_several_maps_is_left_out(tmp_path, command, bombs):
    write(tmp_path / "good.fits")
    (tmp_path / "bomb.fits.gz").write_bytes(bombs["bad gzip size"])
    config = configure(tmp_path, f'enhance: {{files: ["{tmp_path}/*.fits*"]}}')
    done = command("enhance", config, "--out", tmp_path / "run", "--on", "serial")
    assert done.returncode == 4, done.stderr
    assert (tmp_path / "run" / "enhanced" / "good.fits").exists()
    assert "enhance: 1 quarantined" in done.stderr
    assert "bomb" in done.stderr


def test_a_picture_that_unpacks_to_gigabytes_is_named_and_the_others_go_on(tmp_path, command):
    rng = np.random.default_rng(1)
    for i, label in enumerate("aaaabbbb"):
        (tmp_path / "in" / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)).save(
            tmp_path / "in" / label / f"{i}.png"
        )
    (tmp_path / "in" / "a" / "bomb.png").write_bytes(png(60_000, 60_000))
    sections = f"pictures: {{path: {tmp_path / 'in'}, size_pix: 16}}\nenhance: {{chain: [bicubic]}}"
    words = ("--to", "enhance", "--out", tmp_path / "run", "--on", "serial")
    done = command("run", configure(tmp_path, sections), *words)
    assert "bomb.png" in done.stderr
    assert done.returncode == 4
    reader = StoreReader(tmp_path / "run" / "enhanced" / "pictures.zarr")
    # Its row is there, and in no split.
    assert (len(reader), sum(len(reader.select(split)) for split in ("train", "validation", "test"))) == (
        9,
        8,
    )
