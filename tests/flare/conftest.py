import pytest

from astro_dist.models.device import pin
from tests.flare.painters import execute, save_painter


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
