"""The annotated regions of a slide as plan needs them: to say which are lost, and to centre cells on small ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely

from wsiprep.annotations import AnnotationSet
from wsiprep.config import Recipe
from wsiprep.patches import Cells

MAX_LISTED_CELLS = 64
"""A region whose bounding box meets more cells is large: whether it is lost is judged by that box."""

_INTERIORS_MEET = "T********"


def lesion_rows(annotations: AnnotationSet, recipe: Recipe, cells: Cells) -> list[dict[str, Any]]:
    """The labelled regions: bounds, areas, and the candidate cells (by index) that each small one meets.

    Cells that only touch a region are not listed; None where there are too many to list.
    """
    chosen = [(index, r) for index, r in enumerate(annotations.regions) if r.label in recipe.labels]
    met = _cells_of([r.geometry for _, r in chosen], cells)
    rows = []
    for (index, region), own in zip(chosen, met, strict=True):
        x_min, y_min, x_max, y_max = (float(v) for v in region.geometry.bounds)
        rows.append(
            {"index": index, "name": region.name, "label": region.label, "area_px": float(region.geometry.area),
             "x_min": x_min, "y_min": y_min, "x_max": x_max, "y_max": y_max, "cells": own}
        )  # fmt: skip
    return rows


def _cells_of(geometries: list[shapely.Geometry], cells: Cells) -> list[list[int] | None]:
    if not geometries or len(cells) == 0:
        return [[] for _ in geometries]
    x, y = cells.x_lv0.astype(np.float64), cells.y_lv0.astype(np.float64)
    boxes = shapely.box(x, y, x + cells.width_lv0, y + cells.height_lv0)
    tree = shapely.STRtree(boxes)
    found: list[list[int] | None] = []
    for geometry in geometries:
        # Without a predicate the tree compares bounding boxes alone.
        near = np.sort(tree.query(geometry))
        if len(near) > MAX_LISTED_CELLS:
            found.append(None)
            continue
        inside = shapely.relate_pattern(geometry, boxes[near], _INTERIORS_MEET)
        found.append(near[inside].tolist())
    return found
