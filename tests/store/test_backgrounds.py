"""Maps that give backgrounds alone, such as Stokes V: measured, tiled, and never among the sources."""

import numpy as np
import pytest
from astropy.io import fits

from astro_dist.engine.config import validate
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.progress import Display
from astro_dist.engine.work import for_stage
from astro_dist.field.assembly import Assembly
from astro_dist.field.checks import find_surveys
from astro_dist.field.config import AcceptConfig
from astro_dist.field.instrument import Survey
from astro_dist.field.stage import ASSEMBLE
from astro_dist.generate.conditions import find_donors
from astro_dist.radio.pipeline import RADIO
from astro_dist.radio.samples import TrainingData
from astro_dist.runner import Runner
from astro_dist.sky.annotations import Annotations
from astro_dist.sky.config import MapsConfig
from astro_dist.sky.maps import open_maps
from astro_dist.sky.noise_maps import open_noise
from astro_dist.sky.windows import tile_map
from astro_dist.store.reader import StoreReader, find_backgrounds, group_by_survey
from astro_dist.store.splits import GUARD, Footprints, follow_splits, touch
from astro_dist.store.stage import CUTOUTS, most_windows
from astro_dist.train.config import TrainingConfig
from tests.settings import make_run
from tests.sky.small_maps import header_of
from tests.store.small_survey import RMS, scatter

SIZE, SHAPE = 32, (230, 250)
STOKES = {"Q": 2, "U": 3, "V": 4}


def write(path, image, stokes=1, beam=6.0):
    """Write a map of a Stokes parameter, as an axis without pixels says it."""
    header = header_of(SHAPE, (1.5, 1.5), (180.0, -30.0))
    header.update({"BMAJ": beam / 3600, "BMIN": beam / 3600, "CTYPE3": "STOKES", "CRVAL3": float(stokes)})
    header["CRPIX3"], header["CDELT3"] = 1.0, 1.0
    fits.writeto(path, image.astype(np.float32), header)


def leakage(seed):
    """Noise of a third of the map's, with what polarised sources leave, of both signs."""
    image = (RMS / 3 * np.random.default_rng(seed).standard_normal(SHAPE)).astype(np.float32)
    image[100:104, 100:104], image[30:34, 200:204] = 20 * RMS, -20 * RMS
    return image


def settings(folder, backgrounds="VQ", **cutouts):
    more = [
        {"files": [str(folder / f"{name}.fits")], "survey": "small", "background_only": True}
        for name in backgrounds
    ]
    given = {"size_pix": SIZE, "split_block_pix": 64, "shard": 64, "empty_fraction": 0.2, **cutouts}
    return {
        "maps": {"files": [str(folder / "I.fits")], "survey": "small", "more": more},
        "cutouts": given,
        "annotate": {"join": {"enabled": False}},
        "machine": {"executor": "serial"},
    }


def of_maps(root, config):
    return make_run(root / "run", maps=config)


def run_of(folder, root, backgrounds="VQ", **cutouts):
    config = RADIO.resolve(settings(folder, backgrounds, **cutouts))
    return Runner(root, config, RADIO.choose(config, "cutouts"))


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stokes")
    write(folder / "I.fits", scatter("I", SHAPE, 40, largest=12).image())
    for name in "VQ":
        write(folder / f"{name}.fits", leakage(STOKES[name]), STOKES[name])
    return folder


@pytest.fixture(scope="module")
def run(maps, tmp_path_factory):
    runner = run_of(maps, tmp_path_factory.mktemp("run") / "with")
    runner.execute(Display(live=False))
    return runner.run


@pytest.fixture(scope="module")
def reader(run):
    return StoreReader(run.product("cutouts.zarr"))


