import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from astro_dist.engine.config import validate
from astro_dist.engine.custody import remove
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import publish_folder, tree_digests
from astro_dist.engine.ledger import Finished, Published
from astro_dist.engine.outputs import Reading
from astro_dist.engine.progress import plan_lines
from astro_dist.engine.rounds import Rounds
from astro_dist.engine.work import Estimate, for_stage
from astro_dist.sky import finder
from astro_dist.sky.annotate import PARTS, AnnotateConfig, Annotations, Annotator, find_islands
from astro_dist.sky.annotations import ISLANDS, read_parquet
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.fits_reader import read_pixels
from astro_dist.sky.labels import Plane
from astro_dist.sky.maps import MapsConfig, SkyMap
from astro_dist.sky.simulate import SimulateConfig
from astro_dist.sky.stages import ANNOTATE, SIMULATE
from astro_dist.sky.windows import Window
from tests.settings import make_run
from tests.sky.repairs import Listener, bring_damaged, make_runner

REAL = Path(__file__).parents[2].parent / "shared" / "data"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason=f"the real maps are not in {REAL}")
PARQUET = {f"{name}.parquet" for name in ("islands", "sources", "mesh", "pixels")}
FILES = PARQUET | {"measured.fits", "components.fits"}
SKY = SimulateConfig(shape=(620, 520), maps=2, extended_per_1000_beams=0.3)


def bring(stage, run):
    """Do all rounds of tasks and the finish of a stage and publish its product."""
    run.root.mkdir(parents=True, exist_ok=True)
    run = for_stage(run, stage, "f" * 64)
    stage.prepare(run)
    results = do_tasks(stage, run)
    stage.seal(run, results)
    assert Reading(run.output).find_damage(results) == set()
    facts = stage.finish(run, results)
    for name in stage.scratch:
        remove(run.output / name)
    publish_folder(run.output, run.root / stage.product)
    run.ledger.publish(stage.name, Published(run.fingerprint, {}, stage.product, {}, facts))
    return facts


def do_tasks(stage, run):
    """Return the results of all rounds, each done in the reverse order."""
    state, results = stage.open(run), {}
    while missing := [task for task in stage.plan(run, results) if task.name not in results]:
        results |= {task.name: stage.run(state, task) for task in reversed(missing)}
    return results


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    """Return a simulated sky of two maps and its annotation with default settings."""
    root = tmp_path_factory.mktemp("sky")
    run = make_run(root, seed=11, maps=MapsConfig(), simulate=SKY, annotate=AnnotateConfig(task_mpix=0.05))
    bring(SIMULATE, run)
    return run, bring(ANNOTATE, run)


def run_on(root, *files, **settings):
    maps = MapsConfig(files=[str(path) for path in files])
    sections = {"maps": maps, "annotate": AnnotateConfig(**settings), "simulate": SimulateConfig()}
    return make_run(root / "run", seed=1, **sections)


def noise(shape=(200, 180), seed=3):
    return np.random.default_rng(seed).normal(0, 1e-4, shape).astype(np.float32)


@pytest.mark.parametrize("task_mpix", [0.2, 5.0])
def test_tables_do_not_know_the_height_of_bands(sky, tmp_path, task_mpix):
    run, _ = sky
    expected = tree_digests(run.root / "annotations")
    other = make_run(
        tmp_path, seed=11, maps=MapsConfig(), simulate=SKY, annotate=AnnotateConfig(task_mpix=task_mpix)
    )
    other.ledger.publish("simulate", run.ledger.published("simulate"))
    (tmp_path / "maps").symlink_to(run.root / "maps")
    bring(ANNOTATE, other)
    assert tree_digests(tmp_path / "annotations") == expected
    assert set(expected) == FILES


