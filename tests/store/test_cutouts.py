import json

import numpy as np
import pytest
import xarray
from hypothesis import given, settings
from hypothesis import strategies as st

from astro_dist.engine.config import validate
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import tree_digests
from astro_dist.engine.outputs import Reading
from astro_dist.sky.annotations import Annotations
from astro_dist.sky.beams import Beam
from astro_dist.sky.windows import Window
from astro_dist.store import cutouts
from astro_dist.store.cutouts import CutoutsConfig, number_locally, read_windows
from astro_dist.store.reader import StoreReader
from astro_dist.store.schema import Flag
from astro_dist.store.splits import GUARD
from astro_dist.store.stage import CUTOUTS
from astro_dist.store.verify import verify_store
from tests.sky.repairs import bring_damaged
from tests.store.small_survey import BACKGROUND, RMS, SmallMap, execute, make_run, scatter

SURVEY = [scatter("a", (300, 340), 60), scatter("b", (200, 220), 20, centre_deg=(180.12, -30.05))]


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("cut"), SURVEY, CUTOUTS, size_pix=48, shard=16, split_block_pix=96)
    return run, *execute(CUTOUTS, run)


def test_image_mask_and_instances_are_those_of_the_maps(cut):
    run, _, facts = cut
    reader, annotations = StoreReader(run.output), Annotations.load(run.product("annotations"))
    images = [one.image() for one in SURVEY]
    assert facts["cutouts"] == len(reader)
    stacks = {
        name: reader.read(name, np.arange(len(reader))) for name in ("image", "mask", "instances", "valid")
    }
    for i in range(len(reader)):
        index, y0, x0 = (int(reader.columns[name][i]) for name in ("source_map", "y0", "x0"))
        window = Window(y0, y0 + 48, x0, x0 + 48)
        np.testing.assert_array_equal(stacks["image"][i], images[index][window.slices])
        mask, islands = annotations.paint(index, window)
        np.testing.assert_array_equal(stacks["mask"][i], mask)
        numbers = np.unique(islands[islands > 0])
        np.testing.assert_array_equal(
            stacks["instances"][i], np.searchsorted(numbers, islands) + (islands > 0)
        )
        assert reader.columns["n_objects"][i] == len(numbers)
    assert stacks["valid"].all()


def test_columns_say_where_and_how_well(cut):
    run, _, _ = cut
    reader = StoreReader(run.output)
    columns = reader.columns
    np.testing.assert_array_equal(columns["rms_jy_beam"], RMS)
    np.testing.assert_array_equal(columns["background_jy_beam"], BACKGROUND)
    assert set(columns["beam_major_arcsec"]) == {6.0}
    sky_map = cutouts.open_maps(run)[1]
    i = int(np.argmax(columns["source_map"] == 1))
    ra, dec = sky_map.sky_of(columns["y0"][i] + 23.5, columns["x0"][i] + 23.5)
    assert (columns["ra_deg"][i], columns["dec_deg"][i]) == (ra, dec)


def test_attributes_describe_the_maps_and_survive_json(cut):
    attrs = StoreReader(cut[0].output).attrs
    assert json.loads(json.dumps(attrs)) == attrs
    assert [one["name"] for one in attrs["maps"]] == ["a", "b"]
    assert Beam(**attrs["maps"][0]["beam"]) == cutouts.open_maps(cut[0])[0].beam
    assert attrs["maps"][0]["pixel_arcsec"] == pytest.approx([1.5, 1.5])
    assert attrs["maps"][0]["header"]["CTYPE1"] == "RA---SIN"
    assert attrs["splits"] == ["train", "validation", "test", "guard"]
    assert attrs["flags"] == {"cuts_extended": 1, "little_data": 2}
    assert (attrs["stretch"], attrs["survey"], attrs["units"]) == ("asinh", "small", "Jy/beam")


def test_good_cutouts_cut_no_extended_island_and_others_are_left_out_of_training(cut):
    run, _, _ = cut
    reader = StoreReader(run.output)
    c = reader.columns
    for i in range(len(reader)):
        partly = False
        for kind, y0, y1, x0, x1 in SURVEY[c["source_map"][i]].islands:
            rows = min(y1, c["y0"][i] + 48) - max(y0, c["y0"][i])
            columns = min(x1, c["x0"][i] + 48) - max(x0, c["x0"][i])
            if kind == 3 and rows > 0 and columns > 0:
                partly |= (rows, columns) != (y1 - y0, x1 - x0)
        assert not (partly and c["flags"][i] == 0)
    trained = reader.select("train")
    assert len(trained)
    assert not c["flags"][trained].any()