def test_no_island_is_looked_for_and_the_noise_is_measured(run):
    annotations = Annotations.load(run.product("annotations"))
    assert annotations.map_names == ["I", "V", "Q"]
    assert set(annotations.islands["map"].tolist()) == set(annotations.sources["map"].tolist()) == {0}
    for index, rms in enumerate((RMS, RMS / 3, RMS / 3)):
        assert annotations.mesh(index).median_rms == pytest.approx(rms, rel=0.1)
    facts = run.facts("annotate")
    assert (facts["maps"], facts["background_maps"]) == (3, 2)
    assert facts["rms_jy_beam"] == pytest.approx(RMS, rel=0.1)


def test_they_are_tiled_without_a_class_and_counted_apart(run, reader):
    for index in (1, 2):
        own = np.flatnonzero(reader.columns["source_map"] == index)
        origins = zip(reader.columns["y0"][own], reader.columns["x0"][own], strict=True)
        assert list(origins) == [(w.y0, w.x0) for w in tile_map(SHAPE, SIZE, SIZE)]
        assert not reader.read("mask", own).any()
        assert not reader.read("instances", own).any()
        assert not reader.columns["n_objects"][own].any()
    facts = run.facts("cutouts")
    assert facts["backgrounds"] == 2 * len(tile_map(SHAPE, SIZE, SIZE))
    assert facts["splits"] == {name: len(reader.select(name)) for name in facts["splits"]}
    assert len(reader) <= most_windows(run)
    assert [one.get("background_only", False) for one in reader.attrs["maps"]] == [False, True, True]
    assert reader.attrs["survey"] == "small"


def test_they_change_nothing_of_the_other_cutouts(maps, reader, tmp_path):
    runner = run_of(maps, tmp_path / "without", backgrounds="")
    runner.execute(Display(live=False))
    alone = StoreReader(runner.run.product("cutouts.zarr"))
    own = np.flatnonzero(reader.columns["source_map"] == 0)
    assert len(own) == len(alone)
    for name, values in alone.columns.items():
        np.testing.assert_array_equal(values, reader.columns[name][own], err_msg=name)
    for name in ("image", "mask", "instances"):
        np.testing.assert_array_equal(alone.read(name, np.arange(len(own))), reader.read(name, own))


def outlines(run, columns):
    steps = np.array([(-0.5, -0.5), (-0.5, SIZE - 0.5), (SIZE - 0.5, SIZE - 0.5), (SIZE - 0.5, -0.5)])
    y, x = (columns[name][:, None] + steps[:, axis] for axis, name in enumerate(("y0", "x0")))
    # The maps share their pixels.
    return Footprints.of_corners(*open_maps(run)[0].sky_of(y, x))


def test_no_sky_position_is_in_two_splits(run, reader):
    split, prints = reader.columns["split"], outlines(run, reader.columns)
    a, b = np.triu_indices(len(reader), 1)
    apart = (split[a] != split[b]) & (split[a] != GUARD) & (split[b] != GUARD)
    for start in range(0, int(apart.sum()), 100_000):
        some = np.flatnonzero(apart)[start : start + 100_000]
        assert not touch(prints[a[some]], prints[b[some]]).any()
    assert apart.sum() > 1000
    assert {0, 1, 2} == set(split[reader.columns["source_map"] > 0].tolist()) - {GUARD}


def test_a_window_off_the_sky_is_a_guard_and_one_that_touches_none_is_of_train(run, reader):
    prints = outlines(run, reader.columns)[np.arange(4)]
    corners = prints.corners.copy()
    corners[1, 2] = np.nan
    off = Footprints(corners, prints.centres, np.where(np.arange(4) == 1, np.nan, prints.radii))
    none = off[np.zeros(0, np.int64)]
    assert follow_splits(off, none, np.zeros(0, np.uint8)).tolist() == [0, GUARD, 0, 0]


