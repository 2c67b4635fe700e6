import numpy as np
import pytest
import scipy.fft
from scipy import ndimage

from astro_dist.field.config import AcceptConfig
from astro_dist.field.models import (
    MAX_NOISE,
    MODEL_NOISE,
    MODEL_REASONS,
    Drawing,
    core_fraction,
    deconvolve,
    fit_compact,
    highest_factor,
    make_model,
)
from astro_dist.field.objects import footprint_weights
from astro_dist.field.rendering import render
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.classes import SourceClass

BEAM_PIX = Beam(4, 4).covariance_pix(Pixel(1, 1))
OBLIQUE = Beam(80, 45, 60).covariance_pix(Pixel(13, 11))
NO_SPREAD = np.zeros(3)
SIDE = 72
STEPS = (0.25, 0.25)


def seen(model, beam_pix, side=SIDE):
    """What a beam shows of a model, in Jy/beam over the noise of the donor."""
    patch = render(model.pixels, model.spread_pix, (model.y0, model.x0), np.eye(2), (0, 0), (0, 0), beam_pix)
    window, image = patch.window, np.zeros((3 * side, 3 * side))
    image[window.shifted(side, side).slices] = patch.values * model.flux_snr
    return image[side:-side, side:-side]


def gaussians(parts, beam_pix):
    """The sum of sources (flux in beams, y, x, spread) through a beam."""
    image = np.zeros((SIDE, SIDE))
    for flux, y, x, spread in parts:
        patch = render(np.ones((1, 1)), spread, (0, 0), np.eye(2), (0, 0), (y + SIDE, x + SIDE), beam_pix)
        large = np.zeros((3 * SIDE, 3 * SIDE))
        large[patch.window.slices] = patch.values * flux
        image += large[SIDE:-SIDE, SIDE:-SIDE]
    return image


def drawing_of(image, beam_pix=BEAM_PIX, threshold=3.0):
    inside = (image > threshold).astype(np.uint16)
    trust = footprint_weights(inside, 1, STEPS, AcceptConfig())
    return Drawing(image.astype(np.float32), trust, beam_pix)


def noise(rng):
    """Noise of unit variance with the correlation of the beam."""
    k = scipy.fft.fftfreq(SIDE)
    filtered = np.exp(-2 * np.pi**2 * BEAM_PIX[0, 0] * (k[:, None] ** 2 + k**2))
    image = scipy.fft.ifft2(scipy.fft.fft2(rng.standard_normal((SIDE, SIDE))) * filtered).real
    return image / np.sqrt((filtered**2).mean())


def galaxy(rng, peak_snr):
    """A core, a jet of Gaussians and two lobes, as sources for `gaussians`."""
    angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(8, 16)
    along = np.array([np.sin(angle), np.cos(angle)])
    parts = [(1.0, *(36 + rng.uniform(-0.5, 0.5, 2)), NO_SPREAD)]
    parts += [(0.25, *(36 + along * length * s), np.array([0.6, 0, 0.6])) for s in np.linspace(0.1, 0.9, 9)]
    parts += [(3.0, *(36 + along * length * s), np.array([6.0, 1, 4.0])) for s in (-1, 1.1)]
    scale = peak_snr / gaussians(parts, BEAM_PIX).max()
    return [(flux * scale, y, x, spread) for flux, y, x, spread in parts]


def crop(image, model):
    """The part of an image on the pixels of a grid."""
    y0, x0 = int(model.y0), int(model.x0)
    height, width = model.pixels.shape
    return image[y0 : y0 + height, x0 : x0 + width]


def width_in_beams(spread, beam_pix):
    yy, yx, xx = spread
    ratio = np.linalg.solve(beam_pix, beam_pix + np.array([[yy, yx], [yx, xx]]))
    return np.sqrt(np.sort(np.linalg.eigvals(ratio).real))


@pytest.mark.parametrize("beam_pix", [BEAM_PIX, OBLIQUE], ids=["round", "oblique"])
@pytest.mark.parametrize("spread", [NO_SPREAD, np.array([3.0, -0.9, 2.0])], ids=["point", "gaussian"])
def test_a_compact_source_is_found_between_the_pixels_with_its_width_and_flux(beam_pix, spread):
    rng = np.random.default_rng(1)
    for y, x in 36 + rng.uniform(-0.5, 0.5, (4, 2)):
        found = fit_compact(drawing_of(gaussians([(200.0, y, x, spread)], beam_pix), beam_pix))
        assert (found.y0, found.x0) == pytest.approx((y, x), abs=1e-3)
        assert found.spread_pix == pytest.approx(spread, abs=1e-3)
        assert found.flux_snr == pytest.approx(200, rel=1e-4)
        assert found.residual < 1e-4
        assert found.pixels.tolist() == [[1]]
        assert found.peak_snr == pytest.approx(seen(found, beam_pix).max())


