"""Catalogues and label images of users: refused in one line, soon and in little memory, or read."""

import pytest

from tests.fuzz import run_cases


@pytest.mark.parametrize("count", [100, pytest.param(1500, marks=pytest.mark.soak)])
def test_mutated_catalogues_and_labels_are_refused_or_read(tmp_path, count):
    ended = run_cases("tests.field.fuzz_catalogues", 1, count, tmp_path)
    assert {how for name, how in ended.items() if name.startswith("good")} == {"read"}
    assert set(ended.values()) <= {"ConfigError", "DataError", "read"}
    assert list(ended.values()).count("ConfigError") > count / 5
