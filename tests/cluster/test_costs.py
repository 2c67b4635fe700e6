"""Costs of a run on a site, from estimates or from done tasks, against the limits."""

import json

import pytest

from astro_dist.cluster.costs import check_costs, cost_lines, estimate_costs
from astro_dist.cluster.sites import Site
from astro_dist.engine.config import validate
from astro_dist.engine.errors import ConfigError, QuarantinedError
from astro_dist.engine.manifest import write_config
from astro_dist.radio.pipeline import RADIO
from astro_dist.runner import Runner
from tests.toys import execute, toy_runner


def test_a_tenth_of_the_time_on_ten_times_the_workers(tmp_path):
    config = RADIO.resolve({"machine": {"workers": 1}, "generate": {"objects": 1280, "per_shard": 64}})
    run = Runner(tmp_path / "run", config, RADIO.choose(config))

    def cost(stages):
        return {c.stage: c for c in estimate_costs(run, validate(Site, {"stages": stages}))}

    one, ten = cost({"generate": {"gpus": 2}}), cost({"generate": {"gpus": 2, "workers": 10}})
    assert ten["generate"].wall_s == pytest.approx(one["generate"].wall_s / 10)
    assert ten["generate"].gpu_hours == pytest.approx(one["generate"].gpu_hours)
    assert one["generate"].gpu_hours == pytest.approx(one["generate"].wall_s / 1800)
    assert one["annotate"].gpu_hours == 0
    assert [one["generate"].bound, one["annotate"].bound] == [True, False]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("limit", "said"), [("files", "files"), ("disk_gb", "GB of disk"), ("gpu_hours", "GPU-hours")]
)
def test_what_is_beyond_the_limits_is_refused_with_both_numbers(tmp_path, limit, said):
    config = RADIO.resolve({})
    site = validate(Site, {"resources": {"gpus": 1}, "limits": {limit: 1 if limit == "files" else 0.0001}})
    costs = estimate_costs(Runner(tmp_path / "run", config, RADIO.choose(config)), site)
    with pytest.raises(ConfigError, match=rf"needs up to \S+ {said} and the site's limits allow"):
        check_costs(costs, site)


def test_what_cores_would_take_is_not_held_against_gpu_hours(tmp_path):
    config = RADIO.resolve({})
    site = validate(Site, {"stages": {"diffusion": {"gpus": 1}}, "limits": {"gpu_hours": 1e-6}})
    costs = estimate_costs(Runner(tmp_path / "run", config, RADIO.choose(config)), site)
    check_costs(costs, site)
    *_, together, note = cost_lines(costs, site)
    assert "<=" in next(line for line in cost_lines(costs, site) if "diffusion" in line)
    assert "together: <=" in together
    assert "`calibration` of the cluster file" in note


def test_tasks_that_were_done_are_the_measure_of_the_rest(tmp_path):
    tree = {"machine": {"executor": "serial"}, "shards": {"pause_s": 0.05, "poison": 11}}
    with pytest.raises(QuarantinedError):
        execute(tmp_path, tree)
    site = validate(Site, {"resources": {"minutes": 1}})
    costs = estimate_costs(toy_runner(tmp_path, tree), site)
    assert [cost.measured for cost in costs] == [True, False]
    assert costs[0].wall_s >= 0.05
    assert "tasks done" in cost_lines(costs, site)[1]


def calibrated(tmp_path, device, gpus):
    """The cost of 4000 steps where 40 steps took 20 s on a device, on a site with ``gpus`` GPUs."""
    short, out = tmp_path / "short", tmp_path / "run"
    (short / "ledger/autoencoder/f").mkdir(parents=True)
    record = {"task": "train", "result": {}, "log": {"seconds": 20.0}}
    (short / "ledger/autoencoder/f/train.json").write_text(json.dumps(record))
    (short / "ledger/autoencoder/f/.numerics.json").write_text(json.dumps({"device": device}))
    tree = {"autoencoder": {"steps": 40}}
    write_config(short, RADIO.resolve(tree), print)
    config = RADIO.resolve({"autoencoder": {"steps": 4000}})
    site = validate(Site, {"calibration": str(short), "resources": {"gpus": gpus}})
    costs = estimate_costs(Runner(out, config, RADIO.choose(config, "autoencoder")), site)
    return next(cost for cost in costs if cost.stage == "autoencoder")


def test_a_short_run_is_the_measure_of_a_long_one(tmp_path):
    cost = calibrated(tmp_path, "cuda: A100", 1)
    assert cost.wall_s == pytest.approx(2000)
    assert cost.gpu_hours == pytest.approx(2000 / 3600)
    assert (cost.measured, cost.bound) == (True, False)


def test_a_short_run_on_cores_bounds_the_time_on_a_gpu_and_not_the_other_way(tmp_path):
    cores = calibrated(tmp_path / "cores", "EPYC", 1)
    assert cores.wall_s == pytest.approx(2000)
    assert (cores.measured, cores.bound) == (True, True)
    other = calibrated(tmp_path / "other", "cuda: A100", 0)
    assert (other.measured, other.bound) == (False, False)


def test_a_calibration_that_is_no_run_is_refused(tmp_path):
    site = validate(Site, {"calibration": str(tmp_path)})
    with pytest.raises(ConfigError, match=r"calibration: .* is not a run directory"):
        estimate_costs(toy_runner(tmp_path / "run"), site)
