"""A map of 1,024 x 1,024 pixels doubled by a network: the same bytes however the work is shared."""

import random

import pytest

from tests.end_to_end.conftest import stable_digests
from tests.enhance import scaling

pytestmark = [pytest.mark.soak, pytest.mark.timeout(4 * 3600)]


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return scaling.double(tmp_path_factory.mktemp("large"), **scaling.FULL)


@pytest.mark.parametrize(
    ("executor", "workers"), [("processes", 2), ("ray", 1), ("ray", 2), ("ray", 4)], ids=str
)
def test_every_executor_makes_the_bytes_of_one_process(large, tmp_path, executor, workers):
    found = scaling.again(large, tmp_path / "run", "--on", executor, "--workers", workers)
    assert found == stable_digests(large / "run")


@pytest.mark.parametrize("executor", ["processes", "ray"])
def test_a_hundred_kills_change_no_byte(large, tmp_path, executor):
    scaling.disturb(large, tmp_path / "run", executor, 100, random.Random(8))


def test_tiles_of_a_network_of_full_width_are_the_whole_map(tmp_path):
    """Sixteen tiles of 256 x 256 pixels, and one of 1,024 x 1,024."""
    sizes = {**scaling.FULL, "width": 48, "band_rows": 256, "tile_pix": 256}
    found = scaling.seams(scaling.double(tmp_path, **sizes), tmp_path / "whole", 1024)
    print(found)
    assert max(found.values()) <= 1e-4
