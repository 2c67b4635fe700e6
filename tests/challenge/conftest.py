"""One small run and its package for all tests of this room."""

import pytest

from astro_dist.challenge.score import Judge
from tests.challenge import small


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    return small.make_run(tmp_path_factory.mktemp("challenge") / "run")


@pytest.fixture(scope="session")
def folder(run):
    """The folder of the run's package, which tests only read."""
    return small.package(run, run.root.parent / "package", tile_pix=128)


@pytest.fixture(scope="session")
def judge(folder):
    return Judge.open(folder)
