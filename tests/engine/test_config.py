import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from astro_dist.engine.config import (
    Section,
    apply_set,
    describe,
    differences,
    fingerprint,
    load_yaml,
    parse_yaml,
    validate,
)
from astro_dist.engine.errors import ConfigError


class Inner(Section):
    scale: float = Field(3.0, gt=0)
    """How much."""
    kind: str | None = None
    """Of what kind."""


class Outer(Section):
    seed: int = 1
    """From which all follows."""
    flux: Inner = Inner()
    """Of the objects."""


def test_unknown_key_names_the_nearest():
    with pytest.raises(
        ConfigError, match=r"unknown key 'flux.scal': did you mean 'scale'\? valid here: kind, scale"
    ):
        validate(Outer, {"flux": {"scal": 1}})


@pytest.mark.parametrize(
    ("tree", "line"),
    [
        ({"flux": {"scale": "much"}}, r"flux.scale: .*number.* \(got 'much'\)"),
        ({"flux": {"scale": -1}}, r"flux.scale: .*greater than 0 \(got -1\)"),
        ({"seed": 1.5}, r"seed: .*integer.*"),
        ({"flux": 3}, r"flux: .*"),
        ({"seed": "x", "flux": {"scale": 0}}, r"and 1 more"),
    ],
)
def test_wrong_values_are_one_line_with_the_value(tree, line):
    with pytest.raises(ConfigError, match=line) as caught:
        validate(Outer, tree)
    assert "\n" not in str(caught.value)


def test_set_reaches_deep_and_leaves_the_original_alone():
    tree = {"flux": {"kind": "a"}}
    assert apply_set(tree, "flux.scale=1e-3")["flux"] == {"kind": "a", "scale": "1e-3"}
    assert validate(Outer, apply_set(tree, "flux.scale=1e-3")).flux.scale == 1e-3
    assert tree == {"flux": {"kind": "a"}}


@pytest.mark.parametrize("text", ["scale", "=3", "a..b=1", "seed.x=1"])
def test_bad_assignments_are_refused(text):
    with pytest.raises(ConfigError, match="--set"):
        apply_set({"seed": 1}, text)


def test_yaml_errors_name_file_and_line(tmp_path):
    path = tmp_path / "c.yaml"
    for text, line in [("a: [", "line"), ("a: 1\na: 2", "'a' is given twice"), ("- 1", "key: value")]:
        path.write_text(text)
        with pytest.raises(ConfigError, match=line):
            load_yaml(path)
    path.write_text("")
    assert load_yaml(path) == {}
    with pytest.raises(ConfigError, match="there is no configuration file"):
        load_yaml(tmp_path / "absent.yaml")


def test_yaml_cannot_run_code():
    with pytest.raises(ConfigError):
        parse_yaml("!!python/object/apply:os.getcwd []", "x")


@given(st.dictionaries(st.text(max_size=3), st.integers(), max_size=5))
def test_fingerprints_ignore_order_only(tree):
    assert fingerprint(tree) == fingerprint(dict(reversed(tree.items())))
    assert fingerprint(tree) != fingerprint({**tree, "extra": 1})


def test_differences_are_readable():
    assert differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 3, "c": 2}, "d": 1}) == [
        "a.b: 1 -> 3",
        "d: None -> 1",
    ]


def test_described_defaults_load_back():
    text = describe(Outer())
    assert validate(Outer, parse_yaml(text, "described")) == Outer()
    assert "# How much." in text
