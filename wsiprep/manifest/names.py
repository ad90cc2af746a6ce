"""Ids that are safe as file names everywhere, and names that people cannot tell apart."""

from __future__ import annotations

import hashlib
import re
import unicodedata

ID_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")

_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}
"""Names that Windows keeps for devices, with any suffix: a dataset that holds one cannot be copied there."""


def slug(raw: str) -> str:
    """A safe id: ``raw`` itself where it is one already, else a slug with a hash of the raw name.

    Two raw names that differ in anything (case, accents, Unicode normal form) have different slugs.

    >>> slug("tumor_001")
    'tumor_001'
    >>> slug("con.1")
    'slide-con.1-3a22eac6'
    """
    if ID_PATTERN.fullmatch(raw) and not raw.endswith(".") and not _reserved(raw):
        return raw
    tail = hashlib.sha256(raw.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    plain = unicodedata.normalize("NFKD", raw).encode("ascii", "ignore").decode().lower()
    plain = re.sub(r"[^a-z0-9._-]+", "-", plain).strip("._-")[:64]
    if not plain or _reserved(plain):
        plain = f"slide-{plain}" if plain else "slide"
    return f"{plain}-{tail}"


def _reserved(name: str) -> bool:
    return name.split(".", maxsplit=1)[0] in _RESERVED


def canonical(name: str) -> str:
    """The name in one Unicode normal form (NFC): equal for names that are the same characters."""
    return unicodedata.normalize("NFC", name)


def lookalike(name: str) -> str:
    """Equal for names that differ only in case, Unicode form or blanks: most likely one thing, typed twice."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return " ".join(folded.split())


def control_character(text: str) -> str | None:
    """The first character that no name should have (control, line or paragraph separator), as ``U+000A``; or None."""
    for character in text:
        if unicodedata.category(character) in ("Cc", "Zl", "Zp", "Cs"):
            return f"U+{ord(character):04X}"
    return None
