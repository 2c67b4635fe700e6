"""Foreign weights: refused in one line that names the file, or the numbers that they were."""

import pytest

from tests.fuzz import run_cases


@pytest.mark.parametrize("count", [30, pytest.param(600, marks=pytest.mark.soak)])
def test_hostile_folders_of_weights_are_refused_or_read(tmp_path, count):
    ended = run_cases("tests.train.fuzz_weights", 1, count, tmp_path)
    wrong = [
        name
        for name, how in ended.items()
        if not name.startswith("mutated") and (how == "read") is not name.startswith("good")
    ]
    assert wrong == []
    assert {how for name, how in ended.items() if name.startswith("mutated")} <= {"ConfigError", "read"}
    assert len(ended) >= 60
