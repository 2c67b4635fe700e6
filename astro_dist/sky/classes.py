"""The classes of pixels and objects. Stores keep them by name and check the names when opened."""

from enum import IntEnum


class SourceClass(IntEnum):
    """Class of a pixel or an object; masks hold the value as uint8."""

    BACKGROUND = 0
    """No object."""
    SPURIOUS = 1
    """An artefact of imaging, such as a sidelobe; never a source of a truth catalogue."""
    COMPACT = 2
    """A source of about the beam's size with one peak."""
    EXTENDED = 3
    """A resolved source, or one of several joined peaks."""


CLASS_NAMES = tuple(c.name.lower() for c in SourceClass)
