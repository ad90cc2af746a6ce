"""Files as ASAP and its users write them: counts, areas, and the papers' rule by polygon and by mask."""

from __future__ import annotations

import time
from collections import Counter

import numpy as np
import pytest
import shapely

from wsiprep.annotations import LabelMap, SlideFrame, read_annotations
from wsiprep.errors import AnnotationError
from wsiprep.geometry import Box, PixelGrid, Size

CAMELYON = {"_0": "tumour", "_1": "tumour", "_2": "background"}
LARGE = Size(100_000, 220_000)


# name: groups of the file -> regions; vertices of the regions, repaired rings, repeated vertices, and the lines
# at which the file is refused where the recipe repairs nothing, or knows none of its groups.
REAL = {
    "CMU-1_segmentation": ({"malignant": 2, "benign": 2}, 156, 0, 0, None, 4),
    "patient_004_node_4": ({"Tumor": 3}, 38, 0, 0, None, 4),
    "tumor_017": ({"_0": 2}, 558, 0, 0, None, 4),
    "tumor_021": ({"_0": 16, "_2": 19}, 30416, 9, 2, 4, 4),
    "tumor_035": ({"_0": 3}, 900, 0, 0, None, 4),
    "tumor_059": ({"_0": 1}, 649, 0, 0, None, 4),
    "tumor_067": ({"_0": 1}, 937, 0, 0, None, 4),
    "tumor_095": ({"_0": 7, "_2": 20}, 7990, 1, 8, 4, 4),
}
LABEL_OF = {"malignant": "tumour", "benign": "background", "Tumor": "tumour", **CAMELYON}


def test_every_real_file_is_pinned(shared_data):
    assert {path.stem for path in (shared_data / "annotations_real").iterdir()} == set(REAL)


@pytest.mark.parametrize("name", REAL)
def test_real_files_have_so_many_regions_repairs_and_refusals(shared_data, asap, name):
    groups, vertices, repaired, repeated, broken_at, unknown_at = REAL[name]
    path = shared_data / "annotations_real" / f"{name}.xml"
    found = read_annotations(path, asap.recipe(LABEL_OF), SlideFrame(LARGE))
    assert Counter(region.group for region in found.regions) == groups
    assert sum(len(shapely.get_coordinates(region.geometry)) for region in found.regions) == vertices
    assert all(region.geometry.is_valid for region in found.regions)
    fired = {"annotations": sum(groups.values()), "repaired_rings": repaired, "repeated_vertices": repeated,
             "splines": int(name == "CMU-1_segmentation")}  # fmt: skip
    assert dict(found.counts) == {counter: count for counter, count in fired.items() if count}
    assert len(found.notes) == repaired
    for line, rules in ((broken_at, {"invalid_rings": "error"}), (unknown_at, {"groups": {}})):
        recipe = asap.recipe(**({"groups": LABEL_OF} | rules))
        if line is None:
            assert len(read_annotations(path, recipe, SlideFrame(LARGE)).regions) == sum(groups.values())
            continue
        with pytest.raises(AnnotationError) as caught:
            read_annotations(path, recipe, SlideFrame(LARGE))
        assert (caught.value.file, caught.value.line) == (str(path), line)


CASES = [
    ("granular_20x", Size(20672, 16874), 2, 320, 34, 20),
    ("mesothelioma_10x", Size(9090, 7526), 1, 238, 39, 12),
]


@pytest.mark.parametrize(("name", "size", "downsample", "cells", "kept", "over"), CASES)
def test_cells_by_the_papers_rule_from_polygons_and_from_masks(
    shared_data, asap, name, size, downsample, cells, kept, over
):
    recipe = asap.recipe({"Tumor": "tumour", "Exclusion": "background"})
    found = read_annotations(shared_data / "annotations" / f"{name}.xml", recipe, SlideFrame(size))
    labels = LabelMap(found.regions, ("tumour",), "exhaustive", size)
    side = 512 * downsample
    x, y = (v.ravel() for v in np.meshgrid(*(np.arange(n // side) * side for n in (size.width_px, size.height_px))))
    assert len(x) == cells
    exact = labels.fractions(x, y, side, side).per_label["tumour"]
    boxes = [Box(int(a) // downsample, int(b) // downsample, 512, 512) for a, b in zip(x, y, strict=True)]
    masked = np.array([(labels.mask(PixelGrid.of_plane(box, downsample)) == 1).mean() for box in boxes])
    for share in (exact, masked):
        assert int(((share >= 0.05) & (share <= 0.995)).sum()) == kept
        assert int((share > 0.995).sum()) == over
    assert np.abs(exact - masked).max() < 1e-3
    brute = shapely.area(shapely.intersection(labels.geometries["tumour"], shapely.box(x, y, x + side, y + side)))
    assert np.abs(exact - brute / side**2).max() < 1e-11


def test_ten_thousand_cells_of_a_large_file_take_less_than_a_second(shared_data, asap):
    found = read_annotations(
        shared_data / "annotations_real" / "tumor_021.xml", asap.recipe(CAMELYON), SlideFrame(LARGE)
    )
    labels = LabelMap(found.regions, ("tumour",), "exhaustive", LARGE)
    x, y = (v.ravel() for v in np.meshgrid(np.arange(60_000, 80_000, 200), np.arange(55_000, 75_000, 200)))
    start = time.process_time()
    share = labels.fractions(x, y, 200, 200).per_label["tumour"]
    assert time.process_time() - start < 1.5
    assert share.sum() * 200**2 == pytest.approx(labels.areas_px["tumour"], rel=1e-9)
    assert labels.areas_px["tumour"] == pytest.approx(labels.geometries["tumour"].area, rel=1e-12)
