import numpy as np
import pytest

from astro_dist.evaluate import images
from astro_dist.evaluate.masks import HeldOutMasks


@pytest.fixture
def reader(stage_run):
    return HeldOutMasks(stage_run).reader


def test_real_cutouts_have_noise_of_one_sigma(reader):
    snr = images.read_snr(reader, [0, 1])
    empty = reader.read("mask", [0, 1]) == 0
    assert np.isnan(snr[:, -3:]).all()
    assert np.nanstd(snr[empty]) == pytest.approx(1, abs=0.4)


def test_a_sky_has_neither_objects_nor_holes(reader):
    indices = range(6)
    masked, skies = reader.read("mask", indices) > 0, images.read_skies(reader, indices, 1)
    assert np.isfinite(skies).all()
    assert skies[masked].max() < 6 < np.nanmax(images.read_snr(reader, indices)[masked])
    assert skies[:, -3:].std() > 0.5


def test_sources_in_a_sky_keep_their_brightness(reader):
    donors, skies = [3, 7], [11, 15]
    tapers = images.tapers_of(reader, donors)
    sources = np.nan_to_num(images.read_snr(reader, donors)) * tapers
    shown = images.set_in_sky(reader, sources, donors, skies, 1)
    np.testing.assert_allclose(shown[tapers == 1], sources[tapers == 1])
    nowhere = tapers == 0
    np.testing.assert_allclose(shown[nowhere], images.read_skies(reader, skies, 1)[nowhere], rtol=1e-6)


def test_network_range_and_back(reader):
    snr = images.read_snr(reader, [0])
    u = images.to_network_range(reader, snr)
    assert np.isfinite(u).all()
    valid = np.isfinite(snr)
    np.testing.assert_allclose(images.from_network_range(reader, u)[valid], snr[valid], rtol=1e-5, atol=1e-5)
