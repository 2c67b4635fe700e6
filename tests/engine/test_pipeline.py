"""A declaration that contradicts itself is refused when it is made."""

from dataclasses import replace

import pytest

from astro_dist.engine.config import Section
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.pipeline import Pipeline
from tests.toys import SHARDS, TOTAL, TOY, ToyConfig


def declare(*stages, **changes):
    return Pipeline(**{"name": "toy", "help": "", "config": ToyConfig, "stages": stages, **changes})


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ((TOTAL, SHARDS), "total reads shards, which is no earlier stage"),
        ((SHARDS, replace(TOTAL, product="shards")), "shards and total both publish shards"),
        ((SHARDS, replace(SHARDS, product="other")), "two stages are called shards"),
        (
            (replace(SHARDS, sections=("shard",), own="shard"),),
            "shards names shard, which is no section",
        ),
        ((replace(SHARDS, reads=("total", "sum")),), "shards names sum, which is no section"),
        ((replace(SHARDS, own="total"),), "shards has total for its own section"),
        ((replace(SHARDS, name="export"),), "export is a command and cannot be a stage"),
    ],
)
def test_contradictions_between_stages(stages, said):
    with pytest.raises(ValueError, match=f"pipeline toy: .*{said}"):
        declare(*stages)


@pytest.mark.parametrize("name", ["challenge", "init", "logs", "clean"])
def test_a_name_means_one_thing(name):
    with pytest.raises(ValueError, match=f"{name} is a command and cannot be a pipeline"):
        declare(SHARDS, name=name)


def test_a_pipeline_may_have_a_stage_of_its_own_name():
    assert declare(SHARDS, name="shards").stage("shards") is SHARDS


def test_a_configuration_without_a_seed_is_none():
    with pytest.raises(ValueError, match="its configuration is no PipelineConfig"):
        declare(config=Section)


def left_out(config):
    return {} if config.seed == 7 else {"total": "the sum is taken of seed 7 only"}


def test_what_a_configuration_leaves_out_is_refused_with_the_reason():
    pipeline = declare(SHARDS, TOTAL, left_out=left_out)
    whole, part = pipeline.resolve({}), pipeline.resolve({"seed": 8})
    assert [stage.name for stage in pipeline.choose(whole)] == ["shards", "total"]
    assert [stage.name for stage in pipeline.choose(part)] == ["shards"]
    assert [stage.name for stage in pipeline.choose(whole, to="shards")] == ["shards"]
    for asked in ({"to": "total"}, {"only": "total"}):
        with pytest.raises(ConfigError, match="total is not part of this run: the sum is taken of seed 7"):
            pipeline.choose(part, **asked)


def test_an_unknown_stage_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match="no stage 'totl': did you mean 'total'"):
        TOY.choose(TOY.resolve({}), to="totl")


def test_the_wrong_pipeline_is_refused():
    with pytest.raises(ConfigError, match="valid here: toy"):
        TOY.resolve({"pipeline": "radio"})