def test_noise_makes_no_widths_and_no_flux():
    rng = np.random.default_rng(2)
    found = [
        fit_compact(drawing_of(gaussians([(20.0, *y_x, NO_SPREAD)], BEAM_PIX) + noise(rng)))
        for y_x in 36 + rng.uniform(-0.5, 0.5, (60, 2))
    ]
    fluxes = np.array([model.flux_snr for model in found])
    assert sum(not model.spread_pix.any() for model in found) >= 54
    assert np.median(fluxes) == pytest.approx(20, rel=0.03)
    # A fit of a beam of signal-to-noise 20 is good to a twentieth.
    assert fluxes.std() / 20 < 0.1


def test_a_source_that_is_wide_along_one_axis_is_a_point_along_the_other():
    image = gaussians([(60.0, 36.2, 35.7, np.array([0.02, 0.0, 4.0]))], BEAM_PIX)
    found = fit_compact(drawing_of(image + noise(np.random.default_rng(3))))
    minor, major = width_in_beams(found.spread_pix, BEAM_PIX)
    assert minor == pytest.approx(1, abs=1e-9)
    assert major == pytest.approx(np.sqrt(1 + 4 / BEAM_PIX[0, 0]), rel=0.1)


def test_a_drawing_narrower_than_the_beam_with_a_moat_becomes_a_point_without_one():
    core, wide = (gaussians([(1.0, 36.3, 36.1, NO_SPREAD)], BEAM_PIX * factor) for factor in (0.85, 2.0))
    drawn = 100 * (core - 0.25 * wide)
    assert drawn.min() < -2
    found = fit_compact(drawing_of(drawn))
    assert not found.spread_pix.any()
    assert seen(found, BEAM_PIX).min() > -1e-5 * found.peak_snr
    assert (found.y0, found.x0) == pytest.approx((36.3, 36.1), abs=0.02)
    assert 0.02 < found.residual < 0.25


def test_a_grid_keeps_flux_and_shape_and_holds_in_other_beams():
    rng = np.random.default_rng(4)
    for _ in range(4):
        parts = galaxy(rng, 200)
        image = gaussians(parts, BEAM_PIX)
        drawing = drawing_of(image)
        found = deconvolve(drawing)
        assert found.pixels.min() >= 0
        assert found.pixels.sum(dtype=np.float64) == pytest.approx(1, abs=1e-6)
        assert found.flux_snr == pytest.approx(sum(part[0] for part in parts), rel=5e-3)
        footprint = np.zeros((SIDE, SIDE), bool)
        rows, columns = np.nonzero(found.pixels)
        footprint[rows + int(found.y0), columns + int(found.x0)] = True
        assert not (footprint & (drawing.trust == 0)).any()
        # A point comes out a little wider than the beam: the points of a grid are widened.
        assert found.residual < 0.07
        for factor in (0.8, 1.0, 1.5):
            truth = gaussians(parts, BEAM_PIX * factor**2)
            assert np.abs(seen(found, BEAM_PIX * factor**2) - truth).max() < 0.12 * truth.max()
            assert seen(found, BEAM_PIX * factor**2).min() > -1e-5 * truth.max()


def test_the_noise_of_a_grid_is_that_of_its_drawing_and_decides_how_bright_it_may_be():
    rng = np.random.default_rng(5)
    for peak in (30, 400):
        scatter = []
        for _ in range(8):
            image = gaussians(galaxy(rng, peak), BEAM_PIX)
            bare = drawing_of(image)
            noisy = Drawing((image + noise(rng)).astype(np.float32), bare.trust, BEAM_PIX)
            difference = seen(deconvolve(noisy), BEAM_PIX) - seen(deconvolve(bare), BEAM_PIX)
            scatter.append(difference[bare.trust > 0.5].std())
        assert 0.5 * MODEL_NOISE < np.median(scatter) < 1.1 * MODEL_NOISE
    bears = np.array([30, 0.99 * MODEL_NOISE / MAX_NOISE, 1.01 * MODEL_NOISE / MAX_NOISE])
    assert highest_factor(bears, compact=False).tolist() == [1, 1, np.inf]
    assert highest_factor(bears, compact=True).tolist() == [np.inf] * 3


