"""Surveys that a header tells, with what their files leave out: frequency, terms of use, works to cite."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from astropy.io.fits import Header

from astro_dist.engine.origins import Origin, read_origins

SHIPPED = Path(__file__).parents[1] / "weights" / "small"
"""Weights of the package, whose statement of origins has the terms of the surveys that they learnt from."""


@dataclass(frozen=True)
class KnownSurvey:
    """A survey: its name, its frequency in Hz, and what its headers say in some cards or in their history."""

    name: str
    frequency_hz: float
    cards: re.Pattern[str]
    history: re.Pattern[str]


KNOWN = (
    KnownSurvey("SUMSS", 843e6, re.compile(r"MOST|SUMSS"), re.compile(r"\bSUMSS\b|Molonglo Sky Survey")),
    KnownSurvey("FIRST", 1.4e9, re.compile(r"FIRST"), re.compile(r"\bVLA FIRST\b|Faint Images of the Radio")),
)


def find_survey(header: Header) -> KnownSurvey | None:
    """Return the survey that a header belongs to, None where it tells none."""
    cards = [str(header.get(name, "")).strip() for name in ("TELESCOP", "SURVEY", "ORIGIN")]
    told = "\n".join(str(line) for name in ("HISTORY", "COMMENT") for line in header.get(name, ()))
    for survey in KNOWN:
        if any(survey.cards.fullmatch(card) for card in cards) or survey.history.search(told):
            return survey
    return None


def origin_of(survey: str) -> Origin:
    """Return a survey of the user's maps as an origin, with the terms that the package has of its name."""
    return _stated().get(survey.lower(), Origin(survey))


@cache
def _stated() -> dict[str, Origin]:
    return {origin.name.lower(): origin for origin in read_origins(SHIPPED)}
