"""One grid of classifiers that many tests look at."""

import fcntl
import shutil

import pytest

from astro_dist.models.device import pin
from tests.flare.comparisons import run_comparison
from tests.flare.grids import run_grid, write_config
from tests.flare.painters import execute, save_painter


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


@pytest.fixture(scope="session")
def compared(shared_folder):
    """The run directory of a finished comparison with its report."""
    folder = shared_folder / "comparison"
    with open(shared_folder / "comparison.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            run_comparison(folder)
            (folder / "done").touch()
    return folder / "run"


@pytest.fixture
def grid(finished_grid, tmp_path):
    """A copy of the finished grid."""
    shutil.copytree(finished_grid[1], tmp_path / "run")
    return finished_grid[0], tmp_path / "run"


@pytest.fixture(scope="session")
def painter_folder(tmp_path_factory):
    """An untrained painter; not to be changed."""
    pin(1)
    return save_painter(tmp_path_factory.mktemp("painter") / "p")


@pytest.fixture(scope="session")
def done(tmp_path_factory):
    """A run up to the synthetic pictures; not to be changed."""
    root = tmp_path_factory.mktemp("painted") / "run"
    execute(root)
    return root
