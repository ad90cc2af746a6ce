"""Files as ASAP and its users write them: counts, areas, and the papers' rule by polygon and by mask."""

from __future__ import annotations

import time

import numpy as np
import pytest
import shapely

from wsiprep.annotations import LabelMap, SlideFrame, read_annotations
from wsiprep.geometry import Box, PixelGrid, Size

CAMELYON = {"_0": "tumour", "_1": "tumour", "_2": "background"}
LARGE = Size(100_000, 220_000)


@pytest.mark.parametrize(
    ("name", "annotations", "invalid", "repeated"),
    [("tumor_021", 35, 9, 2), ("tumor_095", 27, 1, 8), ("tumor_017", 2, 0, 0), ("tumor_035", 3, 0, 0)],
)
def test_camelyon_files_need_so_many_repairs(shared_data, asap, name, annotations, invalid, repeated):
    path = shared_data / "annotations_real" / f"{name}.xml"
    found = read_annotations(path, asap.recipe(CAMELYON), SlideFrame(LARGE))
    assert len(found.regions) == annotations
    assert found.counts.get("repaired_rings", 0) == invalid
    assert found.counts.get("repeated_vertices", 0) == repeated
    assert len(found.notes) == invalid
    for region in found.regions:
        assert region.geometry.is_valid


@pytest.mark.parametrize(
    ("name", "groups", "counts"),
    [
        ("CMU-1_segmentation", {"malignant": "tumour", "benign": "background"}, {"annotations": 4, "splines": 1}),
        ("patient_004_node_4", {"Tumor": "tumour"}, {"annotations": 3}),
    ],
)
def test_files_of_other_sources(shared_data, asap, name, groups, counts):
    found = read_annotations(shared_data / "annotations_real" / f"{name}.xml", asap.recipe(groups), SlideFrame(LARGE))
    assert {k: found.counts.get(k) for k in counts} == counts


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
