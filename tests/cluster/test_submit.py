from pathlib import Path

import pytest

from astro_dist.cluster.sites import Resources, Site
from astro_dist.cluster.submit import Chain
from astro_dist.engine.errors import ConfigError
from astro_dist.radio.pipeline import RADIO
from astro_dist.runner import Runner


def chain(ranks, **asked):
    config = RADIO.resolve({"diffusion": {"ranks": ranks, "batch_size": 24}})
    runner = Runner(Path("absent"), config, RADIO.choose(config))
    return Chain(runner, Site(resources=Resources(**asked)))


@pytest.mark.parametrize(
    ("ranks", "asked"), [(1, {}), (2, {"nodes": 2}), (8, {"nodes": 2, "gpus": 4}), (1, {"gpus": 4})]
)
def test_ranks_that_fit_their_job_are_taken(ranks, asked):
    chain(ranks, **asked)._check_ranks(RADIO.stage("diffusion"))
    chain(ranks, **asked)._check_ranks(RADIO.stage("generate"))


@pytest.mark.parametrize(
    ("ranks", "asked"), [(1, {"nodes": 2}), (3, {"nodes": 2, "gpus": 4}), (8, {"gpus": 4})]
)
def test_ranks_that_do_not_fit_are_refused_before_anything_is_queued(ranks, asked):
    with pytest.raises(ConfigError, match=rf"diffusion\.ranks is {ranks} and its job has \d nodes with"):
        chain(ranks, **asked)._check_ranks(RADIO.stage("diffusion"))