def test_only_backgrounds_are_taken_of_them(reader):
    backgrounds = find_backgrounds(reader.attrs, reader.columns, ["train"])
    assert len(backgrounds)
    assert set(reader.columns["source_map"][backgrounds].tolist()) <= {1, 2}
    for split in ("train", "validation", "test"):
        assert set(reader.columns["source_map"][reader.select(split)].tolist()) == {0}
    chosen = reader.select("train")
    assert set(group_by_survey(reader.attrs, reader.columns, chosen)) == set(chosen.tolist())
    donors = find_donors(reader, AcceptConfig(min_snr=3.0))
    assert all(set(pool.tolist()) <= set(chosen.tolist()) for pool in donors.pools.values())
    assert set(donors.backgrounds) == set(chosen.tolist())
    for skies in donors.backgrounds.values():
        assert skies.tolist() == [*chosen.tolist(), *backgrounds.tolist()]


def test_a_training_takes_their_sky_as_a_condition_and_never_as_a_target(reader):
    data = TrainingData(reader, TrainingConfig(crop_pix=SIZE), (3, "diffusion"), 4, own_background=0.0)
    backgrounds = find_backgrounds(reader.attrs, reader.columns, ["train"])
    assert not set(backgrounds.tolist()) & set(data.chosen.tolist())
    batch = data.batch(0, 64)
    assert np.isfinite(batch.background_B2SS).all()
    assert set(data.kept) & set(backgrounds.tolist())


def test_a_field_has_the_instrument_of_the_maps_with_sources(run, reader):
    assert [one.name for one in find_surveys(run)] == ["I"]
    assert [one.name for one in Survey.of_store(reader.attrs)] == ["I"]


def test_the_noise_of_a_field_is_that_of_the_maps_with_sources(run):
    assert Assembly(for_stage(run, ASSEMBLE, "f" * 64)).survey_rms_jy_beam == pytest.approx(RMS, rel=0.1)


def test_a_catalogue_takes_no_row_from_them(maps, tmp_path):
    (tmp_path / "t.csv").write_text("ra,dec\n180,-30\n180.01,-30.01\n")
    given = {"mode": "catalogue", "catalogue": str(tmp_path / "t.csv")}
    runner = run_of(maps, tmp_path / "run", "V", **given)
    runner.execute(Display(live=False))
    columns = StoreReader(runner.run.product("cutouts.zarr")).columns
    assert columns["row"][columns["source_map"] == 0].tolist() in ([0, 1], [1, 0])
    assert set(columns["row"][columns["source_map"] == 1].tolist()) == {-1}


def test_a_map_of_stokes_v_is_refused_where_it_is_not_said_what_it_is_for(maps, tmp_path):
    config = MapsConfig(files=(str(maps / "V.fits"),))
    with pytest.raises(ConfigError, match=r"a map of Stokes V, not I; .* or background_only: true"):
        open_maps(of_maps(tmp_path, config))


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"files": ["a"], "background_only": True}, "none is named 'survey'"),
        (
            {"files": ["a"], "more": [{"files": ["b"], "survey": "x", "background_only": True}]},
            "none is named 'x'",
        ),
        ({"files": ["a"], "more": [{"files": ["b"]}]}, "two surveys have one name"),
    ],
)
def test_backgrounds_belong_to_a_survey_with_sources(given, match):
    with pytest.raises(ConfigError, match=match):
        validate(MapsConfig, given)


def test_a_background_of_another_beam_is_refused(maps, tmp_path):
    (tmp_path / "I.fits").symlink_to(maps / "I.fits")
    write(tmp_path / "V.fits", leakage(1), STOKES["V"], beam=9.0)
    runner = run_of(tmp_path, tmp_path / "run", "V")
    with pytest.raises(
        ConfigError, match=r"'V' has a beam of 6\.00 pixels and cannot be a background of small"
    ):
        CUTOUTS.refuse(runner.run)


def test_noise_maps_belong_to_the_maps_of_their_own_entry(maps, tmp_path):
    write(tmp_path / "rms.fits", np.full(SHAPE, RMS))
    tree = settings(maps)["maps"]
    config = validate(MapsConfig, {**tree, "rms_files": [str(tmp_path / "rms.fits")]})
    run = of_maps(tmp_path, config)
    found = open_noise(run, open_maps(run))
    assert [one and one.path.name for one in found] == ["rms.fits", None, None]
