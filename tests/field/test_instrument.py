"""A field suits its models where its beam is wide enough and sampled, its drawings to 10 %."""

import numpy as np
import pytest

from astro_dist.engine.config import validate
from astro_dist.engine.errors import ConfigError
from astro_dist.field.config import AssembleConfig
from astro_dist.field.instrument import Survey, design_instrument, median_survey
from astro_dist.sky.beams import Beam, Pixel

DRAWN = {"flux": {"mode": "radiff_stretched"}}
FIRST = Survey("first", Beam(5.4, 5.4), Pixel(1.8, 1.8), 1.4e9)


def sumss(dec_deg):
    """Return a map like those of SUMSS: beam and pixel both grow along declination."""
    stretch = 1 / np.sin(np.radians(dec_deg))
    return Survey(f"dec{dec_deg}", Beam(45 * stretch, 45.0), Pixel(11 * stretch, 11.0), 843e6)


def design(surveys, **settings):
    return design_instrument(validate(AssembleConfig, settings), surveys, None)


def test_the_source_survey_is_the_default():
    field = design([FIRST])
    assert (field.shape, field.beam, field.pixel) == ((12000, 15000), FIRST.beam, FIRST.pixel)
    assert field.frequency_hz == 1.4e9
    assert field.wcs.wcs.cdelt * 3600 == pytest.approx([-1.8, 1.8])
    assert field.wcs.wcs_pix2world([[7499.5, 5999.5]], 0)[0] == pytest.approx([180, -30])


def test_of_several_maps_the_median_one_counts():
    surveys = [sumss(d) for d in (32, 36, 40)]
    assert median_survey(surveys).name == "dec36"
    assert design(surveys).beam == surveys[1].beam


@pytest.mark.parametrize(
    "settings",
    [
        {"pixel_arcsec": 1.95},
        {"pixel_arcsec": [1.8, 1.7]},
        {"beam_major_arcsec": 5.8},
        {"beam_major_arcsec": 5.6, "beam_minor_arcsec": 5.0},
        {"frequency_hz": 9e8},
    ],
)
def test_ten_percent_are_allowed(settings):
    design([FIRST], **DRAWN, **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"pixel_arcsec": 2.0},
        {"pixel_arcsec": [1.8, 1.5]},
        {"beam_major_arcsec": 6.5},
        {"beam_major_arcsec": 5.4, "beam_minor_arcsec": 4.5},
    ],
)
def test_more_is_refused_for_drawings_naming_both(settings):
    with pytest.raises(
        ConfigError, match=r"radiff_stretched: .* has a beam of .* the objects come from first .*5.4 x 5.4"
    ):
        design([FIRST], **DRAWN, **settings)
    # A model takes the beam and the pixels of the field.
    design([FIRST], **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"beam_major_arcsec": 4.3, "pixel_arcsec": 1.7},
            r"4\.3 x 4\.3 .* first .* 5\.4 x 5\.4 .* 0\.8 times .* is 0\.80",
        ),
        ({"beam_major_arcsec": 9.0, "beam_minor_arcsec": 4.0, "pixel_arcsec": 1.2}, r"is 0\.74"),
        ({"pixel_arcsec": 2.2}, r"2\.45 pixels per full width; .* at least 2\.5"),
        ({"pixel_arcsec": [1.0, 2.2]}, r"2\.45 pixels per full width"),
    ],
)
def test_a_field_that_models_do_not_suit_is_refused_with_both_numbers(settings, message):
    with pytest.raises(ConfigError, match=message):
        design([FIRST], **settings)


def test_a_wider_beam_and_any_pixel_that_samples_it_suit_models():
    for settings in (
        {"beam_major_arcsec": 4.33, "pixel_arcsec": 1.7},
        {"beam_major_arcsec": 8.1, "pixel_arcsec": 2.34},
        {"beam_major_arcsec": 20, "beam_minor_arcsec": 5, "beam_pa_deg": 30},
        {"beam_major_arcsec": 60, "pixel_arcsec": [3, 20]},
    ):
        design([FIRST], **settings)


def test_a_turned_beam_is_another_beam():
    survey = Survey("long", Beam(10.0, 5.0, 0.0), Pixel(1.5, 1.5), None)
    turned = {"beam_major_arcsec": 10, "beam_minor_arcsec": 5, "beam_pa_deg": 90}
    with pytest.raises(ConfigError, match=r"is 0\.50"):
        design([survey], **turned)
    with pytest.raises(ConfigError, match="in pixels"):
        design([survey], **DRAWN, **turned)


def test_maps_whose_beams_agree_in_pixels_go_together():
    design([sumss(d) for d in (32, 36, 40)], **DRAWN)
    other = Survey("other", Beam(7.0, 7.0), Pixel(1.8, 1.8), None)
    with pytest.raises(ConfigError, match="drawings of other"):
        design([FIRST, FIRST, other], **DRAWN)
    with pytest.raises(ConfigError, match=r"objects of other .* is 0\.77"):
        design([FIRST, FIRST, other])
    design([FIRST, FIRST, other], beam_major_arcsec=5.7)


def test_a_field_beyond_the_half_sphere_is_refused():
    coarse = Survey("coarse", Beam(120.0, 120.0), Pixel(40.0, 40.0), None)
    with pytest.raises(ConfigError, match="half sphere"):
        design([coarse])
