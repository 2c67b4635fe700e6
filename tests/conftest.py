"""What holds for every test: steady property tests, listed skips, and no process that outlives its test.

Property tests draw the same examples on every run; ``HYPOTHESIS_PROFILE=search`` looks for new ones.
"""

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import settings

from astro_dist.cli import main
from tests import waiting
from tests.groups import pytest_collection_modifyitems, pytest_xdist_make_scheduler  # noqa: F401
from tests.skips import pytest_make_collect_report, pytest_runtest_makereport  # noqa: F401

settings.register_profile("steady", derandomize=True, deadline=None)
settings.register_profile("search", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory):
    """A folder of this run of pytest that all of its processes share."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture
def command(capsys, monkeypatch):
    """The command in this process: a function that returns exit code and output as `subprocess.run` does.

    To start a process and import the package again takes longer than most commands.
    """

    def call(*words, cwd="."):
        capsys.readouterr()
        with monkeypatch.context() as patch:
            patch.chdir(cwd)
            try:
                code = main(list(map(str, words)))
            except SystemExit as end:
                code = end.code
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(words, code, out, err)

    return call


@pytest.fixture
def above(tmp_path, monkeypatch):
    """Be in a folder that holds a clone of the package: its name is that of the package, without a module."""
    folder = tmp_path / "above"
    folder.mkdir()
    (folder / "astro_dist").symlink_to(Path(__file__).parents[1])
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(autouse=True)
def no_process_is_left():
    """End what the test started with `waiting.start`, also when pytest-timeout ended the test."""
    yield
    waiting.end_started()
