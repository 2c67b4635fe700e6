"""A skip that nobody has allowed fails the run, in a test, in a fixture and when a file is collected."""

import os
import subprocess
import sys
from pathlib import Path

from tests.skips import read_allowed

ROOT = Path(__file__).parents[1]
TESTS = """
import pytest

@pytest.mark.parametrize("n", [1, 2])
def test_allowed(n):
    pytest.skip(f"no maps {n}")

@pytest.mark.skipif(True, reason="another reason")
def test_allowed_for_another_reason():
    pass

@pytest.fixture
def absent():
    pytest.skip("not here")

def test_not_allowed(absent):
    pass

@pytest.mark.xfail
def test_that_is_expected_to_fail():
    assert False

def test_that_passes():
    pass
"""
ALLOWED = "# Why.\ntest_some.py::test_allowed*: no maps *\ntest_file.py: no module *\n"


def test_skips_that_are_not_listed_fail_the_run(tmp_path):
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "conftest.py").write_text("from tests.skips import *")
    (tmp_path / "test_some.py").write_text(TESTS)
    for name, reason in (("file", "no module x"), ("other", "no module x")):
        text = f"import pytest\npytest.skip({reason!r}, allow_module_level=True)\n"
        (tmp_path / f"test_{name}.py").write_text(text)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "skips.txt").write_text(ALLOWED)
    line = [sys.executable, "-m", "pytest", "-q", "-rA", "--continue-on-collection-errors", "--color=no", "."]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""}
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "1 passed, 3 skipped, 1 xfailed, 3 errors" in done.stdout.splitlines()[-1]
    for test, reason in (
        ("test_some.py::test_allowed_for_another_reason", "another reason"),
        ("test_some.py::test_not_allowed", "not here"),
        ("test_other.py", "no module x"),
    ):
        assert f"{test} was skipped ({reason}), which tests/skips.txt does not allow" in done.stdout


def test_every_line_names_a_file_that_exists():
    allowed = read_allowed(Path(__file__).with_name("skips.txt"))
    assert allowed
    for test, reason in allowed:
        assert reason.strip("* ")
        assert list(ROOT.glob(test.partition("::")[0])), test
