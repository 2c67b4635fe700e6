"""Which stages a configuration of `enhance` has."""

import pytest

from astro_dist.engine.errors import ConfigError
from astro_dist.enhance.pipeline import ENHANCE


def names(**sections):
    return [stage.name for stage in ENHANCE.choose(ENHANCE.resolve(sections))]


def test_pictures_or_maps_begin_a_run():
    assert names()[0] == "pictures"
    assert names(maps={})[:3] == ["simulate", "annotate", "cutouts"]
    assert names(maps={"files": ["a.fits"]})[:2] == ["annotate", "cutouts"]
    with pytest.raises(ConfigError, match="cutouts is not part of this run: maps are read only with"):
        ENHANCE.choose(ENHANCE.resolve({}), only="cutouts")


def test_a_chain_without_a_network_over_files_needs_no_training():
    files = {"maps": {}, "superres": {}, "enhance": {"files": ["a.fits"], "chain": ["bicubic"]}}
    assert names(**files)[0] == "enhance"
    assert "superres" in names(**{**files, "enhance": {"files": ["a.fits"], "chain": ["superres"]}})


def test_a_command_adds_the_section_of_its_stage():
    config = ENHANCE.resolve(ENHANCE.include({}, ["cutouts"]))
    assert config.maps is not None
