"""A package of a field on a real map: what is not scored of it, its noise, its terms."""

import numpy as np
import pytest
from astropy.io import fits
from scipy.ndimage import distance_transform_edt

from astro_dist.challenge.names import BITS
from tests.challenge import small
from tests.field.small_sky import RMS
from tests.field.test_background import SHAPE, SOURCES, write_map

FWHM_PIX = 4


@pytest.fixture(scope="module", params=["replace", "keep"])
def made(request, tmp_path_factory):
    """Return the mode, the real pixels, and the package of a field on them."""
    folder = tmp_path_factory.mktemp("real")
    image = write_map(folder / "background.fits")
    background = {"kind": "map", "path": str(folder / "background.fits"), "islands": request.param}
    run = small.make_run(folder / "run", objects=30, background=background, shape=[7, 7])
    out = small.package(run, folder / "out", orphan_beams=3, training_share=0.04)
    return request.param, image, out


def test_the_score_mask_leaves_out_edges_gaps_and_real_sources(made):
    mode, image, out = made
    mask = fits.getdata(out / "public/score_mask.fits")
    blank = np.isnan(image)
    assert np.array_equal(mask & BITS["no_data"] > 0, blank)
    padded = np.pad(~blank, 1)
    near = distance_transform_edt(padded)[1:-1, 1:-1] <= 2 * FWHM_PIX
    # The edge of the map is a straight frame, that of missing pixels follows their outline.
    assert np.array_equal((mask & BITS["edge"] > 0)[9:-9, 9:-9], near[9:-9, 9:-9])
    assert (mask[: 2 * FWHM_PIX] & BITS["edge"]).all()
    bit, radius = ("real_source", FWHM_PIX) if mode == "keep" else ("orphaned_artefact", 3 * FWHM_PIX)
    for y, x, snr in SOURCES:
        marked = bool(mask[y, x] & BITS[bit])
        assert marked == (mode == "keep" or snr > 30), snr
        if marked:
            assert mask[y, x + radius] & BITS[bit]
            assert not mask[y, x + 5 * radius] & BITS[bit]
    other = BITS["orphaned_artefact" if mode == "keep" else "real_source"]
    assert not (mask & other).any()


def test_the_noise_is_that_of_the_mesh(made):
    rms = fits.getdata(made[2] / "public/rms.fits")
    assert rms.shape == SHAPE
    assert np.median(rms[100:-100, 20:120]) == pytest.approx(RMS, rel=0.1)
    assert np.median(rms[100:-100, 260:340]) == pytest.approx(2 * RMS, rel=0.1)


def test_its_name_and_digest_are_not_given_out_and_its_terms_are(made):
    out = made[2]
    for path in (out / "public").rglob("*"):
        if path.is_file():
            assert b"background.fits" not in path.read_bytes(), path
    assert (
        "a real map, the background of the field: terms not known" in (out / "public/LICENSE.md").read_text()
    )
