import shutil

import pytest

from tests.generate import small_run


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    """The products that `generate` reads."""
    root = tmp_path_factory.mktemp("inputs")
    small_run.add_cutouts(root)
    small_run.add_models(root)
    return root


@pytest.fixture
def root(inputs, tmp_path):
    shutil.copytree(inputs, tmp_path / "run")
    return tmp_path / "run"
