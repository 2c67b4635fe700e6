"""Pictures in HDF5 and npz files: read by slices, bounded first, nothing unpickled."""

import zipfile

import h5py
import numpy as np
import pytest

from astro_dist.engine.errors import ConfigError, DataError
from astro_dist.pictures.config import PicturesConfig
from astro_dist.pictures.listing import open_listing

N, SIDE = 9, 20
IMAGES = np.random.default_rng(2).integers(0, 256, (N, SIDE, SIDE, 3)).astype(np.uint8)
ANSWERS = np.arange(N) % 3


def write(path, images=IMAGES, answers=ANSWERS):
    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["images"], file["ans"] = images, answers
    else:
        save = np.savez_compressed if "packed" in path.name else np.savez
        save(path, images=images, ans=answers)
    return path


def listed(path, **settings):
    return open_listing(PicturesConfig(file=str(path), size_pix=SIDE, **settings), 1)


@pytest.mark.parametrize("name", ["a.h5", "a.npz", "packed.npz"])
def test_pictures_and_answers_come_back_in_any_order(tmp_path, name):
    found = listed(write(tmp_path / name), classes=("x", "y", "z"))
    assert found.classes == ("x", "y", "z")
    assert found.labels.tolist() == ANSWERS.tolist()
    for row in (7, 0, 3):
        np.testing.assert_array_equal(found.read(row), IMAGES[row].transpose(2, 0, 1))
    assert found.source.paths == [tmp_path / name]
    assert listed(tmp_path / name).classes == ("0", "1", "2")
    grey = listed(write(tmp_path / f"grey-{name}", IMAGES[..., 0]), planes=1)
    np.testing.assert_array_equal(grey.read(4)[0], IMAGES[4, ..., 0])


REFUSED = {
    "float": ({"images": IMAGES / 255.0}, "images is float64"),
    "shape": ({"images": IMAGES[0]}, r"images has not|ans has not|images is uint8 of shape \(20, 20, 3\)"),
    "planes": ({"images": np.zeros((N, SIDE, SIDE, 4), np.uint8)}, "what is read is uint8"),
    "answers": ({"answers": ANSWERS[:-1]}, "ans has not one number for each of 9 pictures"),
    "text": ({"answers": ANSWERS / 2}, "ans is float64"),
    "negative": ({"answers": ANSWERS - 1}, "classes are whole numbers from 0 on"),
}


@pytest.mark.parametrize("name", ["a.h5", "a.npz"])
@pytest.mark.parametrize("case", REFUSED)
def test_arrays_that_are_no_pictures_are_one_line(tmp_path, name, case):
    arrays, message = REFUSED[case]
    with pytest.raises(ConfigError, match=message) as caught:
        listed(write(tmp_path / name, **arrays))
    assert "\n" not in str(caught.value)


def test_a_claimed_size_is_bounded_before_anything_is_read(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("images", (3, 60_000, 60_000, 3), np.uint8, chunks=(1, 64, 64, 3))
        file["ans"] = np.arange(3)
    with pytest.raises(ConfigError, match="at most 5000000 of 10000 pixels fit"):
        listed(tmp_path / "a.h5")


def test_links_to_other_files_and_missing_arrays_are_refused(tmp_path):
    write(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["images"] = h5py.ExternalLink(str(tmp_path / "a.h5"), "images")
        file["ans"] = ANSWERS
    with pytest.raises(ConfigError, match="no array 'images' of its own"):
        listed(tmp_path / "b.h5")
    np.savez(tmp_path / "b.npz", pictures=IMAGES)
    with pytest.raises(ConfigError, match="no array 'images'; it has pictures"):
        listed(tmp_path / "b.npz")


def test_objects_are_never_unpickled(tmp_path):
    np.savez(tmp_path / "a.npz", images=IMAGES, ans=np.array([print] * N, object))
    with pytest.raises(ConfigError, match="it holds objects"):
        listed(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["a.h5", "a.npz", "absent.h5"])
def test_a_file_that_is_none_is_one_line(tmp_path, name):
    if name != "absent.h5":
        (tmp_path / name).write_bytes(b"nothing")
    with pytest.raises(ConfigError, match=r"pictures\.file .*: (no readable|there is no such)"):
        listed(tmp_path / name)


@pytest.mark.parametrize("name", ["a.npz", "packed.npz"])
def test_a_damaged_picture_is_named(tmp_path, name):
    """Whichever is read first: a file has one checksum for all of its pictures."""
    path = write(tmp_path / name)
    found = listed(path)
    with zipfile.ZipFile(path) as file:
        start = file.getinfo("images.npy").header_offset
    data = bytearray(path.read_bytes())
    data[start + 5000] ^= 255
    path.write_bytes(data)
    for row in (N - 1, 0):
        with pytest.raises(DataError, match=f"picture {row}: .* is damaged"):
            found.read(row)


def test_answers_without_a_name_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"2 names, and .* has the answer 2"):
        listed(write(tmp_path / "a.npz"), classes=("x", "y"))
