import numpy as np
import pytest

from astro_dist.engine.errors import ConfigError
from astro_dist.sky.background import build_mesh, cell_size, measure_cells


def noise(shape, level=0.0):
    return np.random.default_rng(8).normal(level, 1.0, shape).astype(np.float32)


def mesh_of(image, cell_pix):
    rows = [measure_cells(image[y : y + cell_pix], cell_pix) for y in range(0, len(image), cell_pix)]
    background, rms = (np.stack(nodes) for nodes in zip(*rows, strict=True))
    return build_mesh(image.shape, cell_pix, background, rms, "this")


def test_noise_and_level_are_found():
    mesh = mesh_of(noise((256, 320), 7.0), 64)
    np.testing.assert_allclose(mesh.rms, 1, rtol=0.03)
    np.testing.assert_allclose(mesh.background, 7, atol=0.05)
    assert mesh.rms.dtype == mesh.background.dtype == np.float32
    assert mesh.median_rms == pytest.approx(1, rel=0.02)


def test_sources_raise_neither():
    image = noise((64, 64))
    image[10:18, 20:28] += 500
    background, rms = measure_cells(image, 64)
    assert abs(background[0]) < 0.1
    assert rms[0] == pytest.approx(1, rel=0.05)


def test_a_cell_knows_only_its_own_pixels():
    image = noise((64, 256))
    image[:, 64:] = 1e6 * noise((64, 192))
    for value, whole in zip(measure_cells(image[:, :64], 64), measure_cells(image, 64), strict=True):
        assert value[0] == whole[0]


def test_cells_without_data_are_not_measured():
    image = noise((64, 256))
    image[:, 64:112] = np.nan
    image[10:, 128:192] = np.nan
    image[:, 192:] = 0.0
    background, rms = measure_cells(image, 64)
    assert np.isfinite(rms).tolist() == np.isfinite(background).tolist() == [True, False, False, False]


def test_a_low_last_row_of_cells_needs_a_third_of_its_pixels():
    assert np.isfinite(measure_cells(noise((22, 64)), 64)[1]).all()
    assert np.isnan(measure_cells(noise((20, 64)), 64)[1]).all()


def test_empty_cells_take_the_nearest_value():
    image = noise((320, 320))
    image[:, :160] *= 10
    image[64:192, 192:] = np.nan
    mesh = mesh_of(image, 32)
    np.testing.assert_allclose(mesh.rms[:, 7:], 1, rtol=0.1)
    np.testing.assert_allclose(mesh.rms[:, :3], 10, rtol=0.1)


def test_one_crowded_cell_is_smoothed_away():
    image = noise((320, 320))
    image[128:192, 128:192] *= 50
    assert mesh_of(image, 64).rms.max() < 1.1


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_a_map_without_data_is_refused_by_name(value):
    with pytest.raises(ConfigError, match=r"'this' has too few usable pixels"):
        mesh_of(np.full((100, 90), value, np.float32), 30)


@pytest.mark.parametrize(
    ("shape", "fwhm", "side"), [((900, 900), 4.2, 84), ((900, 900), 2, 64), ((50, 70), 4, 50)]
)
def test_cell_size(shape, fwhm, side):
    assert cell_size(shape, fwhm, 20, 64) == side
