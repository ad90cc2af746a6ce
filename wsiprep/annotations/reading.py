"""Any annotation file -> regions: the format is taken from the content, not from the name."""

from __future__ import annotations

from pathlib import Path

from wsiprep.annotations.asap import read_asap
from wsiprep.annotations.regions import AnnotationSet
from wsiprep.config import Recipe
from wsiprep.errors import AnnotationError
from wsiprep.geometry import Size

KNOWN_FORMATS = ("ASAP XML",)
_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")


def read_annotations(path: str | Path, recipe: Recipe, size: Size) -> AnnotationSet:
    """The regions of an annotation file.

    Args:
        path: the file.
        recipe: groups, labels and rules (``recipe.for_source`` applied).
        size: of level 0.

    Raises:
        AnnotationError: an unknown format (the known ones are listed), or whatever its reader raises.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            head = stream.read(256)
    except OSError:
        # The reader says what is wrong with the file.
        return read_asap(path, recipe, size)
    for mark in _MARKS:
        head = head.removeprefix(mark)
    start = head.replace(b"\x00", b"").lstrip()
    if not start or start.startswith(b"<"):
        return read_asap(path, recipe, size)
    kind = "JSON (GeoJSON or COCO?)" if start[:1] in b"{[" else f"a file that begins with {start[:16]!r}"
    raise AnnotationError(
        "an annotation file of an unknown format", got=kind, expected=", ".join(KNOWN_FORMATS), file=path, line=1,
        fix="convert the annotations to ASAP XML",
    )  # fmt: skip
