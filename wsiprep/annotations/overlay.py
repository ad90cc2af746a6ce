"""Overlay of areas: the plane cut along all their boundaries, and which of them cover each face.

The faces share their edges to the last bit, so areas that are put together from them fit without a gap
and without an overlap: a pixel centre between two of them belongs to exactly one. Where two boundaries
cross there is a vertex that neither had, rounded to float64, and a pixel centre that lies exactly on one
of them could fall to its other side; ``fit_for_masks`` sees to that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely

from wsiprep.annotations.regions import BACKGROUND_REGION, IGNORE_REGION, ROI_REGION, Area, Region
from wsiprep.config import BACKGROUND, IGNORE
from wsiprep.errors import AnnotationError
from wsiprep.geometry import Size

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

NOISE_PX = 1e-11
"""Shift of an edge by rounding; also the relative error of an area."""

GRID_PX = 2.0**-26

LEAN_PX = 2.0**-20
"""How far ``fit_for_masks`` moves a vertex: far above rounding, far below any centre that is not on an edge."""

_EXACT_STEPS = 64
"""Coordinates that are multiples of 1/64 px give crossings without rounding (``EdgeTable.crossings``)."""


@dataclass(frozen=True, slots=True, eq=False)
class Overlay:
    """Faces of an overlay.

    Attributes:
        faces: object (n,), polygons that do not overlap; together the union of all areas.
        face: int64 (pairs,), sorted: index of a face ...
        area: int64 (pairs,), ... and of an area that covers it.
    """

    faces: npt.NDArray[np.object_]
    face: Ints
    area: Ints

    @property
    def areas_px(self) -> Floats:
        """float64 (n,), area of each face."""
        found: Floats = shapely.area(self.faces)
        return found

    def covered(self, areas: Iterable[int]) -> npt.NDArray[np.bool_]:
        """bool (n,): faces that any of ``areas`` (indices) covers."""
        result = np.zeros(len(self.faces), dtype=bool)
        result[self.face[np.isin(self.area, np.fromiter(areas, np.int64))]] = True
        return result

    def dissolved(self, chosen: Ints | npt.NDArray[np.bool_]) -> Area | None:
        """The chosen faces as one valid area whose outer edges are the faces' own; None for nothing but rounding.

        Raises:
            AnnotationError: coordinates so ill-conditioned that the faces do not join.
        """
        some = self.faces[chosen]
        try:
            whole = shapely.coverage_union_all(some)
        except shapely.errors.GEOSException:
            # Faces that are all rounding, thinner than float64 resolves, are refused here but not there.
            whole = _united(some)
        whole = _plain(whole if whole.is_valid else _united(some))
        if whole.area <= NOISE_PX * whole.length:
            return None
        if not whole.is_valid:
            raise _failed(shapely.is_valid_reason(whole))
        return whole


def _united(faces: npt.NDArray[np.object_]) -> shapely.Geometry:
    try:
        return shapely.union_all(faces)
    except shapely.errors.GEOSException as error:
        raise _failed(error) from error


def overlay(areas: Sequence[shapely.Geometry]) -> Overlay:
    """Cut the plane along the boundaries of valid areas.

    Raises:
        AnnotationError: coordinates so ill-conditioned that the crossings cannot be found.
    """
    if not len(areas):
        return Overlay(np.empty(0, object), np.empty(0, np.int64), np.empty(0, np.int64))
    geometries = np.asarray(areas, dtype=object)
    try:
        lines = shapely.boundary(geometries)
        cut = _cut(geometries, shapely.union_all(lines))
        if _is_whole(cut, geometries, NOISE_PX):
            return cut
        # Where many lines nearly meet, crossings rounded one by one can leave a face open. On a grid, which
        # moves no vertex on 1/64 px and others by less than 1e-8 px, GEOS rounds them all together.
        cut = _cut(geometries, shapely.union_all(lines, grid_size=GRID_PX))
    except shapely.errors.GEOSException as error:
        raise _failed(error) from error
    if not _is_whole(cut, geometries, 2 * GRID_PX):
        raise _failed("faces that do not add up to the regions")
    return cut


def overlay_of_slide(areas: Sequence[shapely.Geometry], size: Size) -> Overlay:
    """As ``overlay``, but the faces are those of the slide: all of it, and nothing beyond.

    Raises:
        AnnotationError: coordinates so ill-conditioned that the crossings cannot be found.
    """
    slide = len(areas)
    cut = overlay([*areas, shapely.box(0, 0, size.width_px, size.height_px)])
    used = np.unique(cut.face[cut.area == slide])
    kept = np.isin(cut.face, used) & (cut.area != slide)
    return Overlay(cut.faces[used], np.searchsorted(used, cut.face[kept]), cut.area[kept])


def fit_for_masks(cut: Overlay, areas: Sequence[shapely.Geometry]) -> Overlay:
    """The overlay with its rounded crossings moved to the left by LEAN_PX.

    A pixel centre on an edge belongs to what is on the edge's right. Edges that were split at a rounded
    crossing pass such centres on either side by some 1e-12 px; leaning to the left they have them on their
    right, as the whole edge had. So masks of the faces are those of the areas, pixel by pixel, for vertices on
    whole, half ... 1/64 px and edges of up to some 10,000 px. Areas change by LEAN_PX times the height of the
    edges that were split. Crossings that the move would push over another edge stay where they are.

    Args:
        cut: an overlay ...
        areas: ... of these.
    """
    points = shapely.get_coordinates(cut.faces)
    if len(points) == 0:
        return cut
    rounded = (points * _EXACT_STEPS != np.floor(points * _EXACT_STEPS)).any(axis=1)
    moved = rounded & ~np.isin(_keys(points), _keys(shapely.get_coordinates(np.asarray(areas, dtype=object))))
    for _ in range(3):
        faces = shapely.set_coordinates(cut.faces.copy(), points - np.outer(moved, (LEAN_PX, 0.0)))
        turned = shapely.is_ccw(shapely.get_exterior_ring(faces)) != shapely.is_ccw(
            shapely.get_exterior_ring(cut.faces)
        )
        faulty = turned | ~shapely.is_valid(faces)
        if not faulty.any():
            # Faces that stay simple and keep their orientation overlap only where the outer border crosses itself.
            return Overlay(faces, cut.face, cut.area) if _fit_together(faces) else cut
        moved &= ~np.isin(_keys(points), _keys(shapely.get_coordinates(cut.faces[faulty])))
    return cut


def _fit_together(faces: npt.NDArray[np.object_]) -> bool:
    try:
        return bool(shapely.coverage_union_all(faces).is_valid)
    except shapely.errors.GEOSException:
        return False


def _keys(points: Floats) -> npt.NDArray[np.complex128]:
    """One comparable number a point."""
    found: npt.NDArray[np.complex128] = np.ascontiguousarray(points).view(np.complex128).ravel()
    return found


def _cut(areas: npt.NDArray[np.object_], lines: shapely.Geometry) -> Overlay:
    faces = shapely.get_parts(shapely.polygonize([lines]))
    inside = shapely.point_on_surface(faces)
    area, face = shapely.STRtree(inside).query(areas, predicate="contains")
    # Faces in no area are holes between them: they are left out, and the others numbered anew.
    used = np.unique(face)
    order = np.lexsort((area, face))
    return Overlay(faces[used], np.searchsorted(used, face[order]), area[order].astype(np.int64))


def _is_whole(cut: Overlay, areas: npt.NDArray[np.object_], shift_px: float) -> bool:
    """Whether the faces of each area add up to it, as far as edges that moved by ``shift_px`` allow."""
    found = np.bincount(cut.area, cut.areas_px[cut.face], minlength=len(areas))
    whole = shapely.area(areas)
    return bool((np.abs(found - whole) <= shift_px * shapely.length(areas) + NOISE_PX * whole).all())


def classes(cut: Overlay, regions: Mapping[int, Region], labels: Sequence[str], outside: int) -> npt.NDArray[np.uint8]:
    """The class of each face by the precedence of ``LabelMap``.

    Args:
        cut: an overlay.
        regions: index of an area of ``cut`` -> its region, for the regions of one file.
        labels: of the recipe, in order.
        outside: mask value of places in no region.

    Returns:
        uint8 (faces,): 0 background, 1.. labels, 255 not annotated.
    """

    def of(label: str) -> npt.NDArray[np.bool_]:
        return cut.covered(index for index, region in regions.items() if region.label == label)

    result = np.full(len(cut.faces), outside, dtype=np.uint8)
    for value, label in reversed(tuple(enumerate(labels, start=1))):
        result[of(label)] = value
    result[of(BACKGROUND_REGION)] = BACKGROUND
    result[of(IGNORE_REGION)] = IGNORE
    if any(region.label == ROI_REGION for region in regions.values()):
        result[~of(ROI_REGION)] = IGNORE
    return result


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """Several readings of one slide on common faces.

    Attributes:
        cut: the faces.
        classes: uint8 (readings, faces), 0 background, 1.. labels, 255 not annotated.
        ignored: bool (readings, faces), where a reading says ignore by a region of its own.
    """

    cut: Overlay
    classes: npt.NDArray[np.uint8]
    ignored: npt.NDArray[np.bool_]

    @property
    def areas_px(self) -> Floats:
        """float64 (faces,)."""
        return self.cut.areas_px


def read_together(
    readings: Sequence[Sequence[Region]],
    labels: Sequence[str],
    outside: Sequence[int],
    size: Size | None = None,
) -> Readings:
    """Lay the regions of several readings over each other.

    Args:
        readings: the regions of each.
        labels: of the recipe, in order; the same for all.
        outside: of each reading, the mask value of places in no region.
        size: of level 0; the faces are then those of the slide, all of it, with exact areas. None: those that
            any region covers, fit for masks.
    """
    areas = [region.geometry for reading in readings for region in reading]
    cut = fit_for_masks(overlay(areas), areas) if size is None else overlay_of_slide(areas, size)
    rows, ignored, first = [], [], 0
    for reading, beyond in zip(readings, outside, strict=True):
        own = dict(enumerate(reading, start=first))
        first += len(reading)
        rows.append(classes(cut, own, labels, beyond))
        ignored.append(cut.covered(i for i, region in own.items() if region.label == IGNORE_REGION))
    shape = (len(readings), len(cut.faces))
    return Readings(cut, np.array(rows, np.uint8).reshape(shape), np.array(ignored, bool).reshape(shape))


def _plain(area: shapely.Geometry) -> Area:
    """One polygon as a Polygon, several as a MultiPolygon."""
    parts = [part for part in shapely.get_parts(area) if isinstance(part, shapely.Polygon)]
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)


def _failed(reason: object) -> AnnotationError:
    return AnnotationError("the overlay of the regions cannot be computed", got=str(reason)[:200])
