"""The syntax of ASAP's XML: every element, attribute and number checked, nothing interpreted."""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from wsiprep.annotations.xml_stream import XmlReader

_ORDER = re.compile(r"[0-9]{1,9}")
_PLAIN = re.compile(r"[0-9]{1,9}(?: -?[0-9]{1,6}(?:\.[0-9]{1,17})?){2}")
"""Order, X and Y of nearly all vertices, one match in place of three and within the limit by their digits."""


@dataclass(slots=True)
class AsapShape:
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

    shapes: list[AsapShape] = field(default_factory=list)
    groups: dict[str, tuple[str | None, int]] = field(default_factory=dict)


def parse_asap(path: Path) -> AsapFile:
    """Read the XML without interpreting groups or shapes.

    Raises:
        AnnotationError: as :meth:`XmlReader.run`; a group with two parents, a second list of points.
    """
    reader = _AsapReader(path)
    reader.run()
    return reader.result


class _AsapReader(XmlReader):
    program = "ASAP"
    root = "ASAP_Annotations"
    children: ClassVar = {
        "": ("ASAP_Annotations",),
        "ASAP_Annotations": ("Annotations", "AnnotationGroups"),
        "Annotations": ("Annotation",),
        "Annotation": ("Coordinates", "Attributes"),
        "Coordinates": ("Coordinate",),
        "Coordinate": (),
        "AnnotationGroups": ("Group",),
        "Group": ("Attributes",),
    }
    # What ASAP keeps here (free attributes of a shape or group) bears on no pixel.
    free = frozenset({"Attributes"})
    vertex = "Coordinate"
    annotation = "Annotation"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.result = AsapFile()
        self._has_list = False

    def started(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "Coordinate":
            self._coordinate(attributes)
        elif tag == "Coordinates":
            self._coordinates()
        elif tag == "Annotation":
            self._annotation(attributes)
        elif tag == "Group":
            self._group(attributes)
        elif tag == "Annotations":
            self._has_list = True

    def completed(self) -> None:
        if not self._has_list:
            raise self.error("the file has no <Annotations>", fix="export the annotations again from ASAP")

    def _annotation(self, attributes: dict[str, str]) -> None:
        self.count_annotation()
        kind = self.attribute(attributes, "Type", "Annotation")
        group = self.attribute(attributes, "PartOfGroup", "Annotation")
        self.result.shapes.append(AsapShape(attributes.get("Name", ""), kind, group, self.line))

    def _coordinates(self) -> None:
        shape = self.result.shapes[-1]
        if shape.has_coordinates:
            raise self.error("a second <Coordinates> in one annotation", got=shape.name or None)
        shape.has_coordinates = True

    def _coordinate(self, attributes: dict[str, str]) -> None:
        self.count_vertices()
        shape = self.result.shapes[-1]
        try:
            order, x, y = attributes["Order"], attributes["X"], attributes["Y"]
        except KeyError:
            self._checked_coordinate(shape, attributes)
            return
        if not _PLAIN.fullmatch(f"{order} {x} {y}"):
            self._checked_coordinate(shape, attributes)
            return
        shape.order.append(int(order))
        shape.x.append(float(x))
        shape.y.append(float(y))

    def _checked_coordinate(self, shape: AsapShape, attributes: dict[str, str]) -> None:
        """One that is not written as nearly all are: everything about it is checked, and what is wrong is said."""
        order = self.attribute(attributes, "Order", "Coordinate")
        if not _ORDER.fullmatch(order):
            raise self.error("Order is no whole number", got=repr(order[:40]), expected="0, 1, 2, ...")
        shape.order.append(int(order))
        shape.x.append(self.number(self.attribute(attributes, "X", "Coordinate"), "X"))
        shape.y.append(self.number(self.attribute(attributes, "Y", "Coordinate"), "Y"))

    def _group(self, attributes: dict[str, str]) -> None:
        name = self.attribute(attributes, "Name", "Group")
        parent = self.attribute(attributes, "PartOfGroup", "Group")
        entry = (None if parent == "None" else parent, self.line)
        known = self.result.groups.setdefault(name, entry)
        if known[0] != entry[0]:
            got = f"{known[0]} (line {known[1]}) and {parent}"
            raise self.error(f"group {name!r} is declared twice with different parents", got=got)
