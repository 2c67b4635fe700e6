import json
import subprocess
import sys

import numpy as np
import pytest

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import tree_digests
from astro_dist.engine.outputs import Reading
from astro_dist.engine.progress import Display
from astro_dist.engine.rounds import Rounds
from astro_dist.evaluate.figures import MEANINGS
from astro_dist.evaluate.rounds import plan
from astro_dist.evaluate.stage import EVALUATE, estimate
from tests.evaluate.conftest import N


def metrics(run):
    return json.loads((run.root / "evaluation" / "metrics.json").read_text())


def test_importing_the_stage_does_not_import_torch():
    code = "import sys, astro_dist.evaluate.stage; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_it_plans_in_three_rounds(stage_run):
    draws = plan(stage_run, {})
    assert [t.name for t in draws] == [f"draw-{s}-{i:04}" for s in ("blind", "own", "train") for i in (0, 1)]
    done = {task.name: {} for task in draws}
    judged = plan(stage_run, done)
    assert {t.args["row"] for t in judged[6:]} >= {"train", "real", "reassembled", "generated", "trained"}
    done |= {task.name: {} for task in judged}
    assert [t.name for t in plan(stage_run, done)[len(judged) :]] == ["measure"]


def test_every_figure_says_what_it_means_and_how_many_it_rests_on(evaluated):
    report = metrics(evaluated)
    assert report["images_per_set"] == N
    assert report["headline"] == "kid"
    names = {f["name"] for f in report["figures"]}
    assert names <= set(report["meanings"]) == set(MEANINGS)
    assert {"kid", "frechet", "segmentation_ratio", "island_ratio", "ssim", "spectrum_dex"} <= names
    for figure in report["figures"]:
        assert figure["row"] in report["rows"]
        assert isinstance(figure["n"], int)
        if figure["low"] is not None:
            assert figure["low"] <= figure["high"]
    assert report["rows"]["generated"]["blind"] is True
    assert report["rows"]["generated_own"]["blind"] is False
    assert "not blind" in report["rows"]["generated_own"]["meaning"]


def test_real_images_are_the_measure_of_the_others(evaluated):
    value = {(f["row"], f["name"]): f["value"] for f in metrics(evaluated)["figures"]}
    assert value["reassembled", "flux_bias_dex"] == pytest.approx(0, abs=0.01)
    assert value["reassembled", "island_ratio"] > 0.8 > value["generated", "island_ratio"]
    for name in ("kid", "frechet"):
        floor = value["real", name]
        assert value["generated", f"{name}_excess"] == pytest.approx(
            value["generated", name] - floor, rel=1e-3
        )
    assert value["real", "frechet"] > 0


def test_the_facts_are_the_headlines(evaluated):
    facts = evaluated.facts("evaluate")
    assert facts["images_per_set"] == N
    assert {"kid_excess_generated", "frechet_real", "segmentation_ratio_generated"} <= set(facts)


def test_the_same_settings_give_the_same_bytes(evaluated, make_runner):
    runner = make_runner(per_task=3)
    runner.execute(Display(live=False))
    assert tree_digests(runner.root / "evaluation") == tree_digests(evaluated.root / "evaluation")


def test_damaged_stamps_are_drawn_again_and_all_that_follows_from_them(stage_run, make_runner):
    evaluator, results = EVALUATE.open(stage_run), {}
    while missing := [task for task in plan(stage_run, results) if task.name not in results]:
        results |= {task.name: EVALUATE.run(evaluator, task) for task in missing}
    assert EVALUATE.finish(stage_run, results)["images_per_set"] == N
    for name, result in results.items():
        stage_run.records.record(name, result, {})
    assert not Reading(stage_run.output).find_damage(results)
    good = tree_digests(stage_run.output)
    victim = stage_run.output / "drawn" / "own-000000.npy"
    np.save(victim, np.zeros(3))
    damaged = Reading(stage_run.output).find_damage(results)
    assert damaged == {"draw-own-0000"}
    dropped = Rounds(stage_run, EVALUATE, stage_run.fingerprint).forget(damaged)
    assert {"draw-own-0000", "judge-generated_own", "measure"} <= dropped
    assert dropped == damaged | {name for name in results if not name.startswith("draw-")}
    assert set(stage_run.records.results()) == results.keys() - dropped
    for name in dropped:
        stage_run.records.record(name, results[name], {})
    make_runner().execute(Display(live=False))
    assert tree_digests(stage_run.root / "evaluation") == good


def test_the_sky_of_whole_stamps_is_their_own(make_runner):
    runner = make_runner()
    told = runner.root / "models" / "diffusion" / "conditioner" / "config.json"
    told.write_text(told.read_text().replace('"target": "source"', '"target": "stamp"'))
    runner.execute(Display(live=False))
    report = metrics(runner.run)
    assert report["target"] == "stamp"
    assert "reassembled" not in report["rows"]
    names = {f["name"] for f in report["figures"] if f["row"] == "generated"}
    assert {"noise_rms", "noise_kurtosis", "noise_above_5", "noise_power_coarse", "noise_islands"} <= names
    assert "stripes" in names
    assert set(report["sky"]) == {"snr", *report["rows"]}


def test_too_few_cutouts_are_the_users_matter(make_runner):
    with pytest.raises(ConfigError, match=r"0 cutouts of the validation split.*evaluate\.splits"):
        make_runner(splits=["validation"]).execute(Display(live=False))


def test_the_estimate_grows_with_the_stamps(make_runner):
    small, large = (estimate(make_runner(f"n{n}", stamps=n).run) for n in (64, 512))
    assert small.bytes < large.bytes
    assert small.cpu_s < large.cpu_s
