import pytest

from astro_dist.models.device import pin
from tests.flare.painters import save_painter


@pytest.fixture(scope="session")
def painter_folder(tmp_path_factory):
    """An untrained painter; not to be changed."""
    pin(1)
    return save_painter(tmp_path_factory.mktemp("painter") / "p")
