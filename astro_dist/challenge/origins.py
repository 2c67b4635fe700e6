"""The surveys and weights that a field was really made from, with the terms that come with them.

They are read from the publications of the run: which weights a training began with, which surveys the cutouts
and the background are of. Names of files and digests, which would help to make the field again, are left out.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from astro_dist.engine.ledger import Ledger

TRAININGS = ("autoencoder", "diffusion", "masks")
SIMULATED = "a sky that astro_dist simulated; nothing of it is real"
UNKNOWN = "terms not known to astro_dist: those of the survey hold, ask its owners before you hand this on"


@dataclass(frozen=True)
class Origin:
    """Something that a field was made from: what it is, its terms, and what to cite."""

    what: str
    terms: str
    cite: tuple[str, ...] = ()


def find_origins(root: Path) -> tuple[Origin, ...]:
    """Return the origins of a run's field, the first one first, none of them twice."""
    published = Ledger(root).all_published()
    settings = {name: one.basis.get("settings", {}) for name, one in published.items()}
    found = [*_surveys(settings), *_background(settings)]
    for name in TRAININGS:
        weights = settings.get(name, {}).get(name, {}).get("start_from")
        if weights is not None:
            found += _weights(str(weights))
    return tuple(dict.fromkeys(found))


def _surveys(settings: Mapping[str, Any]) -> Iterator[Origin]:
    maps: Mapping[str, Any] = next((some["maps"] for some in settings.values() if some.get("maps")), {})
    surveys = [maps, *(maps.get("more") or [])]
    for survey in surveys:
        if survey.get("files"):
            yield Origin(
                f"maps of {survey.get('survey', 'a survey')}, which the networks learnt from", UNKNOWN
            )
    if "simulate" in settings:
        yield Origin(SIMULATED, "none")


def _background(settings: Mapping[str, Any]) -> Iterator[Origin]:
    background = settings.get("assemble", {}).get("assemble", {}).get("background", {})
    if background.get("path"):
        yield Origin("a real map, the background of the field", UNKNOWN)


def _weights(name: str) -> Iterator[Origin]:
    """Yield the surveys of weights of the package, from their card, or the weights of a user."""
    card = files("astro_dist").joinpath("weights", name, "README.md")
    if "/" in name or not card.is_file():
        yield Origin("weights that a training of this run began with", UNKNOWN)
        return
    for line in card.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("| ") or len(cells) != 3 or cells[0] in ("survey", ""):
            continue
        survey, _, terms = cells
        # Papers as "Becker et al. 1995", divided by semicolons, after the terms.
        cited = tuple(re.findall(r"[A-Z][\w-]+(?: et al\.| & [A-Z][\w-]+) \d{4}", terms))
        if cited:
            yield Origin(f"{survey}, which the weights `{name}` learnt from", terms, cited)
