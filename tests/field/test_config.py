"""Settings of the field that contradict each other are refused with a remedy."""

import pytest

from astro_dist.engine.config import validate
from astro_dist.engine.errors import ConfigError
from astro_dist.field.config import AssembleConfig


def test_defaults_are_the_large_field():
    config = validate(AssembleConfig, {})
    assert config.shape == (12000, 15000)
    assert (config.reuse, config.max_overlap, config.spurious) == (1, 0.0, False)
    assert (config.flux.scale, config.flux.cap, config.flux.above) == (3.0, 10.0, "redraw")


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"shape": [0, 10]}, "shape"),
        ({"objects": 0}, "objects"),
        ({"pixel_arcsec": -1}, "pixel_arcsec"),
        ({"pixel_arcsec": [5, 0]}, "pixel_arcsec"),
        ({"beam_minor_arcsec": 5}, "beam_major_arcsec"),
        ({"beam_major_arcsec": 5, "beam_minor_arcsec": 6}, "exchange"),
        ({"flux": {"minimum": 12}}, "lower minimum"),
        ({"flux": {"scale": 1e300}}, "scale"),
        ({"flux": {"cap": 1e300}}, "cap"),
        ({"background": {"rms_jy_beam": 1e300}}, "rms_jy_beam"),
        ({"flux": {"mode": "catalogue"}}, "set both or neither"),
        ({"flux": {"catalogue": "x.fits"}}, "set both or neither"),
        ({"flux": {"lambda": 3}}, "unknown key"),
        ({"background": {"kind": "map"}}, "set both or neither"),
        ({"background": {"kind": "map", "path": "m.fits", "rms_jy_beam": 1}}, "its own noise"),
        ({"background": {"kind": "map", "path": "m.fits"}, "beam_major_arcsec": 9}, "its own"),
    ],
)
def test_contradictions_are_refused(tree, message):
    with pytest.raises(ConfigError, match=message):
        validate(AssembleConfig, tree)


def test_new_settings_leave_the_fingerprint_of_old_runs_alone():
    marks = AssembleConfig().marks()
    assert "sdc1_angle" not in marks
    assert "columns" not in marks["flux"]
    assert AssembleConfig(sdc1_angle="clockwise").marks() == marks | {"sdc1_angle": "clockwise"}
