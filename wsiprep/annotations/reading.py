"""Any annotation file -> regions: the format is taken from the content, or is the one that the recipe names.

A format is one entry of ``FORMATS`` and one module beside this one with a ``parse_X(path, frame)``; what
it finds goes through the same :func:`resolve` as all others.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from wsiprep.annotations.json_kinds import json_kind
from wsiprep.annotations.regions import AnnotationSet, SlideFrame
from wsiprep.annotations.resolve import resolve
from wsiprep.annotations.shapes import ParsedFile
from wsiprep.annotations.xml_stream import ROOTS, open_annotations, root_element
from wsiprep.config import Recipe
from wsiprep.errors import AnnotationError

HEAD_BYTES = 1 << 16
"""How much of a file decides its format."""

Parser = Callable[[Path, SlideFrame], ParsedFile]


@dataclass(frozen=True, slots=True)
class Head:
    """The beginning of a file, as far as it decides the format.

    Attributes:
        data: its first HEAD_BYTES bytes, without a byte order mark.
        root: name of the first element if it is XML, else "".
        path: of the file, for formats whose mark may lie further on.
    """

    data: bytes
    root: str
    path: Path


@dataclass(frozen=True, slots=True)
class Format:
    """One format of annotation files.

    Attributes:
        title: its name for people.
        parser: "module:function" in this package; imported when a file needs it.
        is_it: whether a file that begins so is of this format. At most one format may say yes.
    """

    title: str
    parser: str
    is_it: Callable[[Head], bool]

    @property
    def parse(self) -> Parser:
        module, function = self.parser.split(":")
        return cast(Parser, getattr(importlib.import_module(f"wsiprep.annotations.{module}"), function))


FORMATS: dict[str, Format] = {
    "asap": Format("ASAP XML", "asap:parse_asap_file", lambda head: head.root == "ASAP_Annotations"),
    "imagescope": Format(
        "Aperio ImageScope XML", "imagescope:parse_imagescope", lambda head: head.root == "Annotations"
    ),
    "ndpa": Format("Hamamatsu NDPA", "ndpa:parse_ndpa", lambda head: head.root == "annotations"),
    "geojson": Format("QuPath GeoJSON", "qupath:parse_qupath", lambda head: json_kind(head.data) == "geojson"),
    "labelme": Format("labelme JSON", "labelme:parse_labelme", lambda head: json_kind(head.data) == "labelme"),
    "coco": Format("COCO JSON", "coco:parse_coco", lambda head: json_kind(head.data) == "coco"),
    "dsa": Format("Digital Slide Archive JSON", "dsa:parse_dsa", lambda head: json_kind(head.data) == "dsa"),
}
"""Name in ``annotations.format`` -> format."""

KNOWN_FORMATS = tuple(known.title for known in FORMATS.values())
_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")


def read_annotations(path: str | Path, recipe: Recipe, frame: SlideFrame) -> AnnotationSet:
    """The regions of an annotation file.

    Args:
        path: the file.
        recipe: format, groups, labels and rules (``recipe.for_source`` applied).
        frame: what is known of the slide.

    Raises:
        AnnotationError: an unknown format (the known ones are listed), or whatever its reader or
            ``resolve`` raises.
    """
    path = Path(path)
    return resolve(parse_annotations(path, recipe.annotations.format, frame), path, recipe, frame)


def parse_annotations(path: str | Path, format_name: str, frame: SlideFrame) -> ParsedFile:
    """The shapes of an annotation file, before groups become labels.

    Args:
        path: the file.
        format_name: a key of FORMATS, used as it is; or ``auto``, which takes it from the content.
        frame: what is known of the slide.

    Raises:
        AnnotationError: an unknown format, or whatever its reader raises.
    """
    path = Path(path)
    name = sniff(path) if format_name == "auto" else format_name
    if name not in FORMATS:
        raise AnnotationError(
            "this format has no outlines", got=f"annotations.format: {name}", expected=", ".join(("auto", *FORMATS)),
            file=path, line=1,
        )  # fmt: skip
    return FORMATS[name].parse(path, frame)


def sniff(path: Path) -> str:
    """The key in FORMATS that a file's content asks for.

    Raises:
        AnnotationError: missing, empty, XML that is not well-formed up to its root, a DOCTYPE, or none of
            FORMATS (they are listed).
    """
    expected = ", ".join(KNOWN_FORMATS)
    with open_annotations(path, expected) as stream:
        try:
            data = stream.read(HEAD_BYTES)
            whole = not stream.read(1)
        except OSError as error:
            raise AnnotationError("the annotation file cannot be read", got=error.strerror, file=path) from error
    bare = data
    for mark in _MARKS:
        bare = bare.removeprefix(mark)
    start = bare.replace(b"\x00", b"").lstrip()
    root = root_element(data, path, whole, expected) if start.startswith(b"<") else ""
    head = Head(bare, root, path)
    found = [name for name, known in FORMATS.items() if known.is_it(head)]
    if len(found) == 1:
        return found[0]
    if found:
        raise AnnotationError(
            "the file looks like several formats", got=", ".join(found), expected="one", file=path, line=1,
            fix="set annotations.format to the one that it is",
        )  # fmt: skip
    raise AnnotationError(
        "an annotation file of an unknown format", got=_seen(start, root), expected=expected, file=path, line=1,
        fix="export the annotations in one of these, or set annotations.format",
    )  # fmt: skip


def _seen(start: bytes, root: str) -> str:
    """What a file of an unknown format begins with."""
    if root:
        return f"XML with the root <{root[:80]}>" + (f" ({ROOTS[root]})" if root in ROOTS else "")
    if start[:1] in (b"{", b"["):
        keys = dict.fromkeys(re.findall(rb'"([^"\\]{1,40})"\s*:', start[:4096]))
        return "JSON with the keys " + ", ".join(key.decode(errors="replace") for key in list(keys)[:8])
    return f"a file that begins with {start[:16]!r}" if start else "a file of blanks"
