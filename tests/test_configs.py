from pathlib import Path

import pytest

from astro_dist.config import load_yaml
from astro_dist.stages import pipeline, resolve

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_config_loads_and_says_what_it_is_for(path):
    config = resolve(load_yaml(path))
    assert config.name == path.stem
    assert path.read_text().startswith("# ")
    names = [stage.name for stage in pipeline(config)]
    assert names[-1] == "report"
    assert ("simulate" in names) == (not config.maps.files)


def test_the_four_promised_configs_are_there():
    assert {"quickstart", "data_challenge_12k", "sumss", "first"} <= {p.stem for p in CONFIGS}