def test_splits_and_flags_are_counted_in_the_facts(cut):
    run, _, facts = cut
    reader = StoreReader(run.output)
    assert facts["splits"] == {name: len(reader.select(name)) for name in facts["splits"]}
    assert sum(facts["splits"].values()) == np.sum(reader.columns["flags"] == 0)
    assert facts["splits"]["guard"] == np.sum(
        (reader.columns["split"] == GUARD) & (reader.columns["flags"] == 0)
    )
    assert facts["flagged"]["cuts_extended"] == np.sum(reader.columns["flags"] & Flag.CUTS_EXTENDED > 0)
    assert facts["without_source"] == np.sum(reader.columns["n_objects"] == 0)


def test_xarray_opens_the_store_without_a_warning_and_it_verifies(cut):
    opened = xarray.open_zarr(cut[0].output)
    assert opened.image.shape == (cut[2]["cutouts"], 48, 48)
    assert verify_store(cut[0].output) == []


@pytest.mark.parametrize("order", [list, lambda tasks: tasks[::-1], lambda tasks: tasks + tasks[1:3]])
def test_the_bytes_do_not_depend_on_order_repetition_threads_or_buffer(cut, tmp_path, monkeypatch, order):
    monkeypatch.setattr(cutouts, "BUFFER_BYTES", 4 * 340 * 60)
    run = make_run(tmp_path, SURVEY, CUTOUTS, size_pix=48, shard=16, split_block_pix=96, threads=2)
    results, facts = execute(CUTOUTS, run, order)
    assert (results, facts) == (cut[1], cut[2])
    digests = tree_digests(run.output)
    assert digests == tree_digests(cut[0].output)
    for task, result in results.items():
        shard = int(task.split("-")[1])
        assert set(result["sha256"]) == {
            f"{array}/c.{shard}.0.0" for array in ("image", "mask", "instances", "valid")
        }
        assert result["sha256"] == {name: digests[name] for name in result["sha256"]}


def test_results_are_small_and_json(cut):
    for result in cut[1].values():
        assert json.loads(json.dumps(result)) == result
        assert len(json.dumps(result)) < 100 * 16


@pytest.mark.parametrize("mark", [np.nan, 0.0, -np.inf, -999.0])
def test_pixels_without_data_are_invalid_and_flagged(tmp_path, mark):
    one = SmallMap("a", (96, 192), [(2, 40, 43, 20, 23), (2, 40, 43, 150, 153)])
    image = one.image()
    image[:, :110] = mark
    run = make_run(tmp_path, [one], CUTOUTS, images={"a": image}, size_pix=48, mode="tiles")
    _, facts = execute(CUTOUTS, run)
    reader = StoreReader(run.output)
    assert reader.columns["x0"].tolist() == [0, 48, 96, 144] * 2
    assert reader.columns["flags"].tolist() == [2, 2, 0, 0] * 2
    assert facts["flagged"] == {"cuts_extended": 0, "little_data": 4}
    assert set(reader.select("train")) <= {2, 3, 6, 7}
    valid, read = reader.read("valid", [2])[0], reader.read("image", [2])[0]
    np.testing.assert_array_equal(valid, np.isfinite(read))
    assert valid[:, :14].sum() == 0
    assert valid[:, 14:].all()


def test_nothing_usable_is_refused(tmp_path):
    one = scatter("a", (96, 96), 5)
    run = make_run(tmp_path, [one], CUTOUTS, images={"a": np.full((96, 96), np.nan, np.float32)}, size_pix=48)
    with pytest.raises(ConfigError, match=r"none of the .* cutouts is usable .*have too few valid pixels"):
        execute(CUTOUTS, run)


@pytest.mark.parametrize(("side", "word"), [(80, "lower"), (96, "raise")])
def test_windows_that_cut_islands_are_to_be_larger_where_there_is_room(tmp_path, side, word):
    # Class 3 is extended; its island reaches through every window.
    one = SmallMap("a", (side, side), [(3, 2, side - 2, 2, side - 2)])
    run = make_run(tmp_path, [one], CUTOUTS, size_pix=48, mode="tiles")
    with pytest.raises(ConfigError, match=rf"cut an extended island.*; {word} cutouts\.size_pix, now 48, or"):
        execute(CUTOUTS, run)


