import numpy as np
import pytest

from astro_dist.engine.files import publish_bytes, sha256_file
from astro_dist.report import tables
from tests.report.small_run import add_stores, make_run, publish


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (True, "yes"),
        (1234567, "1,234,567"),
        (0.00012345, "0.0001234"),
        (123456.7, "123,457"),
        ("<b>", "<b>"),
        ([1, 2.5, None], "1, 2.5, -"),
        (list(range(9)), "0, 1, 2, 3, 4, 5, 6, 7, ... (9 in all)"),
    ],
)
def test_figures_are_written_as_people_do(value, text):
    assert tables.show(value) == text


@pytest.mark.parametrize(
    ("n", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (72e7, "720 MB"), (2e9, "2 GB")]
)
def test_sizes(n, text):
    assert tables.show_bytes(int(n)) == text


@pytest.mark.parametrize(("s", "text"), [(1.26, "1.3 s"), (61.2, "1 min 01 s"), (7261, "2 h 01 min")])
def test_durations(s, text):
    assert tables.show_seconds(s) == text


def test_stages_tell_time_files_and_size_from_the_ledger(tmp_path):
    run = make_run(tmp_path)
    publish_bytes(tmp_path / "models/autoencoder/weights.bin", bytes(2500))
    publish(run, "autoencoder", "models/autoencoder", {})
    table = tables.tabulate_stages(run.ledger, tmp_path, ("cutouts", "autoencoder"))
    expected = ["autoencoder", "models/autoencoder", "2", "1 min 30 s", "2 min 02 s", "1", "2.5 kB"]
    assert [row[:-1] for row in table.rows] == [expected]


def test_files_carry_their_sums_and_stores_are_folded(tmp_path):
    run = make_run(tmp_path)
    add_stores(run)
    publish_bytes(tmp_path / "field/map.fits", b"1234")
    publish(run, "assemble", "field", {})
    first, *folded = tables.tabulate_files(run.ledger, tmp_path, ("cutouts", "generate", "assemble"))
    assert first.rows == [["field/map.fits", "4 B", sha256_file(tmp_path / "field/map.fits")[:12]]]
    assert [block.caption.split(":")[0] for block in folded] == ["cutouts.zarr", "stamps.zarr"]
    assert all(block.folded for block in folded)
    listed = dict((row[0], row[2]) for row in folded[0].rows)
    assert listed["cutouts.zarr/zarr.json"] == sha256_file(tmp_path / "cutouts.zarr/zarr.json")[:12]


def test_facts_are_flattened():
    table = tables.tabulate_facts({"a": {"b": 1, "c": {"d": 0.5}}, "e": "x"}, "s")
    assert table.rows == [("a.b", "1"), ("a.c.d", "0.5"), ("e", "x")]


def test_reasons_are_explained_and_add_up():
    table = tables.tabulate_reasons({"edge": 1, "spill": 3}, 6)
    assert [(row[0], *row[2:]) for row in table.rows] == [
        ("spill", "3", "30.0 %"),
        ("edge", "1", "10.0 %"),
        ("accepted", "6", "60.0 %"),
    ]
    assert all(row[1] for row in table.rows)


def test_every_reason_of_the_extraction_is_explained():
    from astro_dist.field.models import MODEL_REASONS
    from astro_dist.field.objects import REASONS

    assert {*REASONS, *MODEL_REASONS} == set(tables.REASONS)


def test_the_truth_by_class():
    truth = {
        "id": np.arange(1, 5),
        "class_name": np.array(["compact", "compact", "compact", "extended"]),
        "snr": np.array([4.0, 6.0, 5.0, 9.0]),
        "object": np.array([0, -1, 0, 2]),
        "stamp": np.array([0, -1, 0, 1]),
        "instance": np.array([1, 0, 1, 2]),
        "flux_jy": np.array([1.0, 1.1, 1.0, 8.0]),
        "peak_jy_beam": np.array([1.0, 1.0, 1.0, 2.0]),
    }
    table = tables.tabulate_truth(truth, np.array([7, 7]))
    assert table.head == ("figure", "compact", "extended", "all")
    shown = {row[0]: tuple(row[1:]) for row in table.rows}
    assert shown["sources"] == ("3", "1", "4")
    assert shown["peak above 5 rms"] == ("1 (33 %)", "1 (100 %)", "2 (50 %)")
    assert shown["distinct objects"] == ("1", "1", "2")
    assert tables.count_objects(truth) == 2
    assert shown["distinct masks they were drawn for"] == ("1", "1", "2")
    assert shown["cutouts these are from"] == ("1", "1", "1")
    assert shown["flux over peak, 50 % quantile"] == ("1", "4", "1.05")
    of_one = {key: values[:3] for key, values in truth.items()}
    alone = tables.tabulate_truth(of_one, None)
    assert alone.head == ("figure", "all")
    assert not [row for row in alone.rows if "mask" in row[0]]


def test_versions_begin_with_the_seed():
    table = tables.tabulate_versions(7)
    assert table.rows[0] == ("seed", "7")
    assert {"numpy", "torch", "zarr"} <= {row[0] for row in table.rows}