def test_one_map_alone_gives_the_same_islands(sky, monkeypatch):
    run, _ = sky
    annotations = Annotations.load(run.root / "annotations")
    monkeypatch.setattr(finder, "READ_PIX", 40_000)
    for index, name in enumerate(SKY.names):
        sky_map = SkyMap.open(run.root / "maps" / f"{name}.fits", MapsConfig())
        truth = Plane.open(run.root / "maps" / f"{name}.instances.fits", 1)
        found = find_islands(sky_map, AnnotateConfig(), truth)
        here = annotations.islands["map"] == index
        for column, values in found.columns.items():
            assert annotations.islands[column][here].tolist() == values.tolist()
        _, instances = annotations.paint(index, Window.of_shape(sky_map.shape))
        pixels = found.islands.pixels
        np.testing.assert_array_equal(
            instances[pixels.y, pixels.x], found.columns["source"][found.islands.owner]
        )
        here = annotations.here(annotations.sources, index)
        for column, values in found.sources.items():
            assert annotations.sources[column][here].tolist() == values.tolist()
        assert np.count_nonzero(instances) == len(pixels)
        np.testing.assert_array_equal(annotations.mesh(index).rms, found.mesh.rms)


def test_simulated_maps_are_joined_by_their_truth_unless_the_rules_are_asked_for(sky, tmp_path):
    run, facts = sky
    annotations = Annotations.load(run.root / "annotations")
    assert set(annotations.islands["joined_by"]) == {"", "truth"}
    assert facts["of_several_islands"] >= 3
    rules = AnnotateConfig.model_validate({"join": {"by": "rules"}})
    files = tuple(str(run.root / "maps" / f"{name}.fits") for name in SKY.names)
    tables = []
    for number, (maps, config) in enumerate(
        ((MapsConfig(), rules), (MapsConfig(files=files), AnnotateConfig()))
    ):
        other = make_run(tmp_path / str(number), seed=11, maps=maps, simulate=SKY, annotate=config)
        other.ledger.publish("simulate", run.ledger.published("simulate"))
        (other.root / "maps").symlink_to(run.root / "maps")
        bring(ANNOTATE, other)
        tables.append(Annotations.load(other.root / "annotations").islands)
    assert "truth" not in tables[0]["joined_by"]
    assert tables[0]["joined_by"].tolist() == tables[1]["joined_by"].tolist()
    assert "by" not in AnnotateConfig().marks()["join"]


@pytest.mark.parametrize("read_pix", [4_000_000, 20_000])
def test_marks_round_a_mosaic_are_no_data_whatever_the_bands(sky, tmp_path, monkeypatch, read_pix):
    run, _ = sky
    monkeypatch.setattr(finder, "READ_PIX", read_pix)
    with fits.open(run.root / "maps" / f"{SKY.names[0]}.fits") as hdus:
        header, image = hdus[0].header.copy(), hdus[0].data.copy()
    for key in ("CHECKSUM", "DATASUM"):
        del header[key]
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    outside = np.hypot(y - 300, x - 260) > 230
    # The last value is not the highest of the map.
    image[298:303, 258:263] = 9.0
    digests = []
    for mark in (np.nan, 0.0, -999.0, 1.0):
        folder = tmp_path / str(mark)
        folder.mkdir()
        image[outside] = mark
        fits.writeto(folder / "mosaic.fits", image, header)
        one = run_on(folder, folder / "mosaic.fits", task_mpix=0.05)
        bring(ANNOTATE, one)
        digests.append(tree_digests(one.root / "annotations"))
        mesh = Annotations.load(one.root / "annotations").mesh(0)
        assert mesh.rms.min() > 0.7 * SKY.rms_jy_beam
    assert all(digest == digests[0] for digest in digests)


