"""Shapes: what a reader takes out of an annotation file, before groups become labels.

A reader knows its format's syntax and coordinates and nothing else; ``resolve`` knows labels, repairs and
counters and no format. So one rule for holes, repairs and unknown groups holds for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from wsiprep.annotations.edges import Floats
from wsiprep.errors import AnnotationError

Polygon = tuple[Floats, ...]
"""A shell and its holes, each float64 (n, 2) in level-0 pixels, closed or not."""

ELLIPSE_GRID_PX = 1 / 64
"""Points of ellipses are multiples of it: sines differ in their last bit between machines, masks shall not."""

_ELLIPSE_TOLERANCE_PX = 1 / 32
_ELLIPSE_POINTS = (64, 4096)


@dataclass(frozen=True, slots=True)
class Mark:
    """Something about a shape that is counted if the shape is used, with or without a note on it."""

    counter: str
    note: str = ""


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
        marks: what is counted if the shape is used, such as ("splines").
        fault: why its outline cannot be trusted; raised unless its group is dropped.
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
    marks: tuple[Mark, ...] = ()
    fault: AnnotationError | None = None

    @property
    def called(self) -> str:
        """How messages name it."""
        return f"annotation {self.name[:60]!r}" if self.name else "an annotation without a name"


@dataclass(frozen=True, slots=True, eq=False)
class ParsedFile:
    """A file's shapes in file order, and what its reader counted on the way."""

    shapes: tuple[Shape, ...]
    counts: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def box_ring(x0: float, y0: float, x1: float, y1: float) -> Floats:
    """The four corners of an upright rectangle, (4, 2), from two opposite ones."""
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=np.float64)


def ellipse_ring(x: float, y: float, radius_x: float, radius_y: float) -> Floats:
    """An upright ellipse as a polygon through points on it, at most 1/16 px off up to radii of 100,000 px.

    Args:
        x, y: centre, level-0 pixels.
        radius_x, radius_y: half its width and height.

    Returns:
        float64 (n, 2), multiples of 1/64 px, n between 64 and 4096 by the larger radius, a multiple of
            4, so that it reaches exactly as far as the ellipse.
    """
    radius = max(abs(radius_x), abs(radius_y), 1.0)
    # An arc's height over its chord is r (1 - cos(pi / n)).
    wanted = 4 * math.ceil(math.pi / math.acos(1 - _ELLIPSE_TOLERANCE_PX / radius) / 4)
    count = min(max(wanted, _ELLIPSE_POINTS[0]), _ELLIPSE_POINTS[1])
    angle = np.arange(count) * (2 * math.pi / count)
    points = np.stack([x + radius_x * np.cos(angle), y + radius_y * np.sin(angle)], axis=1)
    rounded: Floats = np.round(points / ELLIPSE_GRID_PX) * ELLIPSE_GRID_PX
    return rounded
