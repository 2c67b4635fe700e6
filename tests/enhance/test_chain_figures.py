"""The whole chain on 100 galaxies that no training saw: `pytest -m soak -n 0 -s` of this file."""

import pytest
import torch

from tests.enhance import chain_measured
from tests.enhance.galaxies import DATA

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(2 * 3600),
    pytest.mark.skipif(not (DATA / "galaxies").is_dir(), reason="the real pictures are not in ../shared"),
]


def test_the_chain_beside_its_baselines(tmp_path):
    """What is printed is the table of the docs; that the chain is above the linear map is not promised."""
    torch.set_num_threads(1)
    store = chain_measured.prepare(tmp_path, "galaxies", 100)
    found = chain_measured.measure(tmp_path, store, 100)
    chain_measured.show(found)
    figures = found["figures"]
    assert figures["chain"]["psnr"]["n"] == 100
    assert found["gains"]["bicubic"]["psnr"]["low"] > 0
    assert found["gains"]["bicubic"]["colour"]["high"] < 0
    assert figures["after superres"]["lost"]["value"] < figures["linear"]["lost"]["value"]