def test_a_map_without_a_frequency_is_said_in_the_plan(tmp_path, make_map):
    known = make_map(noise(), name="known").path
    with fits.open(known) as hdus:
        header = hdus[0].header.copy()
        for key in ("RESTFRQ", "RESTFREQ", "CHECKSUM", "DATASUM"):
            del header[key]
        fits.writeto(tmp_path / "unknown.fits", hdus[0].data, header)
    assert ANNOTATE.estimate(run_on(tmp_path, known)).notes == ()
    (note,) = ANNOTATE.estimate(run_on(tmp_path, known, tmp_path / "unknown.fits")).notes
    assert "no frequency in the header of unknown: " in note
    rows = [(ANNOTATE, "todo", Estimate(1, notes=(note,)))]
    assert plan_lines(rows)[-1] == f"  note: {note}"
    assert not any(note in line for line in plan_lines([(ANNOTATE, "done", rows[0][2])]))


def test_facts_count_classes_and_rules(sky):
    run, facts = sky
    islands = Annotations.load(run.root / "annotations").islands
    assert facts["maps"] == 2
    assert facts["islands"] == len(islands["map"]) == sum(facts["classes"].values())
    assert sum(facts["rules"].values()) == facts["islands"]
    assert facts["rms_jy_beam"] == pytest.approx(SKY.rms_jy_beam, rel=0.05)


def test_classes_agree_with_the_truth(sky):
    run, _ = sky
    annotations = Annotations.load(run.root / "annotations")
    agree = dict.fromkeys(SourceClass, 0)
    total = dict.fromkeys(SourceClass, 0)
    for index, name in enumerate(SKY.names):
        truth = fits.getdata(run.root / "maps" / f"{name}.mask.fits")
        mask, instances = annotations.paint(index, Window.of_shape(truth.shape))
        counts = np.stack(
            [np.bincount(instances[truth == kind], minlength=instances.max() + 1) for kind in (1, 2, 3)]
        )
        for kind in SourceClass:
            mine = np.unique(instances[mask == kind])
            total[kind] += len(mine) * (kind > 0)
            agree[kind] += int((counts.argmax(axis=0)[mine] + 1 == kind).sum()) * (kind > 0)
    assert agree[SourceClass.COMPACT] >= 0.9 * total[SourceClass.COMPACT] > 30
    assert agree[SourceClass.EXTENDED] >= 0.85 * total[SourceClass.EXTENDED] > 5


def test_the_measured_catalogue_names_maps_and_classes(sky):
    run, _ = sky
    found = Annotations.load(run.root / "annotations")
    for name, rows in (("measured", found.sources), ("components", found.islands)):
        with fits.open(run.root / "annotations" / f"{name}.fits", checksum=True) as hdus:
            table = hdus[name]
            assert set(table.data["map"]) == set(SKY.names)
            assert set(table.data["class"]) <= {"compact", "extended", "spurious"}
            np.testing.assert_array_equal(table.data["flux_jy"], rows["flux_jy"])
            assert table.columns["flux_jy"].unit == "Jy"
            assert set(table.columns.names) == set(rows)


def test_finish_may_run_twice(sky, tmp_path):
    run, facts = sky
    again = make_run(tmp_path, ANNOTATE, seed=11, **run.settings.sections)
    again.ledger.publish("simulate", run.ledger.published("simulate"))
    (tmp_path / "maps").symlink_to(run.root / "maps")
    ANNOTATE.prepare(again)
    results = do_tasks(ANNOTATE, again)
    for _ in range(2):
        assert ANNOTATE.finish(again, results) == facts
        assert Reading(again.output).find_damage(results) == set()
        found = Reading(again.output).digests(without=ANNOTATE.scratch)
        assert found == tree_digests(run.root / "annotations")


def with_source(make_map):
    image = noise()
    image[90:94, 80:84] += 0.01
    return make_map(image).path


def spoil(folder):
    (folder / PARTS / "mesh-0001.parquet").write_bytes(b"?")
    (folder / PARTS / "pixels-0000.parquet").unlink()


