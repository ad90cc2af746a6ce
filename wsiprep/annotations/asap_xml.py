"""The syntax of ASAP's XML: a streaming parser that knows every element and refuses the rest.

expat rather than a tree: lines are right beyond 65,535 (libxml2 stores 16 bits and guesses above), a
DOCTYPE is refused before any of it is read, and memory holds the numbers only.
"""

from __future__ import annotations

import math
import re
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from xml.parsers import expat

from wsiprep.errors import AnnotationError

MAX_FILE_BYTES = 256 * 1024 * 1024
MAX_DEPTH = 64
MAX_VERTICES = 2_000_000
MAX_ANNOTATIONS = 1_000_000
MAX_COORDINATE_PX = 1e7
"""Beyond any slide; keeps areas and pixel indices far from overflow."""

ROOT = "ASAP_Annotations"
_CHILDREN: dict[str, tuple[str, ...]] = {
    "": (ROOT,),
    ROOT: ("Annotations", "AnnotationGroups"),
    "Annotations": ("Annotation",),
    "Annotation": ("Coordinates", "Attributes"),
    "Coordinates": ("Coordinate",),
    "Coordinate": (),
    "AnnotationGroups": ("Group",),
    "Group": ("Attributes",),
}
# What ASAP keeps here (free attributes of a shape or group) bears on no pixel.
_FREE = "Attributes"
_OTHER_FORMATS = {
    "Annotations": "Aperio ImageScope",
    "annotations": "NDP.view (NDPA)",
    "OME": "OME-XML",
}
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_ORDER = re.compile(r"[0-9]{1,9}")
_CHUNK_BYTES = 1 << 16
_VERTEX_MARK = b"<Coordinate "


@dataclass(slots=True)
class Shape:
    """One <Annotation>: its attributes and its points as the file has them."""

    name: str
    kind: str
    group: str
    line: int
    order: array[int] = field(default_factory=lambda: array("q"))
    x: array[float] = field(default_factory=lambda: array("d"))
    y: array[float] = field(default_factory=lambda: array("d"))
    has_coordinates: bool = False


@dataclass(slots=True)
class AsapFile:
    """The contents of one file: shapes in file order, and group -> (parent or None, line)."""

    shapes: list[Shape] = field(default_factory=list)
    groups: dict[str, tuple[str | None, int]] = field(default_factory=dict)


def parse_asap(path: Path) -> AsapFile:
    """Read the XML without interpreting groups or shapes.

    Raises:
        AnnotationError: with file and line: missing, too large, not XML, not ASAP, a DOCTYPE, an unknown
            element, stray text, a missing attribute, a number that is none.
    """
    handler = _Handler(path)
    try:
        size = path.stat().st_size
        if size == 0:
            raise AnnotationError(
                "the annotation file is empty", file=path, line=1, expected=f"XML with the root <{ROOT}>",
                fix="export it again; for a slide without tumour leave the file out and say annotation_state normal",
            )  # fmt: skip
        if size > MAX_FILE_BYTES:
            most = f"at most {MAX_FILE_BYTES} bytes"
            raise AnnotationError("the file is too large", got=f"{size} bytes", expected=most, file=path)
        with path.open("rb") as stream:
            _refuse_masses(stream, path)
            stream.seek(0)
            while chunk := stream.read(_CHUNK_BYTES):
                handler.feed(chunk)
        handler.feed(b"", final=True)
    except FileNotFoundError as error:
        raise AnnotationError(
            "there is no such annotation file", got=str(path), fix="correct the manifest's column annotation"
        ) from error
    except OSError as error:
        raise AnnotationError("the annotation file cannot be read", got=error.strerror, file=path) from error
    return handler.result


def _refuse_masses(stream: BinaryIO, path: Path) -> None:
    """Refuse too many vertices by counting bytes, some fifty times faster than the parser comes to it.

    Other encodings than those that extend ASCII are left to the parser's own count.
    """
    count, carried = 0, b""
    while chunk := stream.read(_CHUNK_BYTES):
        block = carried + chunk
        count += block.count(_VERTEX_MARK)
        carried = block[1 - len(_VERTEX_MARK) :]
    if count > MAX_VERTICES:
        raise AnnotationError("too many vertices", got=count, expected=f"at most {MAX_VERTICES}", file=path)


