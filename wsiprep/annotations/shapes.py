"""Shapes: what a reader takes out of an annotation file, before groups become labels.

A reader knows its format's syntax and coordinates and nothing else; ``resolve`` knows labels, repairs and
counters and no format. So one rule for holes, repairs and unknown groups holds for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from wsiprep.annotations.edges import Floats

Polygon = tuple[Floats, ...]
"""A shell and its holes, each float64 (n, 2) in level-0 pixels, closed or not."""


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """One annotation of a file.

    Attributes:
        kind: the shape as the file calls it ("Polygon", "freehand", "Rectangle").
        group: the class, group or label that decides what it is; "" where the file names none.
        polygons: its outlines, empty for shapes without an area.
        line: 1-based line of the file that it starts on; None for binary formats.
        name: the annotator's name for it.
        author: who drew it, as the file says.
        date: when, as the file says.
        ancestors: groups that contain ``group``, nearest first; the first mapped one decides.
        negative: cut from the positive shapes of its ``layer`` (ImageScope's NegativeROA), but not from
            those that lie wholly inside it: they are islands.
        layer: which shapes belong together, for ``negative``.
        no_area: the counter of a shape without an area ("dots", "point_sets", "measurements"), else "".
    """

    kind: str
    group: str
    polygons: tuple[Polygon, ...]
    line: int | None
    name: str = ""
    author: str = ""
    date: str = ""
    ancestors: tuple[str, ...] = ()
    negative: bool = False
    layer: str = ""
    no_area: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class ParsedFile:
    """A file's shapes in file order, and what its reader counted on the way."""

    shapes: tuple[Shape, ...]
    counts: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
