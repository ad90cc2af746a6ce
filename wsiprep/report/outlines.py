"""SVG path data over a thumbnail: tissue, annotations, cells.

The drawing has units of its own, ``CANVAS`` along the longer side, so that outlines are as fine over a
small thumbnail as over a large one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

CANVAS = 1000
"""Units along the longer side of the drawing."""

FINE_PX = 500
"""Smaller tissue masks are enlarged to about this side before their outline is followed."""

MAX_SEPARATE_CELLS = 1500
"""More kept cells than this are drawn as the rows that they make, to bound the page."""


@dataclass(frozen=True, slots=True)
class View:
    """From pixels of some plane to the units of the drawing.

    Attributes:
        scale_x, scale_y: units per pixel.
    """

    scale_x: float
    scale_y: float

    def path(self, ring: Iterable[tuple[float, float]]) -> str:
        """One closed ring of level-0 vertices; steps under a third of a unit are left out."""
        points = np.array([tuple(point[:2]) for point in ring], np.float64).reshape(-1, 2)
        if len(points) < 3:
            return ""
        places = np.round(points * (self.scale_x, self.scale_y), 1)
        small = cv2.approxPolyDP(places.astype(np.float32).reshape(-1, 1, 2), 0.3, True).reshape(-1, 2)
        return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in (small if len(small) >= 3 else places)) + "Z"


def canvas_size(width_px: int, height_px: int) -> tuple[float, float]:
    """The drawing's size for a picture of these proportions."""
    scale = CANVAS / max(width_px, height_px)
    return round(width_px * scale, 1), round(height_px * scale, 1)


def tissue_path(mask: npt.NDArray[np.bool_], width: float, height: float) -> str:
    """The outline of a tissue mask stretched over a drawing of the given size."""
    # findContours follows the centres of the outermost pixels: half a pixel too far in, so make them small.
    step = max(1, -(-FINE_PX // max(mask.shape)))
    fine = np.pad(mask.astype(np.uint8).repeat(step, 0).repeat(step, 1), 1)
    contours, _ = cv2.findContours(fine, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    view = View(width / (mask.shape[1] * step), height / (mask.shape[0] * step))
    return "".join(view.path(contour.reshape(-1, 2) - 0.5) for contour in contours if len(contour) >= 3)


def region_paths(collection: Mapping[str, Any], view: View) -> dict[str, str]:
    """label -> path of all its regions in a GeoJSON FeatureCollection (level-0 px)."""
    paths: dict[str, list[str]] = {}
    for feature in collection.get("features", ()):
        label = str((feature.get("properties") or {}).get("classification", {}).get("name", "unnamed"))
        rings = "".join(view.path(ring) for ring in _rings(feature.get("geometry") or {}))
        paths.setdefault(label, []).append(rings)
    return {label: "".join(parts) for label, parts in paths.items()}


def _rings(geometry: Mapping[str, Any]) -> Iterator[list[tuple[float, float]]]:
    kind, coordinates = geometry.get("type"), geometry.get("coordinates", ())
    if kind == "Polygon":
        yield from coordinates
    elif kind == "MultiPolygon":
        for polygon in coordinates:
            yield from polygon


def cells_path(boxes_lv0: npt.NDArray[np.int64], view: View) -> str:
    """Rectangles; above ``MAX_SEPARATE_CELLS`` neighbours in a row become one.

    Args:
        boxes_lv0: int64 (n, 4), x, y, width, height of each cell in level-0 pixels.
        view: of level 0.
    """
    boxes: list[tuple[int, int, int, int]] = [(x, y, w, h) for x, y, w, h in boxes_lv0.tolist()]
    if len(boxes) > MAX_SEPARATE_CELLS:
        boxes = _runs(sorted(boxes, key=lambda b: (b[1], b[3], b[0])))
    return "".join(
        f"M{x * view.scale_x:.1f} {y * view.scale_y:.1f}h{w * view.scale_x:.1f}v{h * view.scale_y:.1f}"
        f"h-{w * view.scale_x:.1f}z"
        for x, y, w, h in boxes
    )


def _runs(boxes: list[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    runs: list[tuple[int, int, int, int]] = []
    for x, y, width, height in boxes:
        if runs and runs[-1][1] == y and runs[-1][3] == height and runs[-1][0] + runs[-1][2] >= x:
            reach = max(x + width, runs[-1][0] + runs[-1][2])
            runs[-1] = (runs[-1][0], y, reach - runs[-1][0], height)
        else:
            runs.append((x, y, width, height))
    return runs
