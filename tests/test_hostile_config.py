"""Hostile configurations, paths and settings: one line and exit code 2, soon and in little memory."""

import pytest

from tests.fuzz import run_cases

FUZZ = "tests.fuzz_config"
SOAK = pytest.mark.soak


def not_as_expected(ended):
    """The cases that are read although they are hostile, or refused although they are good."""
    return [name for name, how in ended.items() if (how == "read") is not name.startswith("good")]


@pytest.mark.parametrize("count", [60, pytest.param(0, marks=SOAK)], ids=["some", "all"])
def test_hostile_yaml_is_refused_in_one_line(tmp_path, count):
    ended = run_cases(FUZZ, "yaml", 1, count, tmp_path)
    assert len(ended) == count or len(ended) > 200
    assert not_as_expected(ended) == []


def test_hostile_assignments_are_refused_in_one_line(tmp_path):
    ended = run_cases(FUZZ, "set", 1, 0, tmp_path)
    assert len(ended) > 20
    assert not_as_expected(ended) == []


@pytest.mark.parametrize("count", [40, pytest.param(0, marks=SOAK)], ids=["some", "all"])
def test_paths_that_are_none_are_refused_in_one_line(tmp_path, count):
    ended = run_cases(FUZZ, "paths", 1, count, tmp_path)
    # What does not exist yet is where a run may begin.
    assert {name for name in not_as_expected(ended) if not name.startswith("out ")} == set()


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("count", [100, pytest.param(0, marks=SOAK)], ids=["some", "all"])
def test_every_field_takes_any_value_or_refuses_it_in_one_line(tmp_path, count):
    ended = run_cases(FUZZ, "fields", 1, count, tmp_path)
    assert len(ended) == count or len(ended) > 3000
    assert "ConfigError" in ended.values()
