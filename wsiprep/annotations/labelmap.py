"""What the regions of one slide say about its pixels: masks by the centre rule, shares by exact area.

Order of precedence at any place: outside every region of interest, where there are any (255), ignore
(255), then background (0), then the first label of the recipe, then the second ..., then what the
annotation state says of places outside all regions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
import shapely

from wsiprep.annotations import areas, edges, rasterise
from wsiprep.annotations.instance_maps import connected_parts
from wsiprep.annotations.labelspec import LabelSpec
from wsiprep.annotations.regions import (
    BACKGROUND_REGION,
    IGNORE_REGION,
    ROI_REGION,
    SPECIAL_LABELS,
    Region,
)
from wsiprep.annotations.source import Fractions, Ints, Shares
from wsiprep.config import BACKGROUND, IGNORE
from wsiprep.errors import AnnotationError, UsageError
from wsiprep.geometry import PixelGrid, Size, Spacing
from wsiprep.manifest import AnnotationState

__all__ = ["Fractions", "LabelMap", "LabelSpec"]


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

    def mask(self, grid: PixelGrid) -> npt.NDArray[np.uint8]:
        """Label of each pixel by the centre rule.

        Args:
            grid: of the patch; may reach over the slide's border.

        Returns:
            uint8 (height, width): 0 background, 1.. labels, 255 not annotated, outside every region of
            interest, or outside the slide (a pixel that the border cuts is inside: its part on the slide counts).
        """
        result = np.full((grid.height_px, grid.width_px), self.spec.outside, dtype=np.uint8)
        for value, table in self._painters:
            rasterise.paint(table, grid, result, value)
        if self._rois is not None:
            # 0 within and 255 elsewhere, which is IGNORE.
            result |= rasterise.coverage(self._rois, grid).view(np.uint8) - np.uint8(1)
        blank_outside(result, grid, self.size, IGNORE)
        return result

    def inside_roi(self, grid: PixelGrid) -> npt.NDArray[np.bool_] | None:
        """bool (height, width): pixels whose centre lies in a region of interest; None where there are none."""
        return None if self._rois is None else rasterise.coverage(self._rois, grid)

    def instances(self, grid: PixelGrid) -> npt.NDArray[np.int32]:
        """See ``LabelSource.instances``: every labelled region is an object, the first in the file on top.

        What the mask says otherwise (another label, background, ignore) is cut off; a region that falls into
        several pieces in the grid (4-connected) is as many objects.
        """
        mask = self.mask(grid)
        found = np.zeros(mask.shape, dtype=np.int32)
        box, (left, top, right, bottom) = grid.box_lv0, self._object_bounds.T
        near = (left < box.x_end) & (right > box.x) & (top < box.y_end) & (bottom > box.y)
        for number in np.flatnonzero(near).tolist():
            value, table = self._objects[number]
            rows, inside = rasterise.covered_rows(table, grid)
            np.copyto(found[rows], np.int32(number + 1), where=inside & (found[rows] == 0) & (mask[rows] == value))
        return connected_parts(found.astype(np.int64))

    @cached_property
    def _objects(self) -> tuple[tuple[int, edges.EdgeTable], ...]:
        values = {label: value for value, label in enumerate(self.spec.labels, start=1)}
        return tuple(
            (values[region.label], edges.from_geometries([region.geometry]))
            for region in self.regions
            if region.label in values
        )

    @cached_property
    def _object_bounds(self) -> npt.NDArray[np.float64]:
        """float64 (n, 4): x_min, y_min, x_max, y_max of each object."""
        known = [region.geometry.bounds for region in self.regions if region.label in self.spec.labels]
        return np.array(known, dtype=np.float64).reshape(len(known), 4)

    @cached_property
    def _rois(self) -> edges.EdgeTable | None:
        geometries = self._geometries(ROI_REGION)
        return edges.from_geometries(geometries) if geometries else None

    def fractions(self, x_lv0: Ints, y_lv0: Ints, width_lv0: Ints | int, height_lv0: Ints | int) -> Fractions:
        """Exact shares of cells, from the polygons.

        Args:
            x_lv0, y_lv0: int64 (n,), upper left corners in level-0 pixels.
            width_lv0, height_lv0: int64 (n,) or one number for every cell.

        Returns:
            shares of each cell's area on the slide, exact to about 1e-11 and exactly 0 or 1 where nothing
            or everything is covered.
        """
        x, y = np.asarray(x_lv0, dtype=np.int64), np.asarray(y_lv0, dtype=np.int64)
        if x.ndim != 1 or x.shape != y.shape:
            raise UsageError("x and y of cells must be vectors of one length", got=(x.shape, y.shape))
        width, height = (np.broadcast_to(np.asarray(v, np.int64), x.shape) for v in (width_lv0, height_lv0))
        if len(x) and min(int(width.min()), int(height.min())) < 1:
            raise UsageError("a cell needs a positive size", got=(int(width.min()), int(height.min())))
        x_start, x_end = (np.clip(v, 0, self.size.width_px).astype(np.float64) for v in (x, x + width))
        y_start, y_end = (np.clip(v, 0, self.size.height_px).astype(np.float64) for v in (y, y + height))
        whole = (x_end - x_start) * (y_end - y_start)
        exists = whole > 0
        divisor = np.where(exists, whole, 1.0)

        def share(table: edges.EdgeTable) -> Shares:
            part: Shares = areas.areas_within(table, x_start, y_start, x_end, y_end) / divisor
            return part

        per_label = {label: share(self._label_edges[label]) for label in self.spec.labels}
        if self.spec.outside == BACKGROUND and self._rois is None:
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
        taken = [*self._geometries(BACKGROUND_REGION), *self._geometries(IGNORE_REGION)]
        resolved = {}
        for label in self.spec.labels:
            whole = self._geometries(label)
            resolved[label] = self._within_rois(_minus(_union(whole), _union(taken)) if whole else _union([]))
            taken += whole
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
        if self.spec.outside == BACKGROUND:
            seen = self._union_of(ROI_REGION)
        else:
            outlined = [r.geometry for r in self.regions if r.label not in (IGNORE_REGION, ROI_REGION)]
            seen = self._within_rois(_union(outlined))
        return edges.from_geometries([_minus(seen, self._union_of(IGNORE_REGION))])

    def _within_rois(self, geometry: shapely.Geometry) -> shapely.Geometry:
        if self._rois is None:
            return geometry
        try:
            return _polygons(shapely.intersection(geometry, self._union_of(ROI_REGION)))
        except shapely.errors.GEOSException as error:
            raise AnnotationError(
                "the part within the regions of interest cannot be computed", got=str(error)
            ) from error


def blank_outside(mask: npt.NDArray[np.uint8], grid: PixelGrid, size: Size, value: int) -> None:
    """Set the pixels that lie off the slide.

    On the plane of an integer downsample the partial pixels of the border are on the slide, as they are in the
    image (``Plane``); elsewhere a pixel is where its centre is, as in ``slides.PatchReader``.
    """
    box = grid.box_lv0
    if min(box.x, box.y) >= 0 and box.x_end <= size.width_px and box.y_end <= size.height_px:
        return
    for axis, start, length, count, limit in (
        (1, box.x, box.width_px, grid.width_px, size.width_px),
        (0, box.y, box.height_px, grid.height_px, size.height_px),
    ):
        k = np.arange(count, dtype=np.int64)
        if grid.downsample is None:
            twice = 2 * count * start + (2 * k + 1) * length
            outside = (twice < 0) | (twice >= 2 * count * limit)
        else:
            first = start * count + k * length
            outside = (first + length <= 0) | (first >= limit * count)
        if outside.any():
            mask[(slice(None),) * axis + (outside,)] = value


def _union(geometries: Sequence[shapely.Geometry]) -> shapely.Geometry:
    """The union; only polygons that meet others go through GEOS, which would cut all of them at all edges."""
    parts = shapely.get_parts(np.asarray(geometries, dtype=object))
    try:
        groups = _meeting(parts)
        united = [parts[groups[0]], *(shapely.get_parts(_polygons(shapely.union_all(parts[k]))) for k in groups[1:])]
    except shapely.errors.GEOSException as error:
        raise AnnotationError("the union of the regions cannot be computed", got=str(error)) from error
    return shapely.MultiPolygon(list(np.concatenate(united)))


def _meeting(parts: npt.NDArray[np.object_]) -> list[Ints]:
    """Indices of the polygons that meet no other one, then those of each group that hangs together."""
    first, second = shapely.STRtree(parts).query(parts, predicate="intersects")
    group = np.arange(len(parts))
    while True:
        lowest = group.copy()
        np.minimum.at(lowest, first, group[second])
        # A jump to the group of the group: chains of any length take a few rounds.
        lowest = lowest[lowest]
        if (lowest == group).all():
            break
        group = lowest
    order = np.argsort(group, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(group[order])) + 1) if len(order) else []
    alone = [k for k in groups if len(k) == 1]
    return [np.concatenate(alone) if alone else np.empty(0, np.int64), *(k for k in groups if len(k) > 1)]


def _minus(geometry: shapely.Geometry, cut: shapely.Geometry) -> shapely.Geometry:
    """What ``cut`` leaves; polygons that it does not meet stay as they are."""
    if cut.is_empty:
        return geometry
    parts = shapely.get_parts(geometry)
    try:
        met = np.zeros(len(parts), np.bool_)
        met[shapely.STRtree(shapely.get_parts(cut)).query(parts, predicate="intersects")[0]] = True
        left = [shapely.get_parts(_polygons(shapely.difference(part, cut))) for part in parts[met]]
    except shapely.errors.GEOSException as error:
        raise AnnotationError("the difference of regions cannot be computed", got=str(error)) from error
    return shapely.MultiPolygon(list(np.concatenate([parts[~met], *left])))


def _polygons(geometry: shapely.Geometry) -> shapely.Geometry:
    """The polygons of a result, without the lines and points where areas only touch."""
    if isinstance(geometry, shapely.Polygon | shapely.MultiPolygon):
        return geometry
    return shapely.MultiPolygon([p for p in shapely.get_parts(geometry) if isinstance(p, shapely.Polygon)])
