"""Stores whose metadata lie are refused when they are opened."""

import pytest

from tests.fuzz import run_cases


@pytest.mark.parametrize("count", [20, pytest.param(500, marks=pytest.mark.soak)])
def test_lying_stores_are_refused_or_read(tmp_path, count):
    ended = run_cases("tests.store.fuzz_stores", count, tmp_path)
    wrong = [
        name
        for name, how in ended.items()
        if not name.startswith("mutated") and how != ("read" if name == "good" else "IntegrityError")
    ]
    assert wrong == []
    assert set(ended.values()) <= {"IntegrityError", "read"}
    assert len(ended) > 50
