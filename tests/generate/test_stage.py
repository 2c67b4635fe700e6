import shutil

import numpy as np
import pytest

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import tree_digests
from astro_dist.engine.outputs import Reading
from astro_dist.engine.work import Run, for_stage
from astro_dist.generate.rounds import plan, promised
from astro_dist.generate.stage import GENERATE, estimate
from astro_dist.radio.pipeline import RADIO
from astro_dist.store.reader import StoreReader
from astro_dist.workers.attempts import SerialExecutor
from astro_dist.workers.processes import ProcessExecutor
from tests.generate import small_run


def fake_run(**generate):
    return Run.of(None, small_run.make_config(**generate))


def shards(n, accepted, **more):
    result = {
        "accepted": accepted,
        "classes": {"compact": accepted},
        "rejected": {"faint": 3},
        "iou_sum": 0.0,
    }
    return {f"shard-{i:05}": {**result, **more} for i in range(n)}


def test_maps_of_generate_are_read_as_those_of_maps_unless_it_is_said():
    tree = {"maps": {"files": ["a.fits"], "hdu": "SCI", "plane": [0, 3], "blank": -1.0}}
    masks = {"labels": "r.reg", "map": "a.fits"}
    for generate in ({"background": "a.fits"}, {"masks": masks}):
        read = RADIO.resolve(tree | {"generate": generate}).generate.read
        assert (read.hdu, read.plane, read.blank) == ("SCI", (0, 3), -1.0)
        own = RADIO.resolve(tree | {"generate": generate | {"read": {"hdu": 0}}})
        assert (own.generate.read.hdu, own.generate.read.plane) == (0, None)
        assert RADIO.resolve(own.model_dump(mode="json")) == own
    # Fingerprints of runs without such files stay.
    assert "read" not in RADIO.resolve(tree).generate.marks()


def test_rounds_follow_the_acceptance_until_the_promise_is_kept():
    run = fake_run(objects=1000, per_shard=64)
    first = plan(run, {})
    assert len(first) == 7
    assert plan(run, shards(6, 30)) == first
    second = plan(run, shards(7, 90))
    assert len(second) == 7 + 5
    assert second[:7] == first
    assert plan(run, shards(12, 90)) == second
    third = plan(run, shards(7, 90) | {f"shard-{i:05}": {"accepted": 60} for i in (7, 8, 9, 10, 11)})
    assert len(third) > 12


def test_the_plan_does_not_depend_on_the_order_of_results():
    run = fake_run(objects=1000, per_shard=64)
    results = shards(7, 90)
    backwards = dict(reversed(results.items()))
    ahead = results | {"shard-00009": {"accepted": 500}}
    assert plan(run, results) == plan(run, backwards) == plan(run, ahead)


def test_a_hopeless_network_is_given_up_with_its_counts():
    run = fake_run(objects=100, per_shard=10, max_stamps_per_object=2.0)
    results = {}
    while len(results) < 20:
        results = shards(len(plan(run, results)), 1)
    with pytest.raises(
        ConfigError, match=r"200 stamps gave 20 accepted objects of the 100 promised.*60 faint"
    ):
        plan(run, results)


def test_nothing_promised_is_an_error():
    with pytest.raises(ConfigError, match="how many"):
        promised(fake_run(objects=None))


def test_the_estimate_grows_with_the_promise():
    small, large = (estimate(fake_run(objects=n, per_shard=64)) for n in (100, 10_000))
    assert small.bytes < large.bytes
    assert small.cpu_s < large.cpu_s
    assert large.tasks == 157


def test_the_store_holds_the_promised_objects_and_their_donors(root):
    run = small_run.execute(root)
    facts = run.facts("generate")
    store, cutouts = StoreReader(root / "stamps.zarr"), StoreReader(root / "cutouts.zarr")
    assert facts["accepted"] >= 9
    assert facts["stamps"] == len(store) == 6 * len(list((root / "stamps.zarr" / "image").glob("c.*")))
    assert store.attrs["accept"]["min_snr"] == small_run.ANYTHING["min_snr"]
    assert np.isfinite(store.read("image", range(len(store)))).all()
    donors = store.columns["donor"]
    assert set(donors) <= set(cutouts.select("train"))
    assert set(store.columns["background_donor"]) <= set(cutouts.select("train"))
    assert (store.columns["rms_jy_beam"] == np.float32(small_run.RMS)).all()
    assert len(set(store.columns["symmetry"])) > 2
    for stamp in range(3):
        donor_mask = cutouts.read("mask", [donors[stamp]])[0]
        assert (store.read("mask", [stamp])[0] > 0).sum() == (donor_mask > 0).sum()


def draw(root, executor, order, n=3):
    run = for_stage(small_run.make_runner(root).run, GENERATE, "f" * 64)
    GENERATE.prepare(run)
    tasks = plan(run, {})
    assert len(tasks) >= 1
    tasks = [type(tasks[0])(f"shard-{i:05}", {"index": i}) for i in range(n)]
    results = {}
    with executor.crew(GENERATE, run) as crew:
        failures = crew.execute(
            [tasks[i] for i in order], lambda task, result: results.update({task.name: result})
        )
    assert not failures
    return results, tree_digests(run.output)


def test_bits_do_not_depend_on_order_or_workers(root, tmp_path):
    shutil.copytree(root, tmp_path / "again")
    shutil.copytree(root, tmp_path / "apart")
    reference = draw(root, SerialExecutor(), [0, 1, 2])
    assert draw(tmp_path / "again", SerialExecutor(), [2, 0, 1]) == reference
    two_processes = ProcessExecutor(lambda stage, run: 2, 0)
    assert draw(tmp_path / "apart", two_processes, [1, 2, 0]) == reference


def test_a_damaged_shard_is_drawn_again(root):
    run = small_run.execute(root)
    good = tree_digests(root / "stamps.zarr")
    shutil.rmtree(root / "stamps.zarr")
    run.ledger.retract("generate")
    runner = small_run.make_runner(root)
    stage_run = for_stage(runner.run, GENERATE, runner.states()[0].fingerprint)
    results, _ = draw_rounds(stage_run)
    victim = stage_run.output / "mask" / "c.0.0.0"
    victim.write_bytes(victim.read_bytes()[:-1] + b"x")
    assert Reading(stage_run.output).find_damage(results) == {"shard-00000"}
    for name, result in results.items():
        stage_run.records.record(name, result, {})
    small_run.execute(root)
    assert tree_digests(root / "stamps.zarr") == good


def draw_rounds(run):
    GENERATE.prepare(run)
    maker, results = GENERATE.open(run), {}
    while missing := [task for task in plan(run, results) if task.name not in results]:
        results |= {task.name: GENERATE.run(maker, task) for task in missing}
    return results, maker
