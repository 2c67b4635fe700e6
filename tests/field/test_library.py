"""The library holds what extraction gives, in order, and reads it back turned."""

import numpy as np
import pytest

from astro_dist.field.config import AcceptConfig
from astro_dist.field.flux import stretch_shape
from astro_dist.field.library import MOMENT_TYPES, Library, build_library, write_objects
from astro_dist.field.objects import extract_objects
from astro_dist.field.truth import moments_of
from astro_dist.sky.symmetries import apply_symmetry
from astro_dist.store.reader import StoreReader
from astro_dist.store.stamps import objects_files
from tests.field.small_sky import BEAM, PIXEL, RMS, write_stamp_store


@pytest.fixture(scope="module")
def stamps(tmp_path_factory):
    path = tmp_path_factory.mktemp("library") / "stamps.zarr"
    write_stamp_store(path, 20, BEAM, PIXEL, 1)
    return StoreReader(path)


def extract_all(stamps):
    for stamp in range(20):
        image, mask, instances = (stamps.read(name, [stamp])[0] for name in ("image", "mask", "instances"))
        found, _ = extract_objects(image, mask, instances, RMS, BEAM, PIXEL, AcceptConfig(), stamp)
        for item in found:
            yield item, image, instances


def test_objects_come_back_as_extracted(stamps, tmp_path):
    assert build_library(tmp_path, objects_files(stamps.path)) == 40
    library = Library(tmp_path)
    assert len(library) == 40
    for number, (item, _, _) in enumerate(extract_all(stamps)):
        row = {name: values[number] for name, values in library.table.items()}
        assert (row["stamp"], row["instance"], row["class"]) == (item.stamp, item.instance, item.source_class)
        assert (row["stamp_y0"], row["stamp_x0"]) == (item.box.y0, item.box.x0)
        assert {name: row[name] for name in MOMENT_TYPES} == pytest.approx(moments_of(item.shape), rel=1e-6)
        assert np.array_equal(library.shape(number), item.shape)
        assert np.array_equal(library.shape(number, 5), apply_symmetry(item.shape, 5))
    assert number == 39


def test_spurious_objects_come_on_demand(stamps, tmp_path):
    assert build_library(tmp_path, objects_files(stamps.path), spurious=True) == 45
    table = Library(tmp_path).table
    assert np.bincount(table["class"]).tolist() == [0, 5, 20, 20]
    shape = Library(tmp_path).shape(int(np.flatnonzero(table["class"] == 1)[1]))
    assert shape.max() == 1


def test_stretched_shapes_are_those_of_the_object_s_own_mask(stamps, tmp_path):
    build_library(tmp_path, objects_files(stamps.path), stretched=stamps)
    library = Library(tmp_path)
    for number, (item, image, instances) in enumerate(extract_all(stamps)):
        inside = instances[item.box.slices] == item.instance
        expected = stretch_shape(image[item.box.slices], inside, np.float32(RMS).item())
        assert np.array_equal(library.shape(number), expected)
        assert library.table["n_pix"][number] == inside.sum()
        assert library.table["peak"][number] == expected.max()


def test_a_library_may_be_empty(tmp_path):
    write_objects(tmp_path / "objects" / "00000.parquet", [])
    assert build_library(tmp_path, objects_files(tmp_path)) == 0
    assert len(Library(tmp_path)) == 0
