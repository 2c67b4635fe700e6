import dataclasses

import numpy as np
import pytest

from astro_dist.engine.seeds import stream
from astro_dist.sky.artefacts import draw_artefact
from astro_dist.sky.windows import Window, bands

WHOLE = Window(0, 400, 0, 500)


def draw(snr, number=0, size_beams=0.0):
    return draw_artefact(stream(1, number), 201.3, 240.7, snr, size_beams, 25e-6, 4.0, 0.2)


def paint(artefact, windows):
    rows = []
    for window in windows:
        layer = np.zeros(window.shape, np.float32)
        artefact.add_to(layer, window)
        rows.append(layer)
    return np.concatenate(rows)


@pytest.mark.parametrize("height", [37, 128, 200])
def test_it_is_the_same_in_whatever_bands_it_is_drawn(height):
    artefact = draw(5000)
    whole = paint(artefact, [WHOLE])
    assert np.array_equal(paint(artefact, bands(WHOLE.shape, height)), whole)


def test_it_is_positive_and_negative_and_fades_with_distance():
    artefact = draw(20000)
    image = paint(artefact, [WHOLE]) / artefact.amplitude_jy_beam
    assert image.max() > 0.3
    assert image.min() < -0.3
    near, far = image[181:222, 221:262], image[:41]
    assert near.std() > 2 * far.std()


def test_it_is_a_small_part_of_the_peak():
    for number in range(20):
        for snr in (300, 3000, 30000):
            if artefact := draw(snr, number):
                assert np.abs(paint(artefact, [WHOLE])).max() < 0.05 * snr * 25e-6


@pytest.mark.parametrize(
    ("level", "low", "high"), [(0.004, 0.14, 0.22), (0.008, 0.25, 0.42), (0.02, 0.45, 0.75)]
)
def test_its_level_is_that_of_surveys(level, low, high):
    """Percent of the peak at 400 sigma, 2.0 to 3.5 beams away: 0.17 in FIRST, 0.52 in SUMSS."""
    y, x = np.mgrid[170:235, 210:275]
    r = np.hypot(y - 201.3, x - 240.7) / 4
    ring = (r > 2) & (r < 3.5)
    spans = []
    for number in range(40):
        artefact = draw_artefact(stream(1, number), 201.3, 240.7, 400, 0.0, 1.0, 4.0, 0.2, level)
        values = paint(artefact, [Window(170, 235, 210, 275)])[ring] if artefact else np.zeros(2)
        spans.append(np.diff(np.quantile(values, [0.16, 0.5]))[0] / 400)
    assert low < 100 * np.sqrt(np.median(np.square(spans))) < high


def test_a_faint_source_leaves_nothing():
    assert all(draw(20, number) is None for number in range(20))


def test_its_window_holds_all_of_it():
    artefact = dataclasses.replace(draw(300, 3), radius_beams=20.0)
    image = paint(artefact, [WHOLE])
    inside = WHOLE & artefact.window
    assert np.count_nonzero(image) == np.count_nonzero(image[inside.within(WHOLE)]) > 0


def test_an_extended_source_leaves_broader_spokes():
    assert np.all(draw(5000, size_beams=10.0).spokes[:, 2] > draw(5000).spokes[:, 2])
