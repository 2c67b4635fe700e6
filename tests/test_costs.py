"""What a run would cost on a site, from estimates or from tasks that were done, against the limits."""

import pytest

from astro_dist.cluster.sites import Site
from astro_dist.config import validate
from astro_dist.costs import check_costs, cost_lines, estimate_costs
from astro_dist.errors import ConfigError, QuarantinedError
from astro_dist.pipeline import Pipeline
from astro_dist.stages import pipeline, resolve
from tests.toys import execute, toy_pipeline


def test_a_tenth_of_the_time_on_ten_times_the_workers(tmp_path):
    config = resolve({"machine": {"workers": 1}})
    run = Pipeline(tmp_path / "run", config, pipeline(config))

    def cost(stages):
        return {c.stage: c for c in estimate_costs(run, validate(Site, {"stages": stages}))}

    one, ten = cost({"generate": {"gpus": 2}}), cost({"generate": {"gpus": 2, "workers": 10}})
    assert ten["generate"].wall_s == pytest.approx(one["generate"].wall_s / 10)
    assert ten["generate"].gpu_hours == pytest.approx(one["generate"].gpu_hours)
    assert one["generate"].gpu_hours == pytest.approx(one["generate"].wall_s / 1800)
    assert one["annotate"].gpu_hours == 0
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("limit", "said"), [("files", "files"), ("disk_gb", "GB of disk"), ("gpu_hours", "GPU-hours")]
)
def test_what_is_beyond_the_limits_is_refused_with_both_numbers(tmp_path, limit, said):
    config = resolve({})
    site = validate(Site, {"resources": {"gpus": 1}, "limits": {limit: 1 if limit == "files" else 0.001}})
    costs = estimate_costs(Pipeline(tmp_path / "run", config, pipeline(config)), site)
    with pytest.raises(ConfigError, match=rf"needs up to \S+ {said} and the site's limits allow"):
        check_costs(costs, site)


def test_tasks_that_were_done_are_the_measure_of_the_rest(tmp_path):
    tree = {"machine": {"executor": "serial"}, "shards": {"pause_s": 0.05, "poison": 11}}
    with pytest.raises(QuarantinedError):
        execute(tmp_path, tree)
    site = validate(Site, {"resources": {"minutes": 1}})
    costs = estimate_costs(toy_pipeline(tmp_path, tree), site)
    assert [cost.measured for cost in costs] == [True, False]
    assert costs[0].wall_s >= 0.05
    assert "tasks done here" in cost_lines(costs, site)[1]
