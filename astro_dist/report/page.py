"""The parts of the report page, and their rendering as one HTML file that needs no other file.

A page has chapters, a chapter has blocks, and the template has the markup of each kind of block. jinja2
escapes all text. Pictures are data URIs, so the file can be mailed, archived and opened without a network.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import ClassVar

from jinja2 import Environment, StrictUndefined

from astro_dist import __version__

TEMPLATE = "page.html.j2"


@dataclass(frozen=True)
class Picture:
    """An image as a data URI, with a caption below it and an alternative text for screen readers."""

    kind: ClassVar[str] = "picture"
    uri: str
    caption: str
    alt: str
    wide: bool = False


@dataclass(frozen=True)
class Pictures:
    """Small images as ``(data URI, text below it)``, as many side by side as there is room for.

    A ring marks the middle of each where ``ringed``.
    """

    kind: ClassVar[str] = "pictures"
    items: Sequence[tuple[str, str]]
    caption: str
    ringed: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of text under a head. ``folded`` tables open on a click on their caption, which they must have.

    ``numbers`` and ``code`` are the indices of the columns with numbers and with monospaced text.
    """

    kind: ClassVar[str] = "table"
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    folded: bool = False
    numbers: tuple[int, ...] = ()
    code: tuple[int, ...] = ()


@dataclass(frozen=True)
class Listing:
    """Commands or settings, shown verbatim."""

    kind: ClassVar[str] = "listing"
    text: str
    caption: str = ""
    folded: bool = False


@dataclass(frozen=True)
class Note:
    """A paragraph, such as the reason why a figure is missing."""

    kind: ClassVar[str] = "note"
    text: str


@dataclass(frozen=True)
class Link:
    """A sentence that leads to a file beside the page, by its relative path."""

    kind: ClassVar[str] = "link"
    text: str
    path: str


Block = Picture | Pictures | Table | Listing | Note | Link


@dataclass(frozen=True)
class Chapter:
    """A chapter of the page: a title, a lead sentence and blocks; ``key`` is its anchor."""

    key: str
    title: str
    lead: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """The whole report: title, one sentence, headline figures as (label, value), chapters, last line."""

    title: str
    summary: str
    headline: Sequence[tuple[str, str]]
    chapters: Sequence[Chapter] = field(default_factory=tuple)
    footer: str = "This sky is synthetic; the truth catalogue lists the objects that were placed in it."


def render(page: Page) -> str:
    """Return the page as HTML.

    Raises
    ------
    jinja2.UndefinedError
        When the template names a value that the page has not.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = files("astro_dist.report").joinpath(TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(source).render(page=page, version=__version__)
