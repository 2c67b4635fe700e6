"""What holds for every test: steady property tests, listed skips, and no process that outlives its test.

Property tests draw the same examples on every run; ``HYPOTHESIS_PROFILE=search`` looks for new ones.
"""

import os

import pytest
from hypothesis import settings

from tests import waiting
from tests.skips import pytest_make_collect_report, pytest_runtest_makereport  # noqa: F401

settings.register_profile("steady", derandomize=True, deadline=None)
settings.register_profile("search", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


@pytest.fixture(autouse=True)
def no_process_is_left():
    """End what the test started with `waiting.start`, also when pytest-timeout ended the test."""
    yield
    waiting.end_started()