def test_a_kill_before_the_publication_loses_nothing_though_the_parts_are_gone(make_map, tmp_path):
    run = run_on(tmp_path, with_source(make_map), task_mpix=0.01)
    runner = make_runner(run, ANNOTATE)
    rounds = runner.rounds(runner.states()[0])
    ANNOTATE.prepare(rounds.run)
    results = do_tasks(ANNOTATE, rounds.run)
    for name, result in results.items():
        rounds.records.record(name, result, {})
    facts = ANNOTATE.finish(rounds.run, results)
    files = Reading(rounds.run.output).digests(without=ANNOTATE.scratch)
    rounds.records.record_finish(Finished(facts, files))
    (rounds.run.output / PARTS / "mesh-0000.parquet").unlink()
    listener = Listener()
    runner.execute(listener)
    assert listener.names == []
    published = runner.ledger.published("annotate")
    assert (published.facts, published.files) == (facts, files)
    assert tree_digests(run.root / "annotations") == files
    assert set(files) == FILES


def test_damaged_parts_are_computed_again(make_map, tmp_path):
    run = for_stage(run_on(tmp_path, with_source(make_map), task_mpix=0.01), ANNOTATE, "f" * 64)
    ANNOTATE.prepare(run)
    annotator, results = Annotator.open(run), do_tasks(ANNOTATE, run)
    assert Reading(run.output).find_damage(results) == set()
    spoil(run.output)
    assert Reading(run.output).find_damage(results) == {"mesh-0001", "pixels-0000"}
    for task in ANNOTATE.plan(run, results):
        assert ANNOTATE.run(annotator, task) == results[task.name]
    assert Reading(run.output).find_damage(results) == set()
    assert ANNOTATE.finish(run, results)["islands"] == 1


def test_a_damaged_mesh_takes_the_pixels_with_it_that_were_found_with_it(make_map, tmp_path):
    run = for_stage(run_on(tmp_path, with_source(make_map), task_mpix=0.01), ANNOTATE, "f" * 64)
    ANNOTATE.prepare(run)
    rounds, results = Rounds(run, ANNOTATE, run.fingerprint), do_tasks(ANNOTATE, run)
    second = {name for name in results if name.startswith("pixels")}
    assert len(results) == 2 * len(second) >= 4
    for damaged, dropped in (
        ({"pixels-0001"}, {"pixels-0001"}),
        ({"mesh-0001"}, {"mesh-0001", *second}),
        ({"mesh-0001", "pixels-0000"}, {"mesh-0001", *second}),
    ):
        for name, result in results.items():
            rounds.records.record(name, result, {})
        assert rounds.forget(damaged) == dropped
        assert set(rounds.records.results()) == set(results) - dropped


def test_the_runner_mends_damaged_parts(make_map, tmp_path):
    path = with_source(make_map)
    undisturbed = run_on(tmp_path / "a", path, task_mpix=0.01)
    expected, names = bring_damaged(undisturbed, ANNOTATE)
    run = run_on(tmp_path / "b", path, task_mpix=0.01)
    published, done = bring_damaged(run, ANNOTATE, spoil)
    again = ["mesh-0001", *(name for name in names if name.startswith("pixels"))]
    assert done == [*names, *again]
    assert (published.facts, published.files) == (expected.facts, expected.files)
    assert tree_digests(run.root / "annotations") == expected.files


def test_maps_share_tasks_and_large_ones_are_cut(make_map, tmp_path):
    paths = [make_map(noise((100, 100)), name=f"m{i}").path for i in range(9)]
    paths.append(make_map(noise((700, 100)), name="n").path)
    cuts = Annotator.open(run_on(tmp_path, *paths, task_mpix=0.03)).cuts
    assert cuts[0] == [(0, 0, 100), (1, 0, 100), (2, 0, 100)]
    assert len(cuts) == 6
    assert [piece for cut in cuts for piece in cut][9:] == [(9, 0, 320), (9, 320, 640), (9, 640, 700)]