class _Handler:
    """expat callbacks that check the structure and collect shapes and groups."""

    def __init__(self, path: Path) -> None:
        self.result = AsapFile()
        self._path = path
        self._stack: list[str] = []
        self._free_depth = 0
        self._vertices = 0
        self._seen: set[str] = set()
        self._parser = parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text

    def feed(self, data: bytes, final: bool = False) -> None:
        try:
            self._parser.Parse(data, final)
        except expat.ExpatError as error:
            raise AnnotationError(
                f"not well-formed XML: {expat.ErrorString(error.code)}", file=self._path, line=error.lineno,
                column=error.offset + 1, expected=f"XML with the root <{ROOT}>", fix="export the annotations again",
            ) from error  # fmt: skip
        except (ValueError, LookupError) as error:
            # pyexpat raises these for encodings that it, or Python, does not know.
            raise AnnotationError(
                "the XML is in an encoding that cannot be read", got=str(error), file=self._path, line=1,
                expected="UTF-8 or UTF-16", fix="save it as UTF-8",
            ) from error  # fmt: skip
        if final:
            self._complete()

    def _complete(self) -> None:
        if "Annotations" not in self._seen:
            raise self._error("the file has no <Annotations>", fix="export the annotations again from ASAP")

    def _error(self, message: str, **details: object) -> AnnotationError:
        return AnnotationError(message, file=self._path, line=self._parser.CurrentLineNumber, **details)  # type: ignore[arg-type]

    def _doctype(self, name: str, *_: object) -> None:
        raise self._error(
            "the XML has a DOCTYPE, which can pull in or blow up data", got=f"<!DOCTYPE {name[:40]}",
            expected="no DOCTYPE (ASAP writes none)", fix="remove the declaration if you trust the file",
        )  # fmt: skip

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if len(self._stack) >= MAX_DEPTH:
            raise self._error("elements are nested too deeply", expected=f"at most {MAX_DEPTH} levels")
        if self._free_depth or (tag == _FREE and self._stack and _FREE in _CHILDREN[self._stack[-1]]):
            self._free_depth += 1
            self._stack.append(tag)
            return
        parent = self._stack[-1] if self._stack else ""
        if tag not in _CHILDREN[parent]:
            raise self._unknown(tag, parent)
        self._stack.append(tag)
        self._seen.add(tag)
        if tag == "Coordinate":
            self._coordinate(attributes)
        elif tag == "Coordinates":
            self._coordinates()
        elif tag == "Annotation":
            self._annotation(attributes)
        elif tag == "Group":
            self._group(attributes)

    def _unknown(self, tag: str, parent: str) -> AnnotationError:
        if not parent:
            other = _OTHER_FORMATS.get(tag)
            return self._error(
                "this XML is not an ASAP annotation file", got=f"<{tag[:80]}>" + (f" ({other})" if other else ""),
                expected=f"the root <{ROOT}>; the known formats are: ASAP", fix="convert the annotations to ASAP XML",
            )  # fmt: skip
        allowed = ", ".join(f"<{name}>" for name in _CHILDREN[parent]) or "nothing"
        return self._error(
            f"an element that <{parent}> does not have", got=f"<{tag[:80]}>", expected=allowed,
            fix="repair the file; dropping what is not understood could lose a region",
        )  # fmt: skip

    def _end(self, _: str) -> None:
        self._stack.pop()
        if self._free_depth:
            self._free_depth -= 1

    def _text(self, text: str) -> None:
        if self._free_depth or not text.strip():
            return
        raise self._error("text where ASAP has none", got=repr(text.strip()[:60]), fix="repair the file")

    def _attribute(self, attributes: dict[str, str], name: str, tag: str) -> str:
        value = attributes.get(name)
        if value is None:
            got = ", ".join(attributes)[:200] or "no attributes"
            raise self._error(f"<{tag}> has no {name}", got=got, expected=name)
        return value

    def _annotation(self, attributes: dict[str, str]) -> None:
        if len(self.result.shapes) >= MAX_ANNOTATIONS:
            raise self._error("too many annotations", expected=f"at most {MAX_ANNOTATIONS}")
        kind = self._attribute(attributes, "Type", "Annotation")
        group = self._attribute(attributes, "PartOfGroup", "Annotation")
        name = attributes.get("Name", "")
        self.result.shapes.append(Shape(name, kind, group, self._parser.CurrentLineNumber))

    def _coordinates(self) -> None:
        shape = self.result.shapes[-1]
        if shape.has_coordinates:
            raise self._error("a second <Coordinates> in one annotation", got=shape.name or None)
        shape.has_coordinates = True

    def _coordinate(self, attributes: dict[str, str]) -> None:
        self._vertices += 1
        if self._vertices > MAX_VERTICES:
            raise self._error("too many vertices", expected=f"at most {MAX_VERTICES}")
        order = self._attribute(attributes, "Order", "Coordinate")
        if not _ORDER.fullmatch(order):
            raise self._error("Order is no whole number", got=repr(order[:40]), expected="0, 1, 2, ...")
        shape = self.result.shapes[-1]
        shape.order.append(int(order))
        shape.x.append(self._number(attributes, "X"))
        shape.y.append(self._number(attributes, "Y"))

    def _number(self, attributes: dict[str, str], name: str) -> float:
        text = self._attribute(attributes, name, "Coordinate")
        value = float(text) if _NUMBER.fullmatch(text) else math.nan
        if math.isfinite(value) and abs(value) <= MAX_COORDINATE_PX:
            return value
        fix = "repair the file"
        if "," in text:
            fix = "export with a decimal point: the program's language setting wrote a decimal comma"
        raise self._error(
            f"{name} is no coordinate", got=repr(text[:40]),
            expected=f"a plain number of pixels up to {MAX_COORDINATE_PX:g}", fix=fix,
        )  # fmt: skip

    def _group(self, attributes: dict[str, str]) -> None:
        name = self._attribute(attributes, "Name", "Group")
        parent = self._attribute(attributes, "PartOfGroup", "Group")
        entry = (None if parent == "None" else parent, self._parser.CurrentLineNumber)
        known = self.result.groups.setdefault(name, entry)
        if known[0] != entry[0]:
            got = f"{known[0]} (line {known[1]}) and {parent}"
            raise self._error(f"group {name!r} is declared twice with different parents", got=got)
