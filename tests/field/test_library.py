"""The library holds what extraction gives, in order, and reads it back turned."""

import numpy as np
import pytest

from astro_dist.field.config import AcceptConfig, AssembleConfig
from astro_dist.field.flux import stretch_shape
from astro_dist.field.library import Library, build_library
from astro_dist.field.modelling import model_objects
from astro_dist.field.object_files import MOMENT_TYPES, write_objects
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
        for item in model_objects(found, AcceptConfig())[0]:
            yield item, image, instances


def test_models_come_back_as_made(stamps, tmp_path):
    assert build_library(tmp_path, objects_files(stamps.path), AssembleConfig()) == 40
    library = Library(tmp_path)
    assert len(library) == 40
    for number, (item, _, _) in enumerate(extract_all(stamps)):
        row = {name: values[number] for name, values in library.table.items()}
        assert (row["stamp"], row["instance"], row["class"]) == (item.stamp, item.instance, item.source_class)
        assert (row["y0"], row["x0"], row["drawn"]) == (item.model.y0, item.model.x0, 0)
        assert [row[f"spread_{name}"] for name in ("yy", "yx", "xx")] == item.model.spread_pix.tolist()
        assert row["residual"] == np.float32(item.model.residual)
        assert np.array_equal(library.pixels(number), item.model.pixels)
        assert row["sum"] == pytest.approx(1, abs=1e-5)
        # The brightest point lies in the box of the drawing, near its brightest pixel.
        y, x = np.unravel_index(item.shape.argmax(), item.shape.shape)
        assert np.hypot(row["core_y"] - item.box.y0 - y, row["core_x"] - item.box.x0 - x) < 1
    assert number == 39


def test_drawings_come_back_as_extracted(stamps, tmp_path):
    config = AssembleConfig(compact="drawn")
    assert build_library(tmp_path, objects_files(stamps.path), config) == 40
    library = Library(tmp_path)
    for number, (item, _, _) in enumerate(extract_all(stamps)):
        row = {name: values[number] for name, values in library.table.items()}
        assert row["drawn"] == (item.source_class == 2)
        if row["drawn"]:
            assert (row["y0"], row["x0"]) == (item.box.y0, item.box.x0)
            assert {n: row[n] for n in MOMENT_TYPES} == pytest.approx(moments_of(item.shape), rel=1e-6)
            assert np.array_equal(library.pixels(number), item.shape)
            assert np.array_equal(library.pixels(number, 5), apply_symmetry(item.shape, 5))


def test_spurious_objects_come_on_demand_and_as_drawn(stamps, tmp_path):
    assert build_library(tmp_path, objects_files(stamps.path), AssembleConfig(spurious=True)) == 45
    table = Library(tmp_path).table
    assert np.bincount(table["class"]).tolist() == [0, 5, 20, 20]
    assert np.array_equal(table["drawn"] == 1, table["class"] == 1)
    shape = Library(tmp_path).pixels(int(np.flatnonzero(table["class"] == 1)[1]))
    assert shape.max() == 1


def test_stretched_shapes_are_those_of_the_object_s_own_mask(stamps, tmp_path):
    config = AssembleConfig(flux={"mode": "radiff_stretched"})
    build_library(tmp_path, objects_files(stamps.path), config, stamps)
    library = Library(tmp_path)
    for number, (item, image, instances) in enumerate(extract_all(stamps)):
        inside = instances[item.box.slices] == item.instance
        expected = stretch_shape(image[item.box.slices], inside, np.float32(RMS).item())
        assert np.array_equal(library.pixels(number), expected)
        assert library.table["n_pix"][number] == inside.sum()
        assert library.table["peak"][number] == expected.max()


def test_pieces_are_numbered_by_flux_and_lie_on_their_side(stamps, tmp_path):
    """The two lobes of a double whose mask is of two pieces: the points of the brighter one are the first."""
    build_library(tmp_path, objects_files(stamps.path), AssembleConfig())
    library, seen = Library(tmp_path), 0
    for number, (item, *_) in enumerate(extract_all(stamps)):
        pieces, pixels = library.pieces(number), library.pixels(number)
        assert pieces.shape == pixels.shape
        assert pieces.max() == library.table["n_components"][number]
        flux = np.bincount(pieces.ravel(), pixels.ravel())[1:]
        assert (np.diff(flux) <= 0).all()
        seen += len(flux) == 2
        assert (item.pieces is not None) == (len(flux) == 2)
    assert seen > 8


def test_a_library_may_be_empty(tmp_path):
    write_objects(tmp_path / "objects" / "00000.parquet", [])
    assert build_library(tmp_path, objects_files(tmp_path), AssembleConfig()) == 0
    assert len(Library(tmp_path)) == 0
