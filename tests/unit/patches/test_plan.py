"""Plans in numbers: counts, histograms, what is lost, what it costs."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from wsiprep.config import Recipe, Sampling, recipe_from_mapping
from wsiprep.errors import PlanError, UsageError
from wsiprep.geometry import Box, Size
from wsiprep.patches import (
    Candidates,
    Cells,
    CellScale,
    Decision,
    Lesions,
    LostLesion,
    SlidePlan,
    dataset_plan,
    decide,
    grid_cells,
    lost_lesions,
    require_enough,
    share_histogram,
    slide_plan,
)

SIDE = 16


def recipe(**sections: Any) -> Recipe:
    base = {"name": "demo", "downsample": 1, "keep": {"rules": [{"labels": ["tumour"]}]}}
    return recipe_from_mapping({**base, **sections})


def planned(
    slide_id: str, tumour: list[float], tissue: list[float] | None = None, *, annotated: bool = True, **more: Any
) -> SlidePlan:
    n = len(tumour)
    cells = grid_cells(Size(SIDE * 2 * n, SIDE * 2), CellScale.square(2), Sampling(patch_size_px=SIDE))
    known = np.full(n, 1.0 if annotated else 0.0)
    given = Candidates(cells, np.array(tissue or [1.0] * n), known, {"tumour": np.array(tumour)})
    decisions = decide(given, recipe(), annotated=annotated, slide_id=slide_id)
    return slide_plan(slide_id, given, decisions, recipe(), annotated=annotated, source_factor=1, **more)


def boxes(*bounds: tuple[float, float, float, float]) -> Lesions:
    n = len(bounds)
    return Lesions(np.arange(n), ("tumour",) * n, np.full(n, 5.0), np.array(bounds, dtype=np.float64).reshape(n, 4))


def cells_at(*corners: tuple[int, int], side: int = 10) -> Cells:
    return Cells.of_boxes([Box(x, y, side, side) for x, y in corners], side)


def test_a_slide_is_counted_by_decision() -> None:
    plan = planned("s1", [0.5, 0.01, 1.0, 0.0, 0.0], [1.0, 0.0, 1.0, 1.0, 0.0])
    assert {d.name: n for d, n in plan.counts.items() if n} == {
        "KEPT": 1, "UNDER_MIN": 1, "OVER_MAX": 1, "TUMOUR_FREE_NOT_SAMPLED": 1, "NO_TISSUE": 1,
    }  # fmt: skip
    assert (plan.cells, plan.kept, plan.tissue_cells, plan.best_share) == (5, 1, 3, 1.0)


def test_histograms_before_and_after() -> None:
    plan = planned("s1", [0.5, 0.01, 1.0, 0.0])
    assert plan.before.tumour_free == 1
    assert [i for i, n in enumerate(plan.before.bins) if n] == [0, 10, 19]
    assert plan.after.tumour_free == 0
    assert [i for i, n in enumerate(plan.after.bins) if n] == [10]


def test_shares_on_an_edge_belong_above_it() -> None:
    found = share_histogram(np.array([0.05, 0.05 - 1e-12, 0.15, 0.3, 0.1 + 0.2, 0.95, 1.0, 1.0 + 1e-12, 1e-10]))
    assert {i: n for i, n in enumerate(found.bins) if n} == {1: 2, 3: 1, 6: 2, 19: 3}
    assert found.tumour_free == 1
    assert sum((found + found).bins) == 16


def test_the_forecast_is_of_kept_patches_at_the_level_that_is_read() -> None:
    cost = planned("s1", [0.5, 0.5, 0.0]).forecast
    assert (cost.patches, cost.pixels_decoded, cost.raw_bytes) == (2, 2 * 32 * 32, 2 * 16 * 16 * 4)


def test_a_slide_without_annotation_has_no_shares() -> None:
    plan = planned("s1", [0.0, 0.0], annotated=False)
    assert plan.kept == 2
    assert plan.best_share is None
    assert (plan.before.tumour_free, sum(plan.before.bins)) == (0, 0)


@pytest.mark.parametrize(
    ("tumour", "tissue", "reason"),
    [
        ([0.01, 0.02, 1.0], None, "under_min"),
        ([0.01, 1.0], None, "under_min"),
        ([0.0, 0.0, 0.01], [0.0, 0.0, 1.0], "under_min"),
        ([0.0, 0.0, 1.0, 1.0, 0.01], None, "over_max"),
        ([0.0, 0.0, 0.0], [0.0, 0.0, 1.0], "tumour_free_not_sampled"),
        ([0.0, 0.0], [0.0, 0.0], "no_tissue"),
        ([], None, "no_cells"),
    ],
)
def test_a_slide_that_keeps_nothing_says_why(tumour: list[float], tissue: list[float] | None, reason: str) -> None:
    plan = planned("s1", tumour, tissue)
    assert plan.kept == 0
    assert plan.reason == reason


def test_a_dataset_adds_its_slides_up_in_any_order() -> None:
    slides = [planned("b", [0.5, 0.0]), planned("a", [0.01, 0.02]), planned("c", [0.3, 0.3])]
    plan = dataset_plan(slides)
    record = plan.to_dict()
    assert record == dataset_plan(slides[::-1]).to_dict()
    assert [slide["slide_id"] for slide in record["slides"]] == ["a", "b", "c"]
    assert (record["cells"], record["kept"], record["counts"]["under_min"]) == (6, 3, 2)
    assert record["keep_nothing"] == [{"slide_id": "a", "reason": "under_min", "best_share": 0.02}]
    assert sum(record["shares_before"]["bins"]) == 5
    assert sum(record["shares_after"]["bins"]) == 3
    assert record["forecast"]["patches"] == 3
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_an_empty_dataset_still_has_a_record() -> None:
    record = dataset_plan([]).to_dict()
    assert (record["cells"], record["forecast"]["raw_bytes"], len(record["shares_before"]["bins"])) == (0, 0, 20)


def test_lesions_without_a_patch_are_listed() -> None:
    # Cells of 32 level-0 px from x = 0; the middle one is kept.
    lesions = boxes((0, 0, 32, 32), (40, 0, 50, 10), (64, 0, 70, 9), (30, 5, 33, 6))
    plan = planned("s1", [0.01, 0.5, 0.01], lesions=lesions)
    assert [lost.index for lost in plan.lost] == [0, 2]
    assert (plan.lost[1].x_lv0, plan.lost[1].label, plan.lost[1].area_px) == (64.0, "tumour", 5.0)
    assert plan.to_dict()["lost_lesions"] == 2
    assert [entry["index"] for entry in dataset_plan([plan]).to_dict()["lost_lesions"]] == [0, 2]


def lost(slide_id: str, lesions: Lesions, kept: Cells) -> tuple[LostLesion, ...]:
    return lost_lesions(slide_id, lesions, kept, np.ones(len(kept), dtype=np.bool_))


def test_touching_is_not_meeting() -> None:
    kept = cells_at((10, 10))
    lesions = boxes((0, 0, 10, 10), (20, 10, 30, 20), (19.5, 19.5, 30, 30), (0, 0, 10.5, 10.5), (12, 12, 13, 13))
    assert [lesion.index for lesion in lost("s", lesions, kept)] == [0, 1]


def test_a_lesion_between_two_kept_cells_is_lost() -> None:
    kept = cells_at((0, 0), (50, 50))
    lesions = boxes((50, 0, 60, 10), (20, 20, 40, 40), (5, 5, 55, 55))
    assert [lesion.index for lesion in lost("s", lesions, kept)] == [0, 1]


def test_without_kept_cells_every_lesion_is_lost() -> None:
    assert len(lost("s", boxes((0, 0, 9, 9), (5, 5, 6, 6)), cells_at())) == 2
    assert lost("s", boxes(), cells_at((0, 0))) == ()


def test_where_the_cells_of_a_lesion_are_known_its_bounding_box_does_not_count() -> None:
    # An L around the kept cell: its box meets the cell, its area does not.
    cells = cells_at((0, 0), (10, 0), (20, 0))
    lesions = replace(
        boxes((0, 0, 30, 30), (0, 0, 30, 30), (0, 0, 30, 30)), cells=(np.array([0, 2]), np.array([1]), None)
    )
    kept = np.array([False, True, False])
    assert [lesion.index for lesion in lost_lesions("s", lesions, cells, kept)] == [0]


def test_lesions_check_their_arrays() -> None:
    with pytest.raises(UsageError, match="differ in length"):
        Lesions(np.arange(2), ("tumour",), np.ones(1), np.zeros((1, 4)))
    assert len(boxes((0, 0, 1, 1))) == 1


def test_too_many_failures_stop_the_plan() -> None:
    plan = dataset_plan([planned("a", [0.5]), planned("b", [0.5]), planned("c", [0.5])])
    require_enough(plan, {}, 0.0)
    require_enough(plan, {"d": "damaged"}, 0.25)
    for failed, allowed in (({"d": "damaged"}, 0.0), ({"d": "damaged"}, 0.24), ({"d": "x", "e": "damaged"}, 0.25)):
        with pytest.raises(PlanError, match="slides failed") as caught:
            require_enough(plan, failed, allowed)
        assert caught.value.exit_code == 65
        assert "damaged" in str(caught.value)


def test_the_share_that_may_fail_is_not_undone_by_rounding() -> None:
    plan = dataset_plan([planned("a", [0.5])] * 71)
    failed = {f"f{i}": "damaged" for i in range(29)}
    require_enough(plan, failed, 0.29)
    with pytest.raises(PlanError):
        require_enough(plan, failed, 0.28)


def test_a_plan_that_keeps_nothing_stops() -> None:
    with pytest.raises(PlanError, match="no cell of any slide is kept") as caught:
        require_enough(dataset_plan([planned("a", [0.01])]), {}, 0.0)
    assert "a: under_min" in str(caught.value)
    with pytest.raises(PlanError, match="no slides"):
        require_enough(dataset_plan([]), {}, 0.0)


def test_every_decision_has_a_name_in_the_record() -> None:
    assert set(planned("a", [0.5]).to_dict()["counts"]) == {decision.name.lower() for decision in Decision}
