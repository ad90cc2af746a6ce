"""Which candidate cells a region meets, worked out from its area and not from its box."""

from __future__ import annotations

import numpy as np
import shapely

from wsiprep.annotations import AnnotationSet, Region
from wsiprep.config import Sampling, recipe_from_mapping
from wsiprep.geometry import Size
from wsiprep.patches import CellScale, grid_cells
from wsiprep.stages.lesions import MAX_LISTED_CELLS, lesion_rows

RECIPE = recipe_from_mapping({"name": "r", "downsample": 1, "labels": ["tumour", "stroma"]})
CELLS = grid_cells(Size(320, 320), CellScale.square(1), Sampling(patch_size_px=32))


def rows_of(*regions: Region) -> list[dict[str, object]]:
    return lesion_rows(AnnotationSet(regions), RECIPE, CELLS)


def test_a_bent_region_meets_fewer_cells_than_its_box() -> None:
    corner = shapely.Polygon([(0, 0), (96, 0), (96, 8), (8, 8), (8, 96), (0, 96)])
    (row,) = rows_of(Region("tumour", corner))
    assert row["cells"] == [0, 1, 2, 10, 20]


def test_touching_is_not_meeting_and_other_regions_are_no_lesions() -> None:
    touching = Region("tumour", shapely.box(32, 32, 64, 64))
    rows = rows_of(
        Region("background", shapely.box(0, 0, 9, 9)), touching, Region("stroma", shapely.box(400, 0, 409, 9))
    )
    assert [(row["index"], row["label"], row["cells"]) for row in rows] == [(1, "tumour", [11]), (2, "stroma", [])]


def test_large_regions_are_not_worked_out() -> None:
    (row,) = rows_of(Region("tumour", shapely.box(0, 0, 320, 320)))
    assert len(CELLS) > MAX_LISTED_CELLS
    assert row["cells"] is None


def test_random_triangles_against_areas_one_by_one() -> None:
    rng = np.random.default_rng(5)
    shapes = [shapely.Polygon(rng.integers(0, 160, (3, 2)).tolist()) for _ in range(40)]
    regions = [Region("tumour", shape) for shape in shapes if shape.area > 0]
    boxes = [shapely.box(x, y, x + 32, y + 32) for x, y in zip(CELLS.x_lv0, CELLS.y_lv0, strict=True)]
    for row, region in zip(rows_of(*regions), regions, strict=True):
        assert row["cells"] == [i for i, box in enumerate(boxes) if shapely.intersection(box, region.geometry).area > 0]
