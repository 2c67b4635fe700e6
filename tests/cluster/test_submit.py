from types import SimpleNamespace

import pytest

from astro_dist.cluster.sites import Resources, Site
from astro_dist.cluster.submit import Chain
from astro_dist.engine.errors import ConfigError


def chain(ranks, **asked):
    config = SimpleNamespace(diffusion=SimpleNamespace(ranks=ranks), generate=SimpleNamespace())
    return Chain(SimpleNamespace(config=config, root=None), Site(resources=Resources(**asked)))


@pytest.mark.parametrize(
    ("ranks", "asked"), [(1, {}), (2, {"nodes": 2}), (8, {"nodes": 2, "gpus": 4}), (1, {"gpus": 4})]
)
def test_ranks_that_fit_their_job_are_taken(ranks, asked):
    chain(ranks, **asked)._check_ranks("diffusion")
    chain(ranks, **asked)._check_ranks("generate")


@pytest.mark.parametrize(
    ("ranks", "asked"), [(1, {"nodes": 2}), (3, {"nodes": 2, "gpus": 4}), (8, {"gpus": 4})]
)
def test_ranks_that_do_not_fit_are_refused_before_anything_is_queued(ranks, asked):
    with pytest.raises(ConfigError, match=rf"diffusion\.ranks is {ranks} and its job has \d nodes with"):
        chain(ranks, **asked)._check_ranks("diffusion")
