"""The library holds what extraction gives, in order, and reads it back turned."""

import numpy as np
import pytest

from astro_dist.field.library import Library, build_library, choose_classes
from astro_dist.field.objects import AcceptConfig, extract_objects
from astro_dist.sky.beams import apply_symmetry
from astro_dist.store.reader import StoreReader
from tests.field.small_sky import BEAM, PIXEL, RMS, write_stamp_store


@pytest.fixture(scope="module")
def stamps(tmp_path_factory):
    path = tmp_path_factory.mktemp("library") / "stamps.zarr"
    write_stamp_store(path, 20, BEAM, PIXEL, 1)
    return StoreReader(path)


def test_objects_come_back_as_extracted(stamps, tmp_path):
    told = []
    rejected = build_library(tmp_path, stamps, [PIXEL] * 20, AcceptConfig(), tell=told.append)
    library = Library(tmp_path)
    assert told == list(range(1, 21))
    assert not rejected
    assert len(library) == 40
    number = 0
    for stamp in range(20):
        arrays = [stamps.read(name, [stamp])[0] for name in ("image", "mask", "instances")]
        for item in extract_objects(*arrays, np.float32(RMS).item(), BEAM, PIXEL, AcceptConfig(), stamp)[0]:
            row = {name: values[number] for name, values in library.table.items()}
            assert (row["stamp"], row["instance"], row["class"]) == (stamp, item.instance, item.source_class)
            assert row["n_pix"] == np.count_nonzero(item.shape)
            assert np.array_equal(library.shape(number), item.shape)
            assert np.array_equal(library.shape(number, 5), apply_symmetry(item.shape, 5))
            number += 1
    assert number == 40


def test_rejected_objects_are_counted(stamps, tmp_path):
    rejected = build_library(tmp_path, stamps, [PIXEL] * 20, AcceptConfig(min_snr=40.0))
    assert 0 < len(Library(tmp_path)) < 40
    assert rejected["faint"] == 40 - len(Library(tmp_path))


def test_a_library_may_be_empty(stamps, tmp_path):
    build_library(tmp_path, stamps, [PIXEL] * 20, AcceptConfig(min_snr=1000.0))
    assert len(Library(tmp_path)) == 0


def test_spurious_objects_are_chosen_on_demand():
    assert choose_classes(AcceptConfig(), spurious=False).classes == ("compact", "extended")
    assert choose_classes(AcceptConfig(), spurious=True).classes == ("compact", "extended", "spurious")
    both = AcceptConfig(classes=("spurious", "compact"))
    assert choose_classes(both, spurious=False).classes == ("compact",)