def vanish(folder):
    (folder / "mask" / "c.1.0.0").unlink()


def flip(folder):
    content = bytearray((folder / "image" / "c.1.0.0").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "image" / "c.1.0.0").write_bytes(content)


@pytest.mark.parametrize("damage", [vanish, flip])
def test_a_vanished_or_damaged_shard_is_cut_again(tmp_path, damage):
    run = make_run(tmp_path / "a", [SURVEY[1]], CUTOUTS, size_pix=48, shard=4)
    results, facts = execute(CUTOUTS, run)
    expected = tree_digests(run.output)
    damage(run.output)
    assert Reading(run.output).find_damage(results) == {"shard-00001"}
    other = make_run(tmp_path / "b", [SURVEY[1]], CUTOUTS, size_pix=48, shard=4)
    published, done = bring_damaged(other, CUTOUTS, damage)
    assert done == [*results, "shard-00001"]
    assert (published.facts, published.files) == (facts, expected)
    assert tree_digests(other.root / "cutouts.zarr") == expected


def test_spurious_islands_stay_in_the_mask_but_are_no_objects():
    instances = np.zeros((4, 4), np.int32)
    mask = np.zeros((4, 4), np.uint8)
    instances[0, :2], mask[0, :2] = 905, 1
    instances[2, 1:], mask[2, 1:] = 17, 2
    instances[3, 3], mask[3, 3] = 400, 3
    local, n = number_locally(instances, mask)
    assert (local.dtype, n) == (np.uint16, 2)
    assert [local[0, 0], local[2, 1], local[3, 3], local[1, 1]] == [3, 1, 2, 0]


class CountingMap:
    """A stand-in for a map that counts the reads of each row."""

    def __init__(self, shape):
        self.shape, self.image = shape, np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        self.reads = np.zeros(shape[0], int)

    def read(self, window):
        self.reads[window.y0 : window.y1] += 1
        return self.image[window.slices]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 92), st.integers(0, 12)), min_size=1, max_size=30), st.integers(1, 120)
)
def test_each_row_is_read_once_and_no_row_in_a_gap(origins, buffer_rows):
    before, cutouts.BUFFER_BYTES = cutouts.BUFFER_BYTES, 4 * 20 * buffer_rows
    try:
        sky_map, table = CountingMap((100, 20)), np.array(sorted(origins))
        read = read_windows(sky_map, table[:, 0], table[:, 1], 8)
        for (y, x), pixels in zip(table, read, strict=True):
            np.testing.assert_array_equal(pixels, sky_map.image[y : y + 8, x : x + 8])
    finally:
        cutouts.BUFFER_BYTES = before
    wanted = np.zeros(100, int)
    for y, _ in origins:
        wanted[y : y + 8] = 1
    np.testing.assert_array_equal(sky_map.reads, wanted)


@pytest.mark.parametrize(
    ("settings_", "match"),
    [
        ({"stride_pix": 200}, "leaves gaps"),
        ({"validation_fraction": 0.6, "test_fraction": 0.4}, "nothing to train on"),
        ({"stretch": "log"}, "stretch"),
        ({"shards": 3}, "did you mean 'shard'"),
    ],
)
def test_wrong_settings_are_refused(settings_, match):
    with pytest.raises(ConfigError, match=match):
        validate(CutoutsConfig, settings_)


def test_the_estimate_is_a_bound_before_and_exact_after(tmp_path, monkeypatch):
    run = make_run(tmp_path, SURVEY, CUTOUTS, size_pix=48, shard=16)
    before = CUTOUTS.estimate(run)
    execute(CUTOUTS, run)
    monkeypatch.setattr(type(run.ledger), "published", lambda self, name: {"annotate": "it"}.get(name))
    after = CUTOUTS.estimate(run)
    assert (before.exact, after.exact) == (False, True)
    assert after.tasks == len(CUTOUTS.plan(run, {})) <= before.tasks
    files = tree_digests(run.output)
    assert len(files) <= after.files
    assert sum((run.output / name).stat().st_size for name in files) <= after.bytes <= before.bytes
