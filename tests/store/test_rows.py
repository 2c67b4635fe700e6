"""Cutouts round the rows of a catalogue, beside those of astropy's ``Cutout2D``."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import xarray
from astropy.coordinates import SkyCoord
from astropy.nddata import Cutout2D, NoOverlapError, PartialOverlapError
from astropy.table import Table
from pyarrow import parquet

from astro_dist.engine.config import validate
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import tree_digests
from astro_dist.engine.progress import Display
from astro_dist.radio.pipeline import RADIO
from astro_dist.runner import Runner
from astro_dist.sky.config import MapsConfig
from astro_dist.sky.maps import open_maps
from astro_dist.store.config import CutoutsConfig
from astro_dist.store.reader import StoreReader
from astro_dist.store.rows import place_rows, read_positions
from astro_dist.store.schema import Flag
from astro_dist.store.splits import GUARD, Footprints, touch
from astro_dist.store.stage import CUTOUTS
from astro_dist.store.verify import verify_store
from tests import settings
from tests.sky.small_maps import open_map
from tests.store.small_survey import SmallMap, execute, make_run, scatter, write_fits

SIZE = 32
# The second map begins 150 pixels (225 arcsec) west of the first one's middle: they overlap.
SURVEY = [scatter("a", (220, 240), 25), scatter("b", (200, 220), 15, centre_deg=(179.92, -30.01))]
BLANK = np.s_[60:140, 60:140]


def positions(maps, n=160, seed=5):
    """Random places on and off the maps, two of them equal, two without a position."""
    rng = np.random.default_rng(seed)
    ra = 180 + rng.uniform(-0.18, 0.08, n)
    dec = -30 + rng.uniform(-0.06, 0.06, n)
    ra[7], dec[7] = ra[3], dec[3]
    # In the middle of the blank part of the map a.
    ra[11], dec[11] = (float(value) for value in maps[0].sky_of(100, 100))
    ra[20], dec[31] = np.nan, np.nan
    return ra, dec


def write_table(path, ra, dec, names=("ra_deg", "dec_deg")):
    Table({"name": np.arange(len(ra)), names[0]: ra, names[1]: dec}).write(path, overwrite=True)
    return str(path)


def images():
    made = {one.name: one.image() for one in SURVEY}
    made["a"][BLANK] = np.nan
    return made


def rows_run(root, **cutouts):
    """A run whose catalogue is at random places of its maps."""
    root.mkdir(exist_ok=True)
    run = make_run(root / "maps-only", SURVEY, CUTOUTS, images=images())
    table = write_table(root / "sources.csv", *positions(open_maps(run)))
    given = {"size_pix": SIZE, "shard": 16, "split_block_pix": 64, "mode": "catalogue", "catalogue": table}
    return make_run(root / "run", SURVEY, CUTOUTS, images=images(), **given | cutouts)


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    run = rows_run(tmp_path_factory.mktemp("rows") / "one")
    return run, *execute(CUTOUTS, run)


def test_cutouts_are_those_of_astropy_row_by_row_and_refused_rows_are_those_it_refuses(cut):
    run, _, facts = cut
    reader, maps, made = StoreReader(run.output), open_maps(run), images()
    row, source_map = reader.columns["row"], reader.columns["source_map"]
    assert len(set(row.tolist())) == len(row)
    ra, dec = positions(maps)
    refused = facts["catalogue"]["refused_rows"]
    for i in range(len(ra)):
        if not np.isfinite(ra[i] + dec[i]):
            assert i in refused["no_position"]
            continue
        found, errors = {}, []
        for index, one in enumerate(maps):
            try:
                where = SkyCoord(ra[i], dec[i], unit="deg")
                found[index] = Cutout2D(made[one.name], where, SIZE, wcs=one.wcs, mode="strict").data
            except (NoOverlapError, PartialOverlapError) as error:
                errors.append(type(error))
        if found:
            (place,) = np.flatnonzero(row == i)
            np.testing.assert_array_equal(reader.read("image", [place])[0], found[source_map[place]])
        else:
            assert i not in row
            # A position may lie just outside of a map and its window partly inside.
            assert i in refused["near_an_edge"] + refused["off_every_map"]
            assert i in refused["off_every_map"] or PartialOverlapError in errors
    counts = {name: len(rows) for name, rows in refused.items()}
    assert facts["catalogue"]["refused"] == counts
    assert min(counts.values()) > 0
    assert facts["catalogue"]["used"] == len(ra) - sum(counts.values()) == len(row) - counts["on_blanks"]


def test_rows_on_blanks_are_flagged_and_named(cut):
    run, _, facts = cut
    reader = StoreReader(run.output)
    flagged = reader.columns["row"][(reader.columns["flags"] & Flag.LITTLE_DATA) > 0]
    assert 11 in flagged
    assert facts["catalogue"]["refused_rows"]["on_blanks"] == sorted(flagged.tolist())
    (note,) = facts["notes"]
    assert "2 no position (rows from 0: 20, 31)" in note
    assert f"{len(flagged)} on blanks (rows from 0: " in note
    assert reader.attrs["catalogue"] == {**facts["catalogue"], "file": "sources.csv"}
    assert json.loads(json.dumps(facts)) == facts


def test_of_several_maps_the_one_is_taken_in_which_the_window_is_farthest_from_the_edge(cut):
    run, _, _ = cut
    columns, maps = StoreReader(run.output).columns, open_maps(run)
    ra, dec = positions(maps)
    both = 0
    for row, source_map in zip(columns["row"], columns["source_map"], strict=True):
        room = []
        for one in maps:
            y, x = (np.ceil(float(v) - SIZE / 2) for v in one.pixel_of(ra[row], dec[row]))
            room.append(min(y, one.shape[0] - SIZE - y, x, one.shape[1] - SIZE - x))
        assert room[source_map] == max(room) >= 0
        assert source_map == room.index(max(room))
        both += min(room) >= 0
    assert both > 5


def test_the_survey_that_comes_first_is_taken_before_a_roomier_map_of_another(cut):
    maps = open_maps(cut[0])
    ra, dec = positions(maps)
    first, second = (
        place_rows([replace(one, survey=name) for one, name in zip(order, "xy", strict=True)], ra, dec, SIZE)
        for order in (maps, maps[::-1])
    )
    whole = [place_rows([one], ra, dec, SIZE).map_index == 0 for one in maps]
    assert (whole[0] & whole[1]).any()
    np.testing.assert_array_equal(first.map_index == 0, whole[0])
    np.testing.assert_array_equal(second.map_index == 0, whole[1])


@pytest.mark.parametrize(
    ("kind", "centre", "step"),
    [
        (("RA---SIN", "DEC--SIN"), (0.0, 89.99), 5),
        (("RA---TAN", "DEC--TAN"), (359.99, -30.0), 600),
        (("GLON-CAR", "GLAT-CAR"), (30.0, 0.0), 60),
        (("RA---AIT", "DEC--AIT"), (0.0, 0.0), 5400),
    ],
)
def test_no_row_on_a_map_is_missed(tmp_path, kind, centre, step):
    one = open_map(tmp_path / "m.fits", np.zeros((100, 140)), (step, step), centre, kind)
    rng = np.random.default_rng(4)
    y, x = rng.uniform(-30, 130, 3000), rng.uniform(-30, 170, 3000)
    near = np.array(one.sky_of(y, x))
    far = np.stack([rng.uniform(0, 360, 1000), rng.uniform(-90, 90, 1000)])
    ra, dec = np.concatenate([near[:, np.isfinite(near[0])], far], axis=1)
    y, x = one.pixel_of(ra, dec)
    inside = (y >= -0.5) & (y < 99.5) & (x >= -0.5) & (x < 139.5)
    assert 1000 < inside.sum() < len(ra)
    refused = place_rows([one], ra, dec, 16).refused
    np.testing.assert_array_equal(refused["off_every_map"], np.flatnonzero(~inside))


def test_rows_whose_windows_touch_are_in_one_split_or_guards(cut):
    run, _, _ = cut
    reader, maps = StoreReader(run.output), open_maps(run)
    c = reader.columns
    corners = np.array([(-0.5, -0.5), (-0.5, SIZE - 0.5), (SIZE - 0.5, SIZE - 0.5), (SIZE - 0.5, -0.5)])
    sky = np.empty((2, len(reader), 4))
    for i in range(len(reader)):
        sky[:, i] = maps[c["source_map"][i]].sky_of(c["y0"][i] + corners[:, 0], c["x0"][i] + corners[:, 1])
    prints = Footprints.of_corners(*sky)
    a, b = np.triu_indices(len(reader), 1)
    apart = (c["split"][a] != c["split"][b]) & (c["split"][a] != GUARD) & (c["split"][b] != GUARD)
    assert apart.any()
    assert not touch(prints[a[apart]], prints[b[apart]]).any()
    assert c["split"][c["row"] == 3] == c["split"][c["row"] == 7]


def test_the_bytes_do_not_depend_on_the_order_of_tasks_or_on_threads(cut, tmp_path):
    run = rows_run(tmp_path / "one", threads=2)
    assert execute(CUTOUTS, run, lambda tasks: [*tasks[::-1], *tasks[1:3]]) == cut[1:]
    assert tree_digests(run.output) == tree_digests(cut[0].output)


def test_xarray_shows_the_row_beside_the_pixels_and_the_store_verifies(cut):
    opened = xarray.open_zarr(cut[0].output)
    assert "row" in opened.image.coords
    assert opened.row.dtype == np.int32
    assert verify_store(cut[0].output) == []


@pytest.mark.parametrize(
    ("name", "names", "columns"),
    [
        ("t.fits", ("RA", "DEC"), {}),
        ("t.vot", ("lon", "lat"), {"ra_deg": "lon", "dec_deg": "lat"}),
        ("t.ecsv", ("ra_deg", "dec_deg"), {}),
        ("t.parquet", ("ra_deg", "dec_deg"), {}),
    ],
)
def test_any_form_of_table_gives_the_same_positions(cut, tmp_path, name, names, columns):
    ra, dec = positions(open_maps(cut[0]))
    path = tmp_path / name
    if name.endswith("parquet"):
        parquet.write_table(pa.table({names[0]: ra, names[1]: dec}), path)
    elif name.endswith("vot"):
        Table({names[0]: ra, names[1]: dec}).write(path, format="votable")
    else:
        write_table(path, ra, dec, names)
    config = CutoutsConfig(mode="catalogue", catalogue=str(path), columns=columns)
    for found, wanted in zip(read_positions(config), (ra, dec), strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"mode": "catalogue"}, "belong together"),
        ({"catalogue": "t.csv"}, "belong together"),
        ({"columns": {"ra_deg": "x"}}, "give a catalogue"),
        ({"mode": "catalogue", "catalogue": "t", "columns": {"flux_jy": "x"}}, "unknown key 'flux_jy'"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(given, match):
    with pytest.raises(ConfigError, match=match):
        validate(CutoutsConfig, given)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (None, "cutouts.catalogue: there is no file"),
        ("ra_deg,flux\n1,2\n", "no column dec_deg; it has flux, ra_deg"),
        ("ra_deg,dec_deg\n", "it has no rows"),
        ("ra_deg,dec_deg\n10,95\n", "dec_deg is 95 in a row"),
        ("ra_deg,dec_deg\n10,5\n11,6\n", r"none of its 2 rows .* 2 off every map \(rows from 0: 0, 1\)"),
    ],
)
def test_the_plan_checks_the_catalogue(cut, tmp_path, text, match):
    path = tmp_path / "t.csv"
    if text is not None:
        path.write_text(text)
    cutouts = CutoutsConfig(mode="catalogue", catalogue=str(path), size_pix=SIZE)
    run = settings.make_run(tmp_path, CUTOUTS, maps=cut[0].section(MapsConfig), cutouts=cutouts)
    check = CUTOUTS.sources if text is None else CUTOUTS.refuse
    with pytest.raises(ConfigError, match=match):
        check(run)


def test_a_run_says_which_rows_it_refuses_before_and_after(tmp_path, capsys):
    image = SmallMap("a", (220, 240), [(2, 170, 174, 118, 122), (2, 30, 34, 60, 64)]).image()
    image[BLANK] = np.nan
    write_fits(tmp_path / "a.fits", image)
    (tmp_path / "t.csv").write_text("ra,dec\n180,-29.975\n10,-30\n180.01,-29.976\n180.0096,-30.004\n")
    tree = {
        "maps": {"files": [str(tmp_path / "a.fits")]},
        "cutouts": {"mode": "catalogue", "catalogue": str(tmp_path / "t.csv"), "size_pix": SIZE},
        "machine": {"executor": "serial"},
    }
    config = RADIO.resolve(tree)
    runner = Runner(tmp_path / "run", config, RADIO.choose(config, "cutouts"))
    (estimate,) = (cost for stage, _, cost in runner.estimates() if stage is CUTOUTS)
    assert "1 of 4 rows of cutouts.catalogue give no usable cutout: 1 off every map" in estimate.notes[0]
    runner.execute(Display(live=False))
    notes = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    before, after = (note["text"] for note in notes if note["event"] == "note")
    assert before == estimate.notes[0]
    assert after.startswith("cutouts: 2 of 4 rows")
    assert after.endswith("1 off every map (rows from 0: 1); 1 on blanks (rows from 0: 3)")
    reader = StoreReader(tmp_path / "run" / "cutouts.zarr")
    assert sorted(reader.columns["row"].tolist()) == [0, 2, 3]


def test_a_map_with_data_is_taken_before_a_roomier_one_that_is_blank(tmp_path):
    made = {one.name: one.image() for one in SURVEY}
    # The two maps share the columns of a from 176 on.
    made["a"][90:, 176:] = np.nan
    maps = open_maps(make_run(tmp_path, SURVEY, CUTOUTS, images=made))
    ra, dec = maps[0].sky_of(*np.random.default_rng(3).uniform((20, 150), (200, 220), (300, 2)).T)
    blind, looked = (place_rows(maps, ra, dec, SIZE, least) for least in (0.0, 0.5))
    whole = [place_rows([one], ra, dec, SIZE) for one in maps]

    def has_data(i, source_map):
        y0, x0 = whole[source_map].y0[i], whole[source_map].x0[i]
        return np.isfinite(made[maps[source_map].name][y0 : y0 + SIZE, x0 : x0 + SIZE]).mean() >= 0.5

    moved = 0
    for i, better in enumerate(blind.map_index):
        if whole[0].map_index[i] == whole[1].map_index[i] == 0 and not has_data(i, better):
            better = 1 - better
            assert has_data(i, better)
            moved += 1
        assert looked.map_index[i] == better
        if better >= 0:
            assert (looked.y0[i], looked.x0[i]) == (whole[better].y0[i], whole[better].x0[i])
    assert moved > 5
    for reason, rows in blind.refused.items():
        np.testing.assert_array_equal(looked.refused[reason], rows)
