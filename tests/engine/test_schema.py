"""The JSON schema of configurations: every file of the package fits, every setting has its sentence."""

import json

import jsonschema
import pytest

from astro_dist import pipelines
from astro_dist.engine.config import load_yaml
from astro_dist.engine.schema import DIALECT, describe_schema

SCHEMAS = {name: describe_schema(pipelines.load(name).config) for name in pipelines.PIPELINES}


@pytest.mark.parametrize("name", pipelines.shipped())
def test_configurations_of_the_package_fit(name):
    tree = load_yaml(pipelines.CONFIGS / f"{name}.yaml")
    schema = SCHEMAS[tree.get("pipeline", pipelines.DEFAULT)]
    jsonschema.validate(tree, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**tree, "sed": 4}, schema)


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_setting_has_a_sentence(name):
    schema = SCHEMAS[name]
    jsonschema.Draft202012Validator.check_schema(schema)
    for section in (schema, *schema["$defs"].values()):
        assert all(setting.get("description") for setting in section.get("properties", {}).values())


def test_the_command_prints_it(command):
    done = command("schema")
    assert json.loads(done.stdout)["$schema"] == DIALECT
    assert command("schema", "radoi").returncode == 2
