"""What the header of a map says of its observation, for the headers of pieces of it: nothing is made up."""

from collections.abc import Collection, Mapping
from typing import Any

from astro_dist.engine.errors import ConfigError, IntegrityError, show
from astro_dist.engine.work import Run
from astro_dist.sky.config import MapsConfig, SurveyConfig
from astro_dist.sky.coordinates import wcs_cards
from astro_dist.sky.files import find_maps
from astro_dist.sky.fits_arrays import cards_of
from astro_dist.sky.map_files import own_names
from astro_dist.sky.maps import SkyMap

CARDS = ("TELESCOP", "INSTRUME", "OBSERVER", "OBJECT", "DATE-OBS")
UNNAMED = SurveyConfig.model_fields["survey"].default

Cards = dict[str, Any]
"""Cards of a header, each a value or a ``(value, comment)``."""


def observation_of(text: str, survey: str) -> Cards:
    """Return what a header, given as text, says of the observation, and the name that the user has for it."""
    named = {} if survey in ("", UNNAMED) else {"SURVEY": (survey, "as maps.survey names it")}
    return {**cards_of(text, CARDS), **named}


def read_observed(run: Run, maps: Collection[Mapping[str, Any]]) -> dict[str, Cards]:
    """Return the cards of the observation of each map that a store of a run describes, by the map's name.

    A map that is gone, or is another one by now, has the name of its survey alone, and a line says so.
    """
    found = {about["name"]: observation_of("", about["survey"]) for about in maps}
    headers = _read_headers(run, {about["name"]: about["header"] for about in maps})
    for name in sorted(found.keys() - headers.keys()):
        show(f"{name}: the map is not where it was; telescope and date are left out of what is cut from it")
    return {name: {**cards_of(headers.get(name, ""), CARDS), **cards} for name, cards in found.items()}


def _read_headers(run: Run, wanted: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the headers, as text, of those of the wanted maps whose place on the sky is as it was."""
    try:
        surveys = dict(find_maps(run.section(MapsConfig)))
        names = own_names(list(surveys))
    except ConfigError:
        return {}
    headers = {}
    for path, survey in surveys.items():
        if (name := names[path]) not in wanted:
            continue
        try:
            sky_map = SkyMap.open(path, survey, verify=False)
        except (ConfigError, IntegrityError):
            continue
        if wcs_cards(sky_map.wcs) == wanted[name]:
            headers[name] = sky_map.cards
    return headers
