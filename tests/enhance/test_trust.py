"""Intervals and refusals on FIRST and SUMSS, with networks trained on them: `pytest -m soak -n 0 -s`."""

import pytest
import torch

from astro_dist.cli import main
from tests.enhance import trust
from tests.flare.upscaling import DATA

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(3 * 3600),
    pytest.mark.skipif(not (DATA / "first").is_dir(), reason="the real maps are not in ../shared"),
]
SURVEYS = {
    "first": ["first/*.fits.fz", "beam_major_arcsec: 5.4, frequency_hz: 1.4e+9, survey: FIRST"],
    "sumss": ["sumss/*.FITS.fz", "frequency_hz: 843.0e+6, survey: SUMSS"],
}


@pytest.fixture(scope="module", params=SURVEYS)
def survey(request, tmp_path_factory):
    """A run with a small network that doubles the maps of a survey."""
    files, more = SURVEYS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    text = [
        "pipeline: enhance",
        f'maps: {{files: ["{DATA / files}"], {more}}}',
        "cutouts: {size_pix: 64, mode: tiles, validation_fraction: 0.25, test_fraction: 0.25}",
        "superres: {preset: local, width: 24, steps: 500}",
    ]
    (folder / "a.yaml").write_text("\n".join(text) + "\n")
    words = [
        "run",
        str(folder / "a.yaml"),
        "--to",
        "superres",
        "--out",
        str(folder / "run"),
        "--on",
        "serial",
    ]
    assert main([*words, "-q"]) == 0
    torch.set_num_threads(1)
    return request.param, folder / "run"


def test_other_images_are_refused_and_held_out_tiles_are_not(survey):
    name, root = survey
    found = trust.refuse(root)
    print(name, found)
    assert found.pop("held out")["unlike"] <= 0.01
    for kind, one in found.items():
        assert one["unlike"] >= 0.95, kind


@pytest.mark.parametrize("estimate", ["mean", "expected"])
def test_intervals_hold_what_they_say(survey, estimate):
    name, root = survey
    found = trust.cover(root, maker=trust.open_maker(root, estimate=estimate))
    print(name, estimate, found)
    for kind in ("all", "bright"):
        for share, (low, high) in zip(found[kind]["inside"], ((0.65, 0.71), (0.93, 0.97)), strict=True):
            assert low <= share <= high, kind
