import numpy as np
import pytest

from astro_dist.models.presets import FACTS
from astro_dist.store.facts import describe_cutouts


def describe(major, minor=None, pa=0.0, pixel=(2.0, 2.0), **one):
    maps = {"maps": [{"pixel_arcsec": list(pixel), **one}]}
    columns = {"source_map": [0], "beam_major_arcsec": [major], "beam_minor_arcsec": [minor or major]}
    columns |= {"beam_pa_deg": [pa], "rms_jy_beam": [1e-3]}
    return describe_cutouts(maps, {name: np.array(values) for name, values in columns.items()})[0]


def test_a_round_beam_of_four_pixels_is_all_zero():
    facts = describe(8.0)
    assert facts.dtype == np.float32
    assert facts.shape == (FACTS,)
    assert facts == pytest.approx([0, 0, 0, 0, np.log10(0.8), 0], abs=1e-6)


def test_the_beam_is_described_as_the_pixels_show_it():
    assert describe(8.0, 4.0)[1] == pytest.approx(0.6)
    assert describe(8.0, 4.0, pa=90.0)[1] == pytest.approx(-0.6)
    assert describe(8.0, 4.0, pa=45.0)[1:3] == pytest.approx([0, -0.6], abs=1e-6)
    # In SUMSS beam and pixels grow together towards the equator, so that the beam is round in pixels.
    assert describe(90.0, 45.0, pixel=(22.0, 11.0))[:3] == pytest.approx([np.log2(45 / 44), 0, 0], abs=1e-6)


def test_a_turn_of_half_a_circle_changes_nothing():
    assert describe(8.0, 4.0, pa=30.0) == pytest.approx(describe(8.0, 4.0, pa=210.0), abs=1e-6)


def test_the_survey_shows_in_beam_noise_and_frequency():
    assert describe(45.0, frequency_hz=0.843e9)[4:] == pytest.approx([np.log10(4.5), np.log10(0.843 / 1.4)])
    assert describe(45.0, frequency_hz=None)[5] == 0