def test_specks_of_noise_beside_a_source_are_left_out():
    rng = np.random.default_rng(6)
    total = 0
    for _ in range(5):
        image = gaussians([(300.0, 36, 36, NO_SPREAD)], BEAM_PIX) + noise(rng)
        wide = drawing_of(image, threshold=3.0)
        y, x = np.mgrid[:SIDE, :SIDE]
        trust = (np.hypot(y - 36, x - 36) < 16).astype(np.float32)
        found = deconvolve(Drawing(wide.level, trust, BEAM_PIX))
        pieces, count = ndimage.label(found.pixels, np.ones((3, 3)))
        brightest = ndimage.maximum(crop(seen(found, BEAM_PIX), found), pieces, np.arange(1, count + 1))
        assert np.min(brightest) > 2.9
        total += count
    assert total <= 10


def test_negative_pixels_add_nothing():
    image = gaussians([(30.0, 36, 36, NO_SPREAD)], BEAM_PIX)
    image -= 3 * gaussians([(1.0, 36, 44, NO_SPREAD)], BEAM_PIX)
    found = deconvolve(drawing_of(image))
    assert image.min() < -2.5
    assert seen(found, BEAM_PIX).min() > -1e-3


def test_the_same_drawing_gives_the_same_bytes():
    drawing = drawing_of(gaussians(galaxy(np.random.default_rng(7), 50), BEAM_PIX))
    first = deconvolve(drawing)
    fit_compact(drawing)
    again = deconvolve(Drawing(drawing.level.copy(), drawing.trust.copy(), BEAM_PIX.copy()))
    assert first.pixels.tobytes() == again.pixels.tobytes()
    assert (first.flux_snr, first.residual) == (again.flux_snr, again.residual)
    assert first.shifted(3, -2).y0 == first.y0 + 3


def test_what_no_model_explains_is_refused_by_name():
    y, x = np.mgrid[:SIDE, :SIDE] - 36.0
    spike = 100.0 * (np.hypot(y, x) < 1.2)
    board = 60.0 * (np.hypot(y, x) < 8) * ((y + x) % 2)
    double = gaussians([(50.0, 36, 30, NO_SPREAD), (50.0, 36, 42, NO_SPREAD)], BEAM_PIX)
    for image, source_class in [
        (spike, SourceClass.COMPACT),
        (double, SourceClass.COMPACT),
        (spike, SourceClass.EXTENDED),
        (board, SourceClass.EXTENDED),
    ]:
        assert make_model(drawing_of(image), source_class) == "not_like_beam"
    trust = drawing_of(spike).trust
    for source_class in (SourceClass.COMPACT, SourceClass.EXTENDED):
        refused = make_model(Drawing(np.full_like(trust, -1.0), trust, BEAM_PIX), source_class)
        assert refused in MODEL_REASONS


def test_any_drawing_has_a_model_or_a_reason():
    rng = np.random.default_rng(8)
    outcomes = set()
    for _ in range(30):
        beam = Beam(major := rng.uniform(2, 9), major * rng.uniform(0.5, 1), rng.uniform(-180, 180))
        shape = rng.integers(1, 30, 2)
        trust = np.clip(rng.random(shape) * 3 - rng.random(), 0, 1).astype(np.float32)
        level = 10 ** rng.uniform(-3, 4) * rng.standard_normal(shape) + 10 ** rng.uniform(-3, 3)
        level[trust == 0] = np.nan
        drawing = Drawing(level.astype(np.float32), trust, beam.covariance_pix(Pixel(1, 1)))
        for source_class in (SourceClass.COMPACT, SourceClass.EXTENDED):
            found = make_model(drawing, source_class)
            outcomes.add(found if isinstance(found, str) else source_class)
            if not isinstance(found, str):
                assert found.flux_snr > 0
                assert np.isfinite([found.peak_snr, found.residual, found.y0, *found.spread_pix]).all()
                assert found.pixels.min() >= 0
    assert outcomes == {*MODEL_REASONS, SourceClass.COMPACT, SourceClass.EXTENDED}


def test_the_core_fraction_is_the_share_of_the_brightest_point():
    assert core_fraction(np.ones((1, 1), np.float32), NO_SPREAD, BEAM_PIX) == 1
    wide = BEAM_PIX[[0, 0, 1], [0, 1, 1]] * 3
    assert core_fraction(np.ones((1, 1), np.float32), wide, BEAM_PIX) == pytest.approx(1 / 4)
    pixels = np.zeros((3, 41), np.float32)
    pixels[1, [0, 20, 40]] = 0.3, 0.5, 0.2
    assert core_fraction(pixels, NO_SPREAD, BEAM_PIX) == pytest.approx(0.5, rel=1e-4)
