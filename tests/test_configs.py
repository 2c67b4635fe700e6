from pathlib import Path

import pytest

from astro_dist.cli import main
from astro_dist.engine.config import load_yaml
from astro_dist.engine.errors import ConfigError
from astro_dist.enhance.pipeline import ENHANCE
from astro_dist.flare.pipeline import FLARE
from astro_dist.radio.pipeline import EVALUATION, RADIO

FOLDER = Path(__file__).parent.parent / "configs"
CONFIGS = sorted([*FOLDER.glob("*.yaml"), *FOLDER.glob("radiff/*.yaml")])


@pytest.mark.parametrize("path", sorted(FOLDER.glob("flare/*.yaml")), ids=lambda p: p.stem)
def test_every_config_of_flare_loads_and_says_what_it_is_for(path):
    config = FLARE.resolve(load_yaml(path))
    assert config.pipeline == "flare"
    assert config.name in (path.stem, f"flare-{path.stem}")
    assert path.read_text().startswith("# ")
    assert FLARE.choose(config)[0].name == "pictures"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("enhance/*.yaml")), ids=lambda p: p.stem)
def test_every_config_of_enhance_loads_and_says_what_it_is_for(path):
    config = ENHANCE.resolve(load_yaml(path))
    assert config.pipeline == "enhance"
    assert config.name in (path.stem, f"enhance-{path.stem}")
    assert path.read_text().startswith("# ")


def test_no_two_configs_have_one_name():
    # The name is that of the run directory below runs/.
    names = [
        load_yaml(path)["name"] for path in sorted(FOLDER.glob("**/*.yaml")) if path.parent.name != "clusters"
    ]
    assert len(names) > 15
    assert len(names) == len(set(names))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_config_loads_and_says_what_it_is_for(path):
    config = RADIO.resolve(load_yaml(path))
    assert config.name == path.stem
    assert path.read_text().startswith("# ")
    names = [stage.name for stage in RADIO.choose(config)]
    assert names[-1] == "report"
    assert ("simulate" in names) == (not config.maps.files)


def test_the_model_is_evaluated_only_where_that_is_asked_for():
    for enabled in (False, True):
        names = {stage.name for stage in RADIO.choose(RADIO.resolve({"evaluate": {"enabled": enabled}}))}
        assert (set(EVALUATION) <= names) == enabled
        assert bool(set(EVALUATION) & names) == enabled


def test_the_promised_configs_are_there():
    assert {"quickstart", "data_challenge_12k", "sumss", "first"} <= {p.stem for p in CONFIGS}
    assert {"paper", "code", "improved", "map"} == {p.stem for p in FOLDER.glob("radiff/*.yaml")}


@pytest.mark.parametrize("name", ["paper", "code", "improved", "map"])
def test_the_arms_of_radiff_can_be_planned(name, tmp_path, capsys):
    assert main(["plan", str(FOLDER / "radiff" / f"{name}.yaml"), "--out", str(tmp_path / "run")]) == 0
    planned = capsys.readouterr().out
    assert all(stage in planned for stage in ("autoencoder", "diffusion", "generate"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", [float("inf"), float("nan"), float("-inf")])
def test_numbers_that_are_none_are_refused(value):
    with pytest.raises(ConfigError, match="scale"):
        RADIO.resolve({"assemble": {"flux": {"scale": value}}})
