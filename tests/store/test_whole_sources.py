"""A source of several islands is one instance from the annotations to the windows and their columns."""

import numpy as np
import pytest
import xarray

from astro_dist.sky.annotations import Annotations, read_parquet, write_parquet
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.islands import Cut
from astro_dist.sky.windows import Window
from astro_dist.store.centring import centre_windows, find_cut
from astro_dist.store.reader import StoreReader
from astro_dist.store.schema import Flag
from astro_dist.store.stage import CUTOUTS
from astro_dist.store.verify import verify_store
from tests.store.small_survey import SmallMap, execute, make_run

COMPACT, EXTENDED, SPURIOUS = SourceClass.COMPACT, SourceClass.EXTENDED, SourceClass.SPURIOUS
ISLANDS = [
    (COMPACT, 40, 44, 30, 34),  # 1: a lobe of 1
    (SPURIOUS, 52, 54, 90, 92),  # 2
    (COMPACT, 60, 64, 32, 36),  # 3: between the lobes of 1, another source
    (COMPACT, 80, 85, 30, 35),  # 4: the other lobe of 1
    (EXTENDED, 120, 140, 120, 130),  # 5: cut
    (COMPACT, 150, 153, 20, 23),  # 6: cut
]
SOURCE = np.array([1, 2, 3, 1, 5, 6])


def join(folder):
    """Give the islands of a written annotation the sources and flags that `annotate` would."""
    islands, about = read_parquet(folder / "islands.parquet")
    flags = np.where(islands["island"] > 4, Cut.EDGE, 0).astype(np.uint8)
    islands |= {"source": SOURCE.astype(np.int32), "flags": flags, "joined_by": np.array([""] * 6)}
    write_parquet(folder / "islands.parquet", islands, about)
    numbers, first, count = np.unique(SOURCE, return_index=True, return_counts=True)
    sources = {name: values[first] for name, values in islands.items() if name not in ("island", "joined_by")}
    for name, extreme in (("y0", min), ("y1", max), ("x0", min), ("x1", max)):
        sources[name] = np.array([extreme(islands[name][numbers[i] == SOURCE]) for i in range(5)], np.int32)
    sources["class"] = np.where(count > 1, EXTENDED, sources["class"]).astype(np.uint8)
    sources |= {"source": numbers.astype(np.int32), "n_components": count.astype(np.int32)}
    write_parquet(folder / "sources.parquet", sources)


@pytest.fixture
def make(tmp_path):
    def cut(**settings):
        run = make_run(tmp_path, [SmallMap("a", (200, 200), ISLANDS)], CUTOUTS, size_pix=80, **settings)
        join(run.product("annotations"))
        return run, *execute(CUTOUTS, run)

    return cut


def test_islands_of_one_source_are_painted_as_one_extended_instance(make):
    run, _, _ = make(empty_fraction=0)
    found = Annotations.load(run.product("annotations"))
    mask, sources = found.paint(0, Window(0, 200, 0, 200))
    for (kind, y0, y1, x0, x1), source in zip(ISLANDS, SOURCE, strict=True):
        assert (sources[y0:y1, x0:x1] == source).all()
        assert (mask[y0:y1, x0:x1] == (EXTENDED if source == 1 else kind)).all()
    assert np.count_nonzero(sources) == sum((y1 - y0) * (x1 - x0) for _, y0, y1, x0, x1 in ISLANDS)


def test_a_window_holds_a_source_whole_and_columns_count_it(make):
    run, _, facts = make(empty_fraction=0, jitter_pix=0)
    reader = StoreReader(run.output)
    columns = reader.columns
    whole = np.flatnonzero(columns["n_joined"])
    assert facts["n_joined"] == len(whole) >= 1
    instances, mask = reader.read("instances", whole), reader.read("mask", whole)
    sizes = {int(np.count_nonzero(one[0])) for one in zip((instances == 1) & (mask == EXTENDED), strict=True)}
    assert sizes == {16 + 25}
    # Two sources, one between the islands of the other, have two numbers.
    assert set(columns["n_objects"][whole].tolist()) == {2}
    flagged = columns["flags"] & Flag.CUT_EXTENDED > 0
    assert columns["n_cut"].sum() >= 2
    assert flagged.any()
    assert (columns["n_cut"][flagged] > 0).all()
    compact_only = (columns["n_cut"] > 0) & ~flagged
    assert compact_only.any()
    assert facts["flagged"]["cut_extended"] == flagged.sum()
    assert verify_store(run.output) == []
    with xarray.open_zarr(run.output) as opened:
        assert opened.n_joined.values.tolist() == columns["n_joined"].tolist()


def test_tiles_that_hold_one_lobe_are_marked_and_those_of_both_are_not(make):
    run, _, _ = make(mode="tiles", stride_pix=40)
    columns = StoreReader(run.output).columns
    cut = (columns["flags"] & Flag.CUTS_EXTENDED) > 0
    at = np.stack([columns["y0"], columns["x0"]])[:, cut].T.tolist()
    # Rows 0 to 79 and 80 to 159 hold a lobe each, rows 40 to 119 both.
    assert at == [[0, 0], [80, 0]]


def test_only_a_window_that_meets_an_island_and_not_the_whole_source_cuts_it():
    """A window between the lobes holds no pixel of the source."""
    parts = np.array([[10, 20, 10, 20, 10, 90, 10, 20], [80, 90, 10, 20, 10, 90, 10, 20]])
    y0 = np.array([0, 15, 21, 40, 60, 81])
    assert find_cut(y0, np.zeros(6, int), 40, parts).tolist() == [True, True, False, False, True, True]
    assert find_cut(np.array(5), np.array(5), 90, parts) == False  # noqa: E712
    boxes = np.array([[10, 90, 10, 20], [40, 50, 12, 18]])
    found = centre_windows((200, 200), boxes, np.array([True, False]), 40, 0, np.random.default_rng(1), parts)
    assert found.oversized.tolist() == [0]
    assert found.cuts_extended.tolist() == [False]
    assert 21 <= found.y0[0] <= 40
