"""Export to ASAP XML, so that what wsiprep understood can be looked at and edited."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import shapely

from wsiprep.annotations.edges import Floats
from wsiprep.annotations.regions import AnnotationSet, Region
from wsiprep.artifacts import write_bytes

_COLOURS = {"background": "#ffffff", "ignore": "#808080", "roi": "#000000"}
_LABEL_COLOUR = "#c80000"
_CORNERS = 4


def write_asap(annotations: AnnotationSet, path: str | Path | None = None) -> bytes:
    """ASAP XML of the regions; published under ``path`` where one is given.

    Reading the result under the same recipe gives the same regions: labels, groups, names and, for rings
    without holes, kinds and the same points in the same order. ASAP has neither holes nor several outlines in
    one annotation; such a region becomes one ring whose parts are joined by lines drawn there and back,
    which the even-odd and the non-zero rule both undo without a new point (counted as repaired on the way
    in; the rule ``error`` refuses it). A region without a group is written under its label's name.

    Returns:
        the bytes, UTF-8, deterministic.

    Raises:
        StorageError: ``path`` cannot be written.
    """
    rows = ['<?xml version="1.0" encoding="UTF-8"?>', "<ASAP_Annotations>", "\t<Annotations>"]
    groups: dict[str, str] = {}
    for region in annotations.regions:
        groups.setdefault(_group(region), region.label)
        rows += _annotation(region)
    rows += ["\t</Annotations>", "\t<AnnotationGroups>"]
    for group, label in groups.items():
        colour = _COLOURS.get(label, _LABEL_COLOUR)
        rows.append(f'\t\t<Group Name={_quoted(group)} PartOfGroup="None" Color="{colour}">')
        rows += ["\t\t\t<Attributes />", "\t\t</Group>"]
    rows += ["\t</AnnotationGroups>", "</ASAP_Annotations>", ""]
    data = "\n".join(rows).encode()
    if path is not None:
        write_bytes(Path(path), data)
    return data


def _group(region: Region) -> str:
    return region.group or region.label


def _quoted(text: str) -> str:
    # Brings urllib, http and ssl along: 20 ms that nobody pays who only reads.
    from xml.sax.saxutils import quoteattr

    # Line breaks and tabs would become spaces in an attribute.
    return quoteattr(text, {"\n": "&#10;", "\r": "&#13;", "\t": "&#9;"})


def _annotation(region: Region) -> list[str]:
    points = _one_ring(region)
    kind = region.kind if region.kind in ("Polygon", "Spline", "Rectangle") else "Polygon"
    if kind == "Rectangle" and len(points) != _CORNERS:
        kind = "Polygon"
    colour = _COLOURS.get(region.label, _LABEL_COLOUR)
    head = f'\t\t<Annotation Name={_quoted(region.name)} Type="{kind}" PartOfGroup={_quoted(_group(region))}'
    rows = [f'{head} Color="{colour}">', "\t\t\t<Coordinates>"]
    for order, (x, y) in enumerate(points.tolist()):
        rows.append(f'\t\t\t\t<Coordinate Order="{order}" X="{_number(x)}" Y="{_number(y)}" />')
    return [*rows, "\t\t\t</Coordinates>", "\t\t</Annotation>"]


def _number(value: float) -> str:
    return repr(value).removesuffix(".0")


def _one_ring(region: Region) -> Floats:
    """The region as one open ring, (n, 2)."""
    area = region.geometry
    if isinstance(area, shapely.Polygon) and not area.interiors:
        ring: Floats = shapely.get_coordinates(area)[:-1]
        return ring
    return _joined(area)


def _joined(area: shapely.Geometry) -> Floats:
    """All rings, shells one way and holes the other, each reached from the first point and left to it."""
    oriented = [shapely.geometry.polygon.orient(part) for part in shapely.get_parts(area)]
    rings = [shapely.get_coordinates(ring) for part in oriented for ring in (part.exterior, *part.interiors)]
    anchor = rings[0][:1]
    pieces = [rings[0]]
    for ring in rings[1:]:
        pieces += [ring, anchor]
    # The last point is the anchor again: files have open rings.
    joined: Floats = np.concatenate(pieces)[:-1]
    return joined
