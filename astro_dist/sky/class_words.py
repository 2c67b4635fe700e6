"""What the labels of a user's masks mean: numbers and words, ours, usual ones, or as the user says."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from astro_dist.engine.errors import ConfigError
from astro_dist.sky.classes import CLASS_NAMES, SourceClass

OTHERS = "*"
"""Stands for every label that is not named."""
SETTING = "generate.masks.classes"
WORDS = {
    **{name: SourceClass(number) for number, name in enumerate(CLASS_NAMES)},
    # The names in INAF's masks, early and late, and those of source finders.
    **dict.fromkeys(("source", "point", "unresolved"), SourceClass.COMPACT),
    **dict.fromkeys(("galaxy", "extended-multisland", "extended-multicomp"), SourceClass.EXTENDED),
    **dict.fromkeys(("sidelobe", "artefact", "artifact"), SourceClass.SPURIOUS),
}


def label_text(number: float) -> str:
    """Return a label as settings name it: all digits of a whole number, six of another."""
    return str(int(number)) if float(number).is_integer() else f"{number:g}"


@dataclass(frozen=True)
class ClassWords:
    """The classes of labels.

    Attributes
    ----------
    given
        Names of our classes by label, in the user's words; ``*`` stands for all others. Without any, numbers
        are those of `SourceClass` and words those of `WORDS`.
    setting
        The setting that ``given`` is, as messages name it; None where there is no such choice.
    """

    given: Mapping[str, str] = field(default_factory=dict)
    setting: str | None = SETTING

    def explain(self, label: str, example: str) -> str:
        """Return what to do about a label that has no class."""
        if self.setting is None:
            return f"write one of {', '.join(CLASS_NAMES[1:])}"
        return f"set {self.setting}: {{{label}: {example}}}"

    def of_number(self, number: float) -> SourceClass | None:
        """Return the class of a number, None where it has none; 0 is the background unless it is named."""
        text = label_text(number)
        if text in self.given:
            return SourceClass[self.given[text].upper()]
        if number == 0:
            return SourceClass.BACKGROUND
        if OTHERS in self.given:
            return SourceClass[self.given[OTHERS].upper()]
        # Named numbers replace ours: of a mask of 0 and 1 nothing else is known.
        return None if self.given or number not in list(SourceClass) else SourceClass(int(number))

    def of_words(self, labels: Sequence[str]) -> SourceClass | None:
        """Return the class of the first of some labels that has one, as a whole or by one of its words."""
        named = {name.lower(): SourceClass[value.upper()] for name, value in self.given.items()}
        for known in (named, WORDS):
            for label in labels:
                text = label.strip().lower()
                for word in (text, *re.split(r"[\s,;|]+", text)):
                    if word and word in known:
                        return known[word]
        return named.get(OTHERS)

    def require(self, labels: Sequence[str], where: str) -> SourceClass:
        """Return the class of some labels; raise `ConfigError` where none is known."""
        if (found := self.of_words(labels)) is None:
            shown = repr(labels[0][:40]) if labels else "no label"
            example = labels[0][:40] if labels else OTHERS
            remedy = self.explain(f'"{example}"', "extended")
            raise ConfigError(
                f"{where} has {shown}, which is no class; known are {', '.join(CLASS_NAMES[1:])}: {remedy}"
            )
        return found
