"""Real slides and real annotations through survey, plan, pack and seal: the counts that were found by hand."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
from pipelinecases import build, run

from wsiprep.annotations import LabelMap, SlideFrame, read_annotations, read_regions
from wsiprep.artifacts import DatasetTree
from wsiprep.config import recipe_from_mapping
from wsiprep.geometry import Box, PixelGrid, Size
from wsiprep.manifest import read_manifest
from wsiprep.patches import Candidates, CellScale, Lesions, dataset_plan, decide, slide_plan
from wsiprep.patches.sampling import grid_cells
from wsiprep.slides import Plane, open_slide
from wsiprep.store import Dataset

SLIDES = ("celiac_10x", "granular_20x", "mesothelioma_10x")
EXPECTED = {"granular_20x": (320, 34, 20), "mesothelioma_10x": (238, 39, 12)}
"""Cells of the grid, kept ones, and those with more than 99.5 % tumour."""
MIN_SHARE, MAX_SHARE = 0.05, 0.995


@dataclass(frozen=True)
class Atlas:
    """The three slides, sealed."""

    tree: DatasetTree
    data: Path
    rows: dict[str, Any]


@pytest.fixture(scope="module")
def atlas(shared_data: Path, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    tree = DatasetTree(tmp_path_factory.mktemp("atlas") / "dataset")
    recipe = repository / "manifests" / "atlas3.yaml"
    build(tree, ["-r", recipe, "--set", f"data_root={shared_data}"], SLIDES)
    rows = {row.slide_id: row for row in read_manifest(recipe.with_suffix(".csv"), shared_data)}
    return Atlas(tree, shared_data, rows)


def classes(share: npt.NDArray[np.float64]) -> tuple[int, int, int]:
    """(cells, kept, above the upper bound)."""
    kept = (share >= MIN_SHARE) & (share <= MAX_SHARE)
    return len(share), int(kept.sum()), int((share > MAX_SHARE).sum())


@pytest.mark.parametrize("slide_id", EXPECTED)
def test_cells_by_vectors(atlas: Atlas, slide_id: str) -> None:
    plan = {s["slide_id"]: s for s in json.loads(atlas.tree.plan_record.read_text())["plan"]["slides"]}
    counts = plan[slide_id]["counts"]
    assert (plan[slide_id]["cells"], counts["kept"], counts["over_max"]) == EXPECTED[slide_id]
    candidates = pq.read_table(atlas.tree.slide(slide_id).candidates)
    assert classes(candidates["tumour_fraction"].to_numpy()) == EXPECTED[slide_id]
    assert pq.read_table(atlas.tree.plan_slice(slide_id)).num_rows == EXPECTED[slide_id][1]


@pytest.mark.parametrize("slide_id", EXPECTED)
def test_cells_by_masks(atlas: Atlas, slide_id: str) -> None:
    record = json.loads(atlas.tree.slide(slide_id).record.read_text())
    downsample = round(record["scale"][0])
    labels = label_map(atlas, slide_id)
    cells = pq.read_table(atlas.tree.slide(slide_id).candidates).to_pydict()
    side = 512
    places = zip(cells["x_lv0"], cells["y_lv0"], strict=True)
    masks = [
        labels.mask(PixelGrid.of_plane(Box(x // downsample, y // downsample, side, side), downsample))
        for x, y in places
    ]
    share = np.array([np.count_nonzero(mask == 1) / side**2 for mask in masks])
    assert classes(share) == EXPECTED[slide_id]
    exact = np.array(cells["tumour_fraction"])
    for bound in (MIN_SHARE, MAX_SHARE):
        assert ((share < bound) == (exact < bound)).all(), "the same cells, not only as many"
    # A centre rule is off by at most the pixels on the outline.
    assert np.abs(share - exact).max() < 2e-3


def label_map(atlas: Atlas, slide_id: str) -> LabelMap:
    record = json.loads(atlas.tree.slide(slide_id).record.read_text())
    with open_slide(atlas.rows[slide_id].slide) as slide:
        size = slide.info.size
    regions = read_regions(atlas.tree.slide(slide_id).regions).regions
    return LabelMap(regions, ("tumour",), record["annotation"]["state"], size)


def test_the_normal_slide_keeps_nothing_and_says_so(atlas: Atlas) -> None:
    record = json.loads(atlas.tree.plan_record.read_text())
    assert record["states"]["celiac_10x"]["state"] == "empty"
    named = [(item["slide_id"], item["reason"]) for item in record["plan"]["keep_nothing"]]
    assert named == [("celiac_10x", "tumour_free_not_sampled")]
    states = pq.read_table(atlas.tree.slides_table).to_pylist()
    assert {s["slide_id"]: s["state"] for s in states} == {
        "celiac_10x": "empty", "granular_20x": "done", "mesothelioma_10x": "done"
    }  # fmt: skip


def test_tissue_share_by_saturation(shared_data: Path, repository: Path, tmp_path: Path) -> None:
    recipe = repository / "manifests" / "atlas3.yaml"
    tree = DatasetTree(tmp_path / "s")
    build(
        tree, ["-r", recipe, "--set", f"data_root={shared_data}", "--set", "tissue.method=s"], SLIDES, through="survey"
    )
    found = {s: json.loads(tree.slide(s).record.read_text())["tissue"]["share"] for s in SLIDES}
    expected = {"granular_20x": 0.33, "mesothelioma_10x": 0.38, "celiac_10x": 0.32}
    assert found == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("slide_id", EXPECTED)
def test_patches_are_the_slide_and_its_regions(atlas: Atlas, slide_id: str) -> None:
    dataset = Dataset(atlas.tree.root)
    row = atlas.rows[slide_id]
    recipe = recipe_from_mapping(json.loads(atlas.tree.recipe.read_text()))
    numbers = [i for i, name in enumerate(dataset.index["slide_id"].to_pylist()) if name == slide_id]
    assert len(numbers) == EXPECTED[slide_id][1]
    with open_slide(row.slide) as slide:
        downsample = round(1.0 / slide.info.spacing.mean_um)
        assert downsample == (2 if slide_id == "granular_20x" else 1)
        plane = Plane(slide, downsample, "stored")
        assert plane.from_stored
        # From the XML itself, not from what survey wrote down.
        regions = read_annotations(row.annotation, recipe, SlideFrame(slide.info.size)).regions
        labels = LabelMap(regions, ("tumour",), "exhaustive", slide.info.size)
        for i in numbers:
            image, mask, columns = dataset.read(i)
            assert columns["scale"] == downsample
            assert columns["spacing_um"] == pytest.approx(1.0, rel=0.02)
            assert columns["source_level"] == plane.source_level
            box = Box(columns["x_lv0"] // downsample, columns["y_lv0"] // downsample, 512, 512)
            np.testing.assert_array_equal(image, plane.read(box))
            np.testing.assert_array_equal(mask, labels.mask(PixelGrid.of_plane(box, downsample)))
            assert columns["tumour_px"] == np.count_nonzero(mask == 1)
            assert [columns[f"sum_{c}"] for c in "rgb"] == image.reshape(-1, 3).sum(axis=0, dtype=np.int64).tolist()


def test_packing_a_real_slide_with_tile_gives_the_same_pixels(atlas: Atlas, tmp_path: Path) -> None:
    row, tree = atlas.rows["granular_20x"], DatasetTree(tmp_path / "tile")
    run("tile", row.slide, "-o", tree.root, "-a", row.annotation, "--spacing-um", 1.0, "--set",
        "keep.rules=[{labels: [tumour], min: 0.05, max: 0.995}]", "--threads", 2)  # fmt: skip
    run("seal", tree.root)
    one, both = Dataset(tree.root), Dataset(atlas.tree.root)
    pairs = zip(both.index["slide_id"].to_pylist(), both.index["digest"].to_pylist(), strict=True)
    assert len(one) == 34
    assert one.index["digest"].to_pylist() == [digest for slide_id, digest in pairs if slide_id == "granular_20x"]


CAMELYON16 = ("tumor_017", "tumor_021", "tumor_035", "tumor_059", "tumor_067", "tumor_095")
CAMELYON = {"name": "camelyon", "downsample": 4, "labels": ["tumour"],
            "annotations": {"groups": {"_0": "tumour", "_1": "tumour", "_2": "background", "Tumor": "tumour",
                                       "Exclusion": "background", "metastases": "tumour", "normal": "background"}},
            "keep": {"rules": [{"labels": ["tumour"], "min": MIN_SHARE, "max": MAX_SHARE}]}}  # fmt: skip


def camelyon_plan(folder: Path, name: str) -> Any:
    """The plan of one real annotation file on a slide that is just large enough, all of it tissue."""
    recipe = recipe_from_mapping(CAMELYON)
    found = read_annotations(folder / f"{name}.xml", recipe, SlideFrame(Size(1 << 20, 1 << 20)))
    reach = np.max([r.geometry.bounds[2:] for r in found.regions], axis=0)
    size = Size(*((math.ceil(v / 1024) + 4) * 1024 for v in reach))
    found = read_annotations(folder / f"{name}.xml", recipe, SlideFrame(size))
    labels = LabelMap(found.regions, recipe.labels, "exhaustive", size)
    cells = grid_cells(size, CellScale.square(4), recipe.sampling)
    fractions = labels.fractions(cells.x_lv0, cells.y_lv0, cells.width_lv0, cells.height_lv0)
    candidates = Candidates(cells, np.ones(len(cells.col)), fractions.annotated, fractions.per_label)
    decisions = decide(candidates, recipe, annotated=True, slide_id=name)
    tumours = [r for r in found.regions if r.label == "tumour"]
    lesions = Lesions(
        np.arange(len(tumours)), tuple(r.label for r in tumours), np.array([r.geometry.area for r in tumours]),
        np.array([r.geometry.bounds for r in tumours]),
    )  # fmt: skip
    return slide_plan(name, candidates, decisions, recipe, annotated=True, source_factor=4, lesions=lesions)


def test_half_of_the_camelyon16_files_keep_nothing(shared_data: Path) -> None:
    plans = {name: camelyon_plan(shared_data / "annotations_real", name) for name in CAMELYON16}
    found = dataset_plan(plans.values()).to_dict()
    assert {name: plan.kept for name, plan in plans.items() if plan.kept} == {
        "tumor_021": 18, "tumor_059": 1, "tumor_095": 170
    }  # fmt: skip
    best = {item["slide_id"]: item["best_share"] for item in found["keep_nothing"]}
    assert {item["reason"] for item in found["keep_nothing"]} == {"under_min"}, "glass is not the reason"
    assert best == pytest.approx({"tumor_017": 0.0267, "tumor_035": 0.0228, "tumor_067": 0.0176}, abs=5e-5)
    # Named one by one, of slides that keep something too.
    lost = {name: plan.lost for name, plan in plans.items() if plan.lost}
    assert {name: len(lesions) for name, lesions in lost.items()} == {
        "tumor_017": 2, "tumor_021": 1, "tumor_035": 3, "tumor_067": 1
    }  # fmt: skip
    assert sorted(item["slide_id"] for item in found["lost_lesions"]) == sorted(
        name for name, lesions in lost.items() for _ in lesions
    )
    assert all(lesion.area_px < 0.05 * 2048**2 for name in best for lesion in lost[name])


def test_a_camelyon17_file_of_the_other_groups_keeps_nothing(shared_data: Path) -> None:
    plan = camelyon_plan(shared_data / "annotations_real", "patient_004_node_4")
    assert plan.kept == 0
    assert plan.best_share == pytest.approx(0.0223, abs=5e-5)
    assert len(plan.lost) == 3
