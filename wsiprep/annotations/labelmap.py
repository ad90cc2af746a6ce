"""What the regions of one slide say about its pixels: masks by the centre rule, shares by exact area.

Order of precedence at any place: ignore (255), then background (0), then the first label of the
recipe, then the second ..., then what the annotation state says of places outside all regions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

import numpy as np
import numpy.typing as npt
import shapely

from wsiprep.annotations import areas, edges, rasterise
from wsiprep.annotations.regions import BACKGROUND_REGION, IGNORE_REGION, SPECIAL_LABELS, Region
from wsiprep.config import BACKGROUND, IGNORE
from wsiprep.errors import AnnotationError, UsageError
from wsiprep.geometry import Box, Size, Spacing
from wsiprep.manifest import AnnotationState

Cells = npt.NDArray[np.int64]
Shares = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LabelSpec:
    """Which labels there are, in the recipe's order, and what places outside all regions mean.

    ``exhaustive`` and ``normal``: background; ``partial`` and ``none``: not annotated.
    """

    labels: tuple[str, ...]
    state: AnnotationState

    def __post_init__(self) -> None:
        if self.state not in get_args(AnnotationState):
            expected = ", ".join(get_args(AnnotationState))
            raise UsageError("unknown annotation state", got=self.state, expected=expected)
        if not self.labels or len(set(self.labels)) != len(self.labels) or set(self.labels) & set(SPECIAL_LABELS):
            raise UsageError("labels must be given, differ and not be reserved", got=", ".join(self.labels))

    @property
    def outside(self) -> int:
        """Mask value of pixels of the slide in no region."""
        return BACKGROUND if self.state in ("exhaustive", "normal") else IGNORE


@dataclass(frozen=True, slots=True)
class Fractions:
    """Shares of cells, each of the part of the cell that lies on the slide (0 where none does).

    Attributes:
        annotated: float64 (n,), share that somebody looked at.
        per_label: label -> float64 (n,), share that carries the label.
    """

    annotated: Shares
    per_label: dict[str, Shares]


class LabelMap:
    """Regions resolved to one label a place.

    Regions of one label are united, ``background`` regions are cut out of all labels after the union,
    where labels overlap the first of ``labels`` wins, and ``ignore`` regions beat everything. Masks are
    made from the regions' own rings; areas from their union (built on first use).

    Args:
        regions: valid areas in level-0 pixels; none for the states ``normal`` and ``none``.
        labels: of the recipe, in order; mask value k + 1 for the k-th.
        state: see :class:`LabelSpec`.
        size: of level 0.

    Raises:
        UsageError: a label that is none of ``labels``, regions under a state that has none.
    """

    def __init__(self, regions: Iterable[Region], labels: Sequence[str], state: AnnotationState, size: Size) -> None:
        self.spec = LabelSpec(tuple(labels), state)
        self.size = size
        self.regions = tuple(regions)
        if self.regions and state in ("normal", "none"):
            raise UsageError(f"annotation state {state} has no regions", got=f"{len(self.regions)} regions")
        known = (*self.spec.labels, *SPECIAL_LABELS)
        for region in self.regions:
            if region.label not in known:
                raise UsageError("a region of an unknown label", got=region.label, expected=", ".join(known))
        self._painters = tuple(
            (value, edges.from_geometries(geometries))
            for label, value in self._painting_order()
            if (geometries := self._geometries(label))
        )

    def _painting_order(self) -> list[tuple[str, int]]:
        """(label, mask value), what is painted later wins."""
        labels = [(label, value) for value, label in enumerate(self.spec.labels, start=1)]
        return [*reversed(labels), (BACKGROUND_REGION, BACKGROUND), (IGNORE_REGION, IGNORE)]

    def _geometries(self, label: str) -> list[shapely.Geometry]:
        return [region.geometry for region in self.regions if region.label == label]

    def mask(self, box: Box, downsample: int) -> npt.NDArray[np.uint8]:
        """Label of each pixel of a box by the centre rule.

        Args:
            box: in pixels of the plane at ``downsample``; may reach over the slide's border.
            downsample: N >= 1.

        Returns:
            uint8 (height, width): 0 background, 1.. labels, 255 not annotated or outside the plane
            (whose partial border pixels, ceil(size / N), are inside).
        """
        if downsample < 1:
            raise UsageError("a downsample must be at least 1", got=downsample)
        result = np.full((box.height_px, box.width_px), IGNORE, dtype=np.uint8)
        plane = self.size.reduced(downsample)
        inner = box.intersection(Box(0, 0, plane.width_px, plane.height_px))
        if inner.area_px == 0:
            return result
        top, left = inner.y - box.y, inner.x - box.x
        view = result[top : top + inner.height_px, left : left + inner.width_px]
        view[...] = self.spec.outside
        for value, table in self._painters:
            np.copyto(view, np.uint8(value), where=rasterise.coverage(table, inner, downsample))
        return result

    def fractions(self, x_lv0: Cells, y_lv0: Cells, width_lv0: int, height_lv0: int) -> Fractions:
        """Exact shares of cells, from the polygons.

        Args:
            x_lv0, y_lv0: int64 (n,), upper left corners in level-0 pixels.
            width_lv0, height_lv0: of every cell.

        Returns:
            shares of each cell's area on the slide, exact to about 1e-11 and exactly 0 or 1 where nothing
            or everything is covered.
        """
        if width_lv0 < 1 or height_lv0 < 1:
            raise UsageError("a cell needs a positive size", got=(width_lv0, height_lv0))
        x, y = np.asarray(x_lv0, dtype=np.int64), np.asarray(y_lv0, dtype=np.int64)
        if x.ndim != 1 or x.shape != y.shape:
            raise UsageError("x and y of cells must be vectors of one length", got=(x.shape, y.shape))
        x_start, x_end = (np.clip(v, 0, self.size.width_px).astype(np.float64) for v in (x, x + width_lv0))
        y_start, y_end = (np.clip(v, 0, self.size.height_px).astype(np.float64) for v in (y, y + height_lv0))
        whole = (x_end - x_start) * (y_end - y_start)
        exists = whole > 0
        divisor = np.where(exists, whole, 1.0)

        def share(table: edges.EdgeTable) -> Shares:
            part: Shares = areas.areas_within(table, x_start, y_start, x_end, y_end) / divisor
            return part

        per_label = {label: share(self._label_edges[label]) for label in self.spec.labels}
        if self.spec.outside == BACKGROUND:
            annotated = np.where(exists, 1.0 - share(self._ignore_edges), 0.0)
        else:
            annotated = share(self._annotated_edges)
        return Fractions(annotated, per_label)

    @cached_property
    def areas_px(self) -> dict[str, float]:
        """Total area of each label on the slide, in level-0 pixels."""
        corners = [np.array([float(v)]) for v in (0, 0, self.size.width_px, self.size.height_px)]
        return {label: float(areas.areas_within(table, *corners)[0]) for label, table in self._label_edges.items()}

    def areas_um2(self, spacing: Spacing) -> dict[str, float]:
        """Total area of each label on the slide, in square micrometres."""
        return {label: area * spacing.x_um * spacing.y_um for label, area in self.areas_px.items()}

    @cached_property
    def geometries(self) -> dict[str, shapely.Geometry]:
        """label -> everything that carries it, as one geometry (may be empty, may reach over the border)."""
        taken = _union([self._union_of(BACKGROUND_REGION), self._union_of(IGNORE_REGION)])
        resolved = {}
        for label in self.spec.labels:
            whole = self._union_of(label)
            resolved[label] = _minus(whole, taken)
            taken = _union([taken, whole])
        return resolved

    def _union_of(self, label: str) -> shapely.Geometry:
        return _union(self._geometries(label))

    @cached_property
    def _label_edges(self) -> dict[str, edges.EdgeTable]:
        return {label: edges.from_geometries([geometry]) for label, geometry in self.geometries.items()}

    @cached_property
    def _ignore_edges(self) -> edges.EdgeTable:
        return edges.from_geometries([self._union_of(IGNORE_REGION)])

    @cached_property
    def _annotated_edges(self) -> edges.EdgeTable:
        seen = _union([region.geometry for region in self.regions if region.label != IGNORE_REGION])
        return edges.from_geometries([_minus(seen, self._union_of(IGNORE_REGION))])


def _union(geometries: Sequence[shapely.Geometry]) -> shapely.Geometry:
    try:
        return _polygons(shapely.union_all(list(geometries)))
    except shapely.errors.GEOSException as error:
        raise AnnotationError("the union of the regions cannot be computed", got=str(error)) from error


def _minus(geometry: shapely.Geometry, cut: shapely.Geometry) -> shapely.Geometry:
    try:
        return _polygons(shapely.difference(geometry, cut))
    except shapely.errors.GEOSException as error:
        raise AnnotationError("the difference of regions cannot be computed", got=str(error)) from error


def _polygons(geometry: shapely.Geometry) -> shapely.Geometry:
    """The polygons of a result, without the lines and points where areas only touch."""
    if isinstance(geometry, shapely.Polygon | shapely.MultiPolygon):
        return geometry
    return shapely.MultiPolygon([p for p in shapely.get_parts(geometry) if isinstance(p, shapely.Polygon)])
