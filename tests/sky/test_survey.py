import pytest

from astro_dist.engine.config import validate
from astro_dist.engine.errors import ConfigError
from astro_dist.sky.survey import SimulateConfig


def test_maps_lie_side_by_side_without_touching():
    config = SimulateConfig(shape=(1000, 2000), maps=3, ra_deg=359.0, dec_deg=-60.0)
    first, second = config.wcs(0), config.wcs(1)
    for y in (0, 999):
        right, _ = second.all_pix2world(1999, y, 0)
        left, _ = first.all_pix2world(0, y, 0)
        assert 0 < (right - left) % 360 < 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"beam_minor_arcsec": 7.0}, "exchange"),
        ({"pixel_arcsec": 4.0}, "two pixels"),
        ({"shape": [30, 4000]}, "too small"),
        ({"extended_size_beams": [20, 4]}, "rising"),
        ({"flux_limit_jy": 1e-6}, "above rms"),
        ({"maps": 1000}, "do not fit"),
    ],
)
def test_impossible_settings_are_refused_in_one_line(settings, words):
    with pytest.raises(ConfigError, match=words) as caught:
        validate(SimulateConfig, settings)
    assert "\n" not in str(caught.value)
