"""What a value of a plane counts for, by its unit."""

import pytest

from astro_dist.engine.config import validate
from astro_dist.engine.errors import ConfigError
from astro_dist.sky.config import PlaneConfig
from astro_dist.sky.units import plane_unit

KINDS = {
    "beam": ["Jy/beam km/s", "JY/BEAM.M/S", "Jy/beam*Hz", "Jy beam^-1 km s^-1", "Jy.km/s/beam"],
    "angle": [
        *(
            "K km/s",
            "K.km.s-1",
            "K_CMB",
            "uK_CMB",
            "K",
            "km/s",
            "M/S",
            "cm-2",
            "1/cm^2",
            "rad/m^2",
            "percent",
        ),
        *("MJy/sr", "W/m^2-sr", "cts/s/arcmin**2", "10-7 W/m2/sr", "erg/s/cm^2/arcsec^2", "R", "pc cm-6"),
        *("percent", "dimensionless", "Hz", "Msun/pc2", "uG"),
    ],
    "pixel": [
        *(
            "Jy/pixel",
            "Jy",
            "mJy",
            "microJy",
            "Jy km/s",
            "DN",
            "ADU",
            "counts",
            "ELECTRONS/S",
            "ct/s",
            "photons",
        ),
        *("ct/s", "photons", "nanomaggy", "W/m2", "erg/s/cm2", "ct/pixel", "K/pixel"),
    ],
}


@pytest.mark.parametrize(("text", "per"), [(text, per) for per, texts in KINDS.items() for text in texts])
def test_only_amounts_per_pixel_depend_on_the_size_of_a_pixel(text, per):
    found = plane_unit(text)
    assert (found.name, found.factor, found.per) == (text, 1.0, per)


def test_a_unit_that_leaves_it_open_is_refused_until_the_settings_say_it():
    for text in ("furlong/banana", "keV", "S/N"):
        with pytest.raises(ConfigError, match=r"does not say .* give per: beam, per: pixel"):
            plane_unit(text)
        config = validate(PlaneConfig, {"name": "a", "files": ["a.fits"], "per": "pixel"})
        assert plane_unit(text, config.per).per == "pixel"
    with pytest.raises(ConfigError, match=r"counts for a beam and per is pixel; leave per out"):
        plane_unit("mJy/beam", "pixel")
