"""Origins: the data that weights learnt from, with the terms of use and the works to cite.

A folder of weights states them in `FILE`, and each training writes that file anew beside what it publishes:
the origins of the weights that it began with, then those of its own data. Model cards, records (the fact
``origins`` of a stage), stores, FITS headers, the manifest and the report repeat these statements.
"""

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import publish_json
from astro_dist.engine.foreign import read_mapping

FILE, FACT = "origins.json", "origins"
UNSTATED = "not stated"
CARD = 72
"""Characters of a HISTORY card."""
SIMULATED = "a simulated survey"


@dataclass(frozen=True)
class Origin:
    """One source of training data.

    Attributes
    ----------
    name
        Name of the survey or of the weights, such as ``FIRST``.
    terms
        Terms of use, ``not stated`` where nobody has given them; empty for what the package simulates.
    cite
        Works to cite, as text; may be empty.
    """

    name: str
    terms: str = UNSTATED
    cite: str = ""


def find_file(folder: Path) -> Path | None:
    """Return the file with the origins of a folder of weights; it lies in the folder or in the one above."""
    return next((path for path in (folder / FILE, folder.parent / FILE) if path.is_file()), None)


def read_origins(folder: Path) -> tuple[Origin, ...]:
    """Return the origins of a folder of weights; without a statement the folder itself is the only one.

    Raises
    ------
    ConfigError
        The statement cannot be read.
    """
    if (path := find_file(folder)) is None:
        return (Origin(f"the weights {folder.name}"),)
    try:
        return _parse(read_mapping(path)["origins"])
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: it is no statement of origins ({error}); fetch it again") from None


def _parse(entries: Any) -> tuple[Origin, ...]:
    found = tuple(Origin(**entry) for entry in entries)
    if not found or not all(isinstance(text, str) for origin in found for text in asdict(origin).values()):
        raise ValueError("an entry has a name, terms and cite, all of them text")
    return found


def write_origins(folder: Path, origins: Iterable[Origin]) -> None:
    """Write the statement of a folder of weights, and repeat it in the model card there."""
    found = tuple(origins)
    publish_json(folder / FILE, {"origins": as_facts(found)})
    card = folder / "README.md"
    if card.is_file():
        card.write_text(_add_terms(card.read_text(), found))


def _add_terms(card: str, origins: tuple[Origin, ...]) -> str:
    """Return a model card with a chapter of the origins, and with a licence in its front matter."""
    lines = ["", "## Data and terms", "", *terms_table(origins)]
    lines += ["", "Use these weights, and what is drawn with them, as these terms allow, and cite the works."]
    # `other` is what model hubs call a licence that they have no name for.
    licence = "license: other\n" if any(o.terms for o in origins) else ""
    head = card.replace("---\n", f"---\n{licence}", 1) if card.startswith("---\n") else card
    return head + "\n".join(lines) + "\n"


def terms_table(origins: Iterable[Origin]) -> list[str]:
    """Return the lines of a table of Markdown, a row for each origin."""
    rows = [f"| {o.name} | {o.terms or 'none'} | {o.cite or '-'} |" for o in origins]
    return ["| data | terms | cite |", "|---|---|---|", *rows]


def as_facts(origins: Iterable[Origin]) -> list[dict[str, str]]:
    """Return origins in the form of records, stores and the manifest."""
    return [asdict(origin) for origin in origins]


def of_facts(facts: Mapping[str, Any]) -> tuple[Origin, ...]:
    """Return the origins among the facts of a stage; none for records of versions without this fact."""
    return tuple(Origin(**entry) for entry in facts.get(FACT, ()))


def merge(*groups: Iterable[Origin]) -> tuple[Origin, ...]:
    """Return all origins, each once, in the order in which they come first."""
    return tuple(dict.fromkeys(origin for group in groups for origin in group))


def name_all(origins: Iterable[Origin]) -> str:
    """Return the names of origins as a part of a sentence: ``A, B and C``."""
    names = list(dict.fromkeys(origin.name for origin in origins))
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def history_lines(origins: Iterable[Origin]) -> Iterator[str]:
    """Yield lines for the header of a FITS file, each short enough for one card."""
    for origin in origins:
        text = f"origin {origin.name}: terms: {origin.terms or 'none'}"
        if origin.cite:
            text += f"; cite: {origin.cite}"
        yield from textwrap.wrap(text, CARD, subsequent_indent="  ")
