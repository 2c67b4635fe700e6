import hashlib
import pickle

import numpy as np
import pytest

from astro_dist.engine.errors import IntegrityError
from astro_dist.engine.files import sha256_file
from astro_dist.sky.annotations import (
    ISLANDS,
    MESH,
    PIXELS,
    Annotations,
    PixelWriter,
    read_parquet,
    write_parquet,
)
from astro_dist.sky.windows import Window

SHAPES = [(20, 30), (10, 10), (20, 30)]
CELL = 10


def picture(seed):
    """Return a random image of island numbers."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(SHAPES[0]) < 0.2, rng.integers(1, 4, SHAPES[0]), 0).astype(np.int32)


@pytest.fixture
def folder(tmp_path):
    """Publish three maps by hand; the second has no islands."""
    images = {0: picture(1), 2: picture(2)}
    with PixelWriter(tmp_path / PIXELS) as writer:
        for index, image in images.items():
            y, x = (axis.astype(np.int32)[::-1] for axis in np.nonzero(image))
            writer.write(index, y, x, image[y, x])
    islands = {
        "map": np.int32([0, 0, 0, 2, 2, 2]),
        "island": np.int32([1, 2, 3, 1, 2, 3]),
        "class": np.uint8([2, 3, 1, 3, 2, 2]),
        "rule": np.array(["beam", "area", "ray", "peaks", "beam", "beam"]),
    }
    about = [{"name": f"m{i}", "shape": shape, "cell_pix": CELL} for i, shape in enumerate(SHAPES)]
    write_parquet(tmp_path / ISLANDS, islands, about)
    owner = np.repeat(np.int32([0, 1, 2]), [6, 1, 6])
    nodes = np.arange(13, dtype=np.float32)
    write_parquet(tmp_path / MESH, {"map": owner, "background_jy_beam": nodes, "rms_jy_beam": nodes + 100})
    return tmp_path


def test_tables_come_back(folder):
    annotations = Annotations.load(folder)
    assert annotations.map_names == ["m0", "m1", "m2"]
    assert annotations.islands["rule"].tolist() == ["beam", "area", "ray", "peaks", "beam", "beam"]
    assert annotations.islands["class"].dtype == np.uint8


@pytest.mark.parametrize("index", [0, 2])
@pytest.mark.parametrize("window", [Window(0, 20, 0, 30), Window(5, 9, 7, 23), Window(-3, 8, 25, 40)])
def test_windows_are_painted(folder, index, window):
    annotations = Annotations.load(folder)
    mask, instances = annotations.paint(index, window)
    image = np.zeros((60, 80), np.int32)
    image[20:40, 20:50] = picture(1 + index // 2)
    expected = image[window.shifted(20, 20).slices]
    classes = np.uint8([0, 2, 3, 1] if index == 0 else [0, 3, 2, 2])
    np.testing.assert_array_equal(instances, expected)
    np.testing.assert_array_equal(mask, classes[expected])
    assert (mask.dtype, instances.dtype) == (np.uint8, np.int32)


def test_a_map_without_islands_is_blank(folder):
    mask, instances = Annotations.load(folder).paint(1, Window(0, 10, 0, 10))
    assert not mask.any()
    assert not instances.any()


def test_meshes_come_back(folder):
    annotations = Annotations.load(folder)
    mesh = annotations.mesh(2)
    assert mesh.shape == (20, 30)
    np.testing.assert_array_equal(mesh.background, np.arange(7, 13).reshape(2, 3))
    np.testing.assert_array_equal(mesh.rms, mesh.background + 100)
    assert annotations.mesh(1).background.tolist() == [[6]]


def test_annotations_travel_between_processes(folder):
    annotations = Annotations.load(folder)
    annotations.paint(0, Window(0, 5, 0, 5))
    again = pickle.loads(pickle.dumps(annotations))
    for a, b in zip(
        again.paint(2, Window(0, 9, 0, 9)), annotations.paint(2, Window(0, 9, 0, 9)), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_a_table_is_the_same_bytes_again(tmp_path):
    columns = {"a": np.arange(9.0), "b": np.array(["x", "yy"] * 4 + ["z"])}
    for name in "12":
        write_parquet(tmp_path / name, columns, {"k": [1, 2]})
    assert sha256_file(tmp_path / "1") == sha256_file(tmp_path / "2")
    assert hashlib.sha256((tmp_path / "1").read_bytes()).hexdigest() == sha256_file(tmp_path / "1")
    found, about = read_parquet(tmp_path / "1")
    assert about == {"k": [1, 2]}
    assert found["b"].tolist() == columns["b"].tolist()


@pytest.mark.parametrize("name", [ISLANDS, MESH, PIXELS])
@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_missing_and_damaged_files_are_named(folder, name, damage):
    path = folder / name
    data = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    with pytest.raises(IntegrityError, match=name):
        Annotations.load(folder).paint(0, Window(0, 5, 0, 5))
