"""Regions: annotated outlines in level-0 pixels, whatever file they came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import shapely

from wsiprep.geometry import Box, Size, Spacing

BACKGROUND_REGION = "background"
"""Label of regions that are cut out of all others after the union."""

IGNORE_REGION = "ignore"
"""Label of regions whose pixels become 255, whatever else lies there."""

ROI_REGION = "roi"
"""Label of regions of interest: where a slide has any, only what lies inside one is annotated."""

SPECIAL_LABELS = (BACKGROUND_REGION, IGNORE_REGION, ROI_REGION)

Area: TypeAlias = shapely.Polygon | shapely.MultiPolygon


@dataclass(frozen=True, slots=True)
class Region:
    """One annotated area.

    Attributes:
        label: a label of the recipe, or ``background`` (subtracted), or ``ignore`` (255).
        geometry: valid, not empty; level-0 pixels of the full plane, vertices are pixel corners, y downwards.
        group: the group of the file that decided the label; empty where the format has none.
        name: the name that the annotator's program gave it.
        kind: the shape as the file calls it ("Polygon", "Rectangle", "Spline").
        line: 1-based line of the file that it starts on, None where the format has no lines.
        author: who drew it, "" where the file does not say.
        date: when, as the file says.
        layer: name of the correction that it comes from; "" for the base.
    """

    label: str
    geometry: Area
    group: str = ""
    name: str = ""
    kind: str = "Polygon"
    line: int | None = None
    author: str = ""
    date: str = ""
    layer: str = ""


@dataclass(frozen=True, slots=True)
class SlideFrame:
    """What a reader of annotations may know of their slide.

    Attributes:
        size: of level 0.
        spacing: um/px of level 0 as the file says, None where it says nothing.
        name: the slide's file name.
        properties: facts of the header under OpenSlide's names, such as ``hamamatsu.XOffsetFromSlideCentre``.
        bounds: the scanned part of level 0, where the file names one.
    """

    size: Size
    spacing: Spacing | None = None
    name: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)
    bounds: Box | None = None


@dataclass(frozen=True, slots=True)
class AnnotationSet:
    """All regions of one slide, and every rule that fired on the way.

    Attributes:
        regions: in file order.
        counts: rule -> how often; only rules that fired, plus ``annotations`` (how many the file has).
        notes: one line of text for each thing dropped or repaired, with the line of the file.
    """

    regions: tuple[Region, ...]
    counts: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
