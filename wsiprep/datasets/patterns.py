"""Path patterns with places: ``training/{class}/{slide}.tif``, matched letter by letter outside the braces."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field

DEFAULT_PLACES = dict.fromkeys(("fold", "x0", "y0", "x1", "y1"), r"\d+")
"""Places that are numbers unless a recipe says otherwise; every other place takes anything but ``/``."""


@dataclass(frozen=True, slots=True)
class PathPattern:
    """A compiled pattern.

    Names are compared in Unicode's composed form, because copies made on a Mac hold the decomposed one.
    """

    text: str
    regex: re.Pattern[str] = field(repr=False)

    def match(self, path: str) -> dict[str, str] | None:
        """place -> text where ``path`` (relative, with /) matches; None where it does not."""
        found = self.regex.fullmatch(composed(path))
        return None if found is None else found.groupdict()

    @property
    def is_folder(self) -> bool:
        return self.text.endswith("/")


def composed(text: str) -> str:
    """Unicode's composed form (NFC)."""
    return unicodedata.normalize("NFC", text)


def compile_pattern(text: str, where: Mapping[str, str] | None = None) -> PathPattern:
    """The pattern of ``text``; ``where`` narrows places by regular expressions.

    >>> compile_pattern("a/{slide}_[{x0}, 2].png").match("a/TCGA-1_[17, 2].png")
    {'slide': 'TCGA-1', 'x0': '17'}
    """
    narrowed = {**DEFAULT_PLACES, **(where or {})}
    parts: list[str] = []
    seen: set[str] = set()
    for literal, name, _, _ in string.Formatter().parse(text):
        parts.append(re.escape(composed(literal)))
        if name is None:
            continue
        parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>{narrowed.get(name, '[^/]+')})")
        seen.add(name)
    return PathPattern(text, re.compile("".join(parts)))


def filled(text: str, places: Mapping[str, str]) -> str:
    """The pattern with its places filled.

    >>> filled("xml/{slide}.xml", {"slide": "a b"})
    'xml/a b.xml'
    """
    return "".join(
        literal + ("" if name is None else places[name]) for literal, name, _, _ in string.Formatter().parse(text)
    )
