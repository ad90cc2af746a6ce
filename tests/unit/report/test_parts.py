"""The parts of the page: outlines, charts, tables, curves, split."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsiprep.artifacts import DatasetTree
from wsiprep.report.charts import Line, line_chart, share_chart, stacked_bars, text_colour, ticks
from wsiprep.report.cohort import split_view
from wsiprep.report.figures import Table, area, count, data_size, is_number, number, percent
from wsiprep.report.inputs import read_inputs
from wsiprep.report.outlines import MAX_SEPARATE_CELLS, View, cells_path, region_paths, tissue_path
from wsiprep.report.pictures import embed
from wsiprep.report.slides import slide_views, slides_table, state_of
from wsiprep.report.training import benchmark_notes, benchmark_table, curves_view

Put = Callable[[Path, Any], None]
NUMBER = r"-?\d+(?:\.\d+)?"


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(rf"({NUMBER}) ({NUMBER})", path)]


def test_a_ring_is_scaled_into_the_thumbnail() -> None:
    path = View(0.1, 0.2).path([(0, 0), (100, 0), (100, 50), (0, 50), (0, 0)])
    assert path.startswith("M")
    assert path.endswith("Z")
    assert set(points(path)) == {(0, 0), (10, 0), (10, 10), (0, 10)}
    assert View(1, 1).path([(0, 0), (1, 1)]) == ""


def test_the_tissue_outline_surrounds_its_pixels() -> None:
    mask = np.zeros((50, 40), bool)
    mask[10:30, 5:25] = True
    found = np.array(points(tissue_path(mask, 80, 100)))
    assert found.min(0) == pytest.approx((10, 20), abs=0.3)
    assert found.max(0) == pytest.approx((50, 60), abs=0.3)
    assert tissue_path(np.zeros((5, 5), bool), 10, 10) == ""


def test_regions_are_grouped_by_label_with_all_their_rings() -> None:
    square = [[0, 0], [8, 0], [8, 8], [0, 8], [0, 0]]
    many = {"type": "MultiPolygon", "coordinates": [[square, [[2, 2], [4, 2], [4, 4], [2, 2]]], [square]]}
    features = [
        {"geometry": many, "properties": {"classification": {"name": "tumour"}}},
        {"geometry": {"type": "Polygon", "coordinates": [square]}, "properties": None},
        {"geometry": None, "properties": {}},
    ]
    paths = region_paths({"features": features}, View(1, 1))
    assert paths["tumour"].count("M") == 3
    assert paths["unnamed"].count("M") == 1


def test_few_cells_are_squares_and_many_become_rows() -> None:
    few = cells_path(np.array([[0, 0, 100, 100], [200, 0, 100, 50]]), View(0.5, 0.5))
    assert few == "M0.0 0.0h50.0v50.0h-50.0zM100.0 0.0h50.0v25.0h-50.0z"
    side = 60
    y, x = np.divmod(np.arange(side * side), side)
    assert side * side > MAX_SEPARATE_CELLS
    boxes = np.stack([x * 10, y * 10, np.full_like(x, 10), np.full_like(x, 10)], axis=1)
    rows = cells_path(boxes, View(1, 1))
    assert rows.count("M") == side
    assert rows.count(f"h{10 * side:.1f}") == side
    gap = x != 30
    assert cells_path(boxes[gap], View(1, 1)).count("M") == 2 * side


def test_overlays_and_state_of_a_slide(tree: DatasetTree) -> None:
    inputs = read_inputs(tree)
    views, hidden = slide_views(inputs)
    assert hidden == 0
    alpha = next(view for view in views if view.slide_id == "alpha")
    layers = {layer.kind: layer for layer in alpha.overlays}
    assert set(layers) == {"tissue", "cells", "region", "hole"}
    assert layers["cells"].path.count("M") == 3
    assert set(points(layers["region"].path)) == {(200, 200), (500, 200), (500, 500), (200, 500)}
    assert "alpha" not in layers["hole"].colour
    facts = dict(alpha.facts)
    assert facts["scale"] == "0.25 um/px x 2 = 0.5 um/px"
    assert facts["pixels"] == "level 1"
    assert facts["read from the file"] == "3 repaired rings"
    assert facts["cells"] == "3 kept, 22 under min"
    delta = next(view for view in views if view.slide_id == "delta")
    assert delta.picture is None
    assert delta.error.startswith("the slide does not say")


def test_the_state_comes_from_the_latest_stage_that_knows(tree: DatasetTree, put: Put) -> None:
    assert state_of(read_inputs(tree), "alpha")[0] == "planned"
    put(tree.receipt("alpha"), {"slide_id": "alpha", "state": "failed", "reason": "a tile is damaged"})
    assert state_of(read_inputs(tree), "alpha") == ("failed", "a tile is damaged")
    assert state_of(read_inputs(tree), "omega") == ("excluded", "pen all over")
    tree.plan_record.unlink()
    inputs = read_inputs(tree)
    assert state_of(inputs, "delta")[0] == "failed"
    assert state_of(inputs, "beta")[0] == "surveyed"
    assert state_of(inputs, "nobody") == ("unknown", "")


def test_the_table_of_slides_has_each_of_them(tree: DatasetTree) -> None:
    table = slides_table(read_inputs(tree))
    assert [row[0] for row in table.rows] == ["alpha", "beta", "delta", "gamma", "omega"]
    alpha = dict(zip(table.columns, table.rows[0], strict=True))
    assert alpha["pixels from"] == "level 1"
    assert alpha["reader"] == "tiff"
    assert alpha["kept"] == "3"
    assert alpha["size, px"] == "1000 x 1000"


def test_the_split_counts_patients_slides_patches_and_area(sealed: DatasetTree) -> None:
    view = split_view(read_inputs(sealed))
    assert view is not None
    assert view.splits.columns == ("split", "patients", "slides", "patches", "tumour, mm2")
    assert view.splits.rows == (("train", "1", "1", "3", "3.000"), ("test", "1", "1", "2", "2.000"))
    assert view.folds is None
    assert "60 %" in view.chart
    assert "asked for" in view.chart


def test_folds_have_a_table_of_their_own(folded: DatasetTree) -> None:
    view = split_view(read_inputs(folded))
    assert view is not None
    assert view.folds is not None
    assert [row[0] for row in view.folds.rows] == ["0", "1"]
    assert view.patients is not None
    assert view.patients.rows[0][2] == "train (fold 0)"


def test_curves_are_a_chart_a_score_and_a_colour_a_model(sealed: DatasetTree, put: Put) -> None:
    inputs = read_inputs(sealed)
    view = curves_view(inputs)
    assert view is not None
    assert [name for name, _ in view.charts] == ["train_loss", "val_miou", "val_acc"]
    assert [(model, n) for model, _, n in view.legend] == [("unet", 2)]
    assert all(chart.count('class="curve"') == 2 for _, chart in view.charts)
    header = ",".join(["epoch", *(f"val_score_{i}" for i in range(9))])
    put(sealed.runs / "other" / "metrics.csv", f"{header}\n1,{',' * 8}\n2{',0.5' * 9}\n")
    view = curves_view(read_inputs(sealed))
    assert view is not None
    assert len(view.charts) == 6
    assert len(view.left_out) == 6
    assert "circle" in view.charts[-1][1]


def test_a_run_without_numbers_has_no_chart(tree: DatasetTree, put: Put) -> None:
    assert curves_view(read_inputs(tree)) is None
    put(tree.runs / "unet" / "metrics.csv", "epoch,val_acc\n1,\n2,\n")
    view = curves_view(read_inputs(tree))
    assert view is not None
    assert view.charts == ()


def test_the_benchmark_is_shown_with_short_numbers(sealed: DatasetTree) -> None:
    table = benchmark_table(read_inputs(sealed))
    assert table is not None
    assert table.rows == (("all background", "trivial", "0.351", ""), ("unet", "ours", "0.800", "median of 3"))
    assert table.numeric == (False, False, True, False)


def test_a_wide_benchmark_is_shown_by_its_main_columns(sealed: DatasetTree, put: Put) -> None:
    header = "kind,model,title,data,seed,miou,n_trainable,device,note"
    put(sealed.benchmark_table, f"{header}\nrun,unet,U-Net,here,0,0.812345,1946785,cpu,\n")
    table = benchmark_table(read_inputs(sealed))
    assert table is not None
    assert table.columns == ("kind", "title", "data", "seed", "miou", "n trainable")
    assert table.rows == (("run", "U-Net", "here", "0", "0.812", "1,946,785"),)


def test_charts_are_drawn_to_scale() -> None:
    chart = share_chart([0, 10, *[0] * 18], [0, 5, *[0] * 18], [0.05, 0.995], "shares")
    heights = [float(h) for h in re.findall(r'height="([\d.]+)" fill', chart)]
    assert max(heights) == pytest.approx((230 - 12 - 38) / 1.05, abs=0.1)
    assert sorted(heights)[-2] == pytest.approx(max(heights) / 2, abs=0.1)
    assert chart.count('class="bound"') == 2
    assert 'aria-label="shares"' in chart


def test_curves_leave_out_what_is_not_finite() -> None:
    line = Line("m", ((1, 0.5), (2, float("nan")), (3, 0.7)))
    chart = line_chart([line], "epoch", "score", {"m": "#000000"})
    path = re.search(r'class="curve" d="([^"]+)"', chart)
    assert path is not None
    assert len(points(path.group(1))) == 2
    assert line_chart([Line("m", ((1, float("inf")),))], "x", "y", {}) == ""
    assert "curve" in line_chart([Line("m", ((1, 0.5), (2, 0.5)))], "x", "y", {})


def test_bars_fill_the_row_and_small_parts_have_no_text() -> None:
    bars = stacked_bars([("patients", {"a": 97.0, "b": 3.0}), ("none", {"a": 0.0})], {"a": "#000000"}, "split")
    widths = [float(w) for w in re.findall(r'<rect [^>]*width="([\d.]+)"', bars)]
    assert sum(widths) == pytest.approx(760 - 130, abs=0.2)
    assert "97 %" in bars
    assert ">3 %<" not in bars


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 9))
def test_ticks_lie_inside_and_are_few(low: float, span: float, about: int) -> None:
    found = ticks(low, low + span, about)
    assert 0 < len(found) <= about + 1
    assert all(low - 1e-6 * span <= value <= low + span * (1 + 1e-6) for value in found)
    assert ticks(low, low) == [low]


def test_text_on_colour_is_readable() -> None:
    assert text_colour("#ffffff") == "#000000"
    assert text_colour("#0072B2") == "#ffffff"


def test_numbers_are_written_for_people() -> None:
    assert (count(12345), count(None)) == ("12,345", "–")
    assert (percent(0.1234), percent(None)) == ("12.3 %", "–")
    assert (number(0.25123), number(None)) == ("0.2512", "–")
    assert area(2_500_000) == "2.500"
    assert (data_size(12), data_size(1.5e9), data_size(2e12), data_size(None)) == ("12 B", "1.5 GB", "2.00 TB", "–")
    assert [is_number(t) for t in ("1,234", "5.0 %", "–", "", "a", "1e-3")] == [True, True, True, True, False, True]


def test_a_long_table_is_cut_and_says_so() -> None:
    table = Table.of(("a", "b"), [(str(i), "x") for i in range(10)], limit=4)
    assert len(table.rows) == 4
    assert table.numeric == (True, False)
    assert table.note == "6 more rows are not shown."
    assert Table.of(("a",), []).numeric == (False,)


def test_pictures_are_shrunk_and_damage_is_none(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "wide.png"), np.zeros((100, 2000, 3), np.uint8))
    found = embed(tmp_path / "wide.png", 640)
    assert found is not None
    assert (found.width_px, found.height_px) == (640, 32)
    assert found.uri.startswith("data:image/jpeg;base64,")
    (tmp_path / "bad.png").write_bytes(b"nothing")
    (tmp_path / "empty.png").write_bytes(b"")
    assert embed(tmp_path / "bad.png", 640) is None
    assert embed(tmp_path / "empty.png", 640) is None
    assert embed(tmp_path / "absent.png", 640) is None


def test_notes_of_the_benchmark_are_footnotes(sealed: DatasetTree, put: Put) -> None:
    header = "kind,model,title,miou,options,note"
    rows = [
        "run,hinet,HI-Net,0.8,trunk=resnet18,made up",
        "run,hinet,HI-Net,0.9,,made up",
        "published,unet,U-Net,0.7,,a slip",
    ]
    put(sealed.benchmark_table, "\n".join([header, *rows, "published,fpn,FPN,0.6,,"]) + "\n")
    inputs = read_inputs(sealed)
    table = benchmark_table(inputs)
    assert table is not None
    titles = [row[table.columns.index("title")] for row in table.rows]
    assert titles == ["HI-Net (trunk=resnet18) [1]", "HI-Net [1]", "U-Net [2]", "FPN"]
    assert benchmark_notes(inputs) == ("made up", "a slip")
