"""One grid of classifiers that many tests look at."""

import fcntl
import shutil

import pytest

from tests.flare.grids import run_grid, write_config


@pytest.fixture(scope="session")
def finished_grid(shared_folder):
    """The configuration and run directory of a finished grid; tests that change it copy it first."""
    folder = shared_folder / "grid"
    config, out = folder / "grid.yaml", folder / "run"
    with open(shared_folder / "grid.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            folder.mkdir(exist_ok=True)
            run_grid(write_config(config), out, "--on", "serial")
            (folder / "done").touch()
    return config, out


@pytest.fixture
def grid(finished_grid, tmp_path):
    """A copy of the finished grid."""
    shutil.copytree(finished_grid[1], tmp_path / "run")
    return finished_grid[0], tmp_path / "run"
