"""Every test that ``docs/maps.md`` names exists, and every setting of maps is one of its words."""

import re
from pathlib import Path

from astro_dist.sky.config import SurveyConfig

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "maps.md").read_text()


def test_the_tests_of_each_kind_exist():
    named = re.findall(r"`(tests/\S+?\.py)::(test_\w+)`", TEXT)
    assert len(named) > 40
    for path, name in named:
        assert f"\ndef {name}(" in (ROOT / path).read_text(), name


def test_every_setting_of_maps_is_explained():
    for name in SurveyConfig.model_fields:
        assert re.search(rf"(maps\.|\b){name}\b", TEXT), name
