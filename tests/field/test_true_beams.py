"""Objects drawn as networks draw them, too narrow and in negative moats, come out as the field's beam."""

import numpy as np
import pytest
from scipy.optimize import least_squares

from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.windows import Window
from tests.field import small_sky
from tests.field.small_sky import BEAM, PIXEL, SIZE, make_run
from tests.field.test_placements import measured

POINTS = 40


def narrow(index, beam, pixel):
    """A stamp of `small_sky` in a beam of 0.94 of its width, with a moat round each source."""
    sharp = Beam(0.94 * beam.major_arcsec, 0.94 * beam.minor_arcsec, beam.pa_deg)
    image, mask, instances = plain(index, sharp, pixel)
    wide = Beam(2 * beam.major_arcsec, 2 * beam.minor_arcsec, beam.pa_deg)
    y, x = np.mgrid[:SIZE, :SIZE].astype(float)
    peaks = [np.unravel_index(np.where(instances == n, image, 0).argmax(), image.shape) for n in (1, 2)]
    moats = [0.04 * image[at] * (wide.profile(y - at[0], x - at[1], pixel)) for at in peaks]
    inner = [0.04 * image[at] * (sharp.profile(y - at[0], x - at[1], pixel)) for at in peaks]
    noise = np.random.default_rng(index).standard_normal(image.shape) * 0.3 * small_sky.RMS
    return (image + sum(inner) - sum(moats) + noise).astype(np.float32), mask, instances


plain = small_sky.make_stamp


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small_sky, "make_stamp", narrow)
        return make_run(tmp_path_factory.mktemp("narrow"), n_stamps=POINTS)


def fitted(patch, beam, pixel):
    """Major and minor width over the beam's of the Gaussian that fits a patch best."""
    y, x = np.mgrid[: patch.shape[0], : patch.shape[1]].astype(float)
    top = np.unravel_index(patch.argmax(), patch.shape)
    inside = patch > 0.2 * patch.max()
    root = np.linalg.cholesky(beam.covariance_pix(pixel))

    def misfit(free):
        peak, v, u, a, b, c = free
        lower = root @ np.array([[a, 0], [b, c]])
        z = np.linalg.solve(lower, np.stack([(y - v)[inside], (x - u)[inside]]))
        return peak * np.exp(-0.5 * (z * z).sum(axis=0)) - patch[inside] / patch.max()

    found = least_squares(misfit, [1, *top, 1, 0, 1]).x
    return np.linalg.svd(np.array([[found[3], 0], [found[4], found[5]]]), compute_uv=False)


def patches_of(run):
    table, _ = measured(run)
    state = small_sky.ASSEMBLE.open(run)
    brush = state.brush(Window.of_shape(state.field.shape))
    return table, [brush.draw(row)[0] for row in range(len(table["id"]))]


@pytest.mark.parametrize(
    ("beam", "pixel"), [(BEAM, PIXEL), (Beam(12.0, 12.0), Pixel(2.6, 2.6)), (Beam(14.0, 8.0, 40.0), PIXEL)]
)
def test_compact_sources_have_the_axes_of_the_fields_beam(stores, beam, pixel):
    settings = {
        "beam_major_arcsec": beam.major_arcsec,
        "beam_minor_arcsec": beam.minor_arcsec,
        "beam_pa_deg": beam.pa_deg,
        "pixel_arcsec": pixel.dy_arcsec,
    }
    run = small_sky.again(stores, shape=(900, 900), objects=200, reuse=5, **settings)
    table, patches = patches_of(run)
    compact = np.flatnonzero(table["class"] == 2)
    assert len(compact) > 80
    axes = np.array([fitted(patches[row], beam, pixel) for row in compact])
    assert (abs(np.quantile(axes, [0.025, 0.975]) - 1) < 0.03).all()
    assert np.quantile(axes, 0.025) > 0.98
    for row, patch in enumerate(patches):
        assert patch.min() > -3e-3 * patch.max()
        assert patch.sum(dtype=np.float64) == pytest.approx(table["sum"][row], rel=1e-6)


def test_as_drawn_they_are_narrow_and_have_moats(stores):
    """The same objects as they were drawn do not pass the test above."""
    run = small_sky.again(stores, shape=(900, 900), objects=60, compact="drawn")
    table, patches = patches_of(run)
    compact = np.flatnonzero(table["class"] == 2)
    axes = np.array([fitted(patches[row], BEAM, PIXEL) for row in compact])
    assert np.median(axes) < 0.97
    assert np.median([patches[row].min() / patches[row].max() for row in compact]) < -3e-3