def test_a_map_of_nan_is_named(make_map, tmp_path):
    maps = [make_map(noise(), name="good"), make_map(np.full((80, 80), np.nan), name="empty")]
    with pytest.raises(ConfigError, match="'empty' has too few usable pixels"):
        bring(ANNOTATE, run_on(tmp_path, *(m.path for m in maps)))


def test_no_islands_names_thresholds_and_counts(make_map, tmp_path):
    with pytest.raises(ConfigError) as caught:
        bring(ANNOTATE, run_on(tmp_path, make_map(noise()).path, seed_sigma=9))
    text = str(caught.value)
    assert "no island in 1 map(s)" in text
    assert "beyond 3.0 times the noise" in text
    assert "needs 9.0" in text
    assert "lower annotate.seed_sigma" in text


def test_a_map_without_islands_beside_another(make_map, tmp_path):
    image = noise()
    image[90:94, 80:84] += 0.01
    run = run_on(tmp_path, make_map(noise(), name="a").path, make_map(image, name="b").path)
    assert bring(ANNOTATE, run)["islands"] == 1
    annotations = Annotations.load(run.root / "annotations")
    assert annotations.islands["map"].tolist() == [1]
    assert not annotations.paint(0, Window(0, 200, 0, 180))[0].any()
    assert annotations.paint(1, Window(90, 94, 80, 84))[0].all()


def test_memory_does_not_grow_with_the_map(make_map, monkeypatch):
    sky_map = make_map(noise((2000, 1200)))
    monkeypatch.setattr(finder, "READ_PIX", 80_000)
    find_islands(make_map(noise(), name="warm"), AnnotateConfig())
    tracemalloc.start()
    try:
        find_islands(sky_map, AnnotateConfig())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.7 * 4 * 2000 * 1200


def test_thresholds_must_be_in_order():
    with pytest.raises(ConfigError, match=r"merge_sigma \(6.0\) must be below seed_sigma \(5.0\)"):
        validate(AnnotateConfig, {"merge_sigma": 6})


def test_the_estimate_holds(sky):
    run, _ = sky
    estimate = ANNOTATE.estimate(run)
    assert not estimate.exact
    assert estimate.files >= 2 * estimate.tasks // 2
    assert estimate.bytes > sum(p.stat().st_size for p in (run.root / "annotations").iterdir())


@needs_real
def test_a_real_map_with_borders(tmp_path):
    run = run_on(tmp_path, REAL / "sumss" / "J0354M32.FITS.fz")
    facts = bring(ANNOTATE, run)
    assert 350 < facts["islands"] < 500
    assert facts["classes"]["compact"] > 0.85 * facts["islands"]
    assert facts["rms_jy_beam"] == pytest.approx(2e-3, rel=0.1)
    islands, about = read_parquet(run.root / "annotations" / ISLANDS)
    assert about[0]["name"] == "J0354M32"
    assert np.isfinite(islands["ra_deg"]).all()


@needs_real
def test_real_cutouts_share_a_task(tmp_path):
    files = sorted((REAL / "first").glob("*.fits.fz"))[:6]
    run = run_on(tmp_path, *files)
    run = run.having(run.section(MapsConfig).model_copy(update={"beam_major_arcsec": 5.4}))
    facts = bring(ANNOTATE, run)
    assert facts["maps"] == 6
    assert facts["classes"]["extended"] >= 6


@needs_real
@pytest.mark.soak
def test_zeros_of_quantised_surveys_stay_data():
    for pattern, settings in (("sumss/*.fz", {}), ("first/*.fz", {"beam_major_arcsec": 5.4})):
        zeros = 0
        for path in sorted(REAL.glob(pattern)):
            sky_map = SkyMap.open(path, MapsConfig(**settings), verify=False)
            whole = Window.of_shape(sky_map.shape)
            stored = read_pixels(path, sky_map.layout, whole)
            zeros += np.count_nonzero(stored == 0)
            np.testing.assert_array_equal(np.isnan(sky_map.read(whole)), np.isnan(stored))
        assert zeros > 10_000
