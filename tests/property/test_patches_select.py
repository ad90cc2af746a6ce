"""The rules for cells, for any fractions: nested draws, no rule broken, order and company without influence."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wsiprep.config import Recipe, Sampling, recipe_from_mapping
from wsiprep.geometry import Box, Size
from wsiprep.patches import Candidates, Cells, CellScale, Decision, decide, grid_cells, lost_lesions, share_histogram
from wsiprep.patches.lesions import Lesions

UNIT = st.floats(0, 1, width=32) | st.sampled_from([0.0, 0.05, 0.1, 0.5, 0.995, 1.0])


def recipe(**sampling: Any) -> Recipe:
    rules = [{"labels": ["tumour"]}]
    return recipe_from_mapping({"name": "x", "downsample": 1, "sampling": sampling, "keep": {"rules": rules}})


@st.composite
def candidates(draw: st.DrawFn) -> Candidates:
    columns, rows = draw(st.integers(1, 8)), draw(st.integers(1, 8))
    cells = grid_cells(Size(16 * columns, 16 * rows), CellScale.square(1), Sampling(patch_size_px=16))
    n = columns * rows
    column = hnp.arrays(np.float64, n, elements=UNIT)
    annotated = draw(column)
    tumour = draw(column) * annotated * draw(hnp.arrays(np.bool_, n))
    return Candidates(cells, draw(column), annotated, {"tumour": tumour})


@given(candidates(), st.integers(0, 70), st.integers(0, 70), st.integers(0, 3))
def test_a_larger_draw_is_a_superset(found: Candidates, n: int, m: int, seed: int) -> None:
    low, high = sorted((n, m))
    few = decide(found, recipe(tumour_free_per_slide=low, seed=seed), annotated=True, slide_id="s")
    many = decide(found, recipe(tumour_free_per_slide=high, seed=seed), annotated=True, slide_id="s")
    every = decide(found, recipe(tumour_free_per_slide="all", seed=seed), annotated=True, slide_id="s")
    assert (few.kept <= many.kept).all()
    assert (many.kept <= every.kept).all()
    free = found.label_fractions["tumour"] <= 1e-9
    assert (few.kept & free).sum() == min(low, (every.kept & free).sum())


@given(candidates(), st.integers(1, 70), st.integers(1, 70))
def test_a_larger_quota_is_a_superset(found: Candidates, n: int, m: int) -> None:
    low, high = sorted((n, m))
    few = decide(found, recipe(max_per_slide=low), annotated=False, slide_id="s").kept
    many = decide(found, recipe(max_per_slide=high), annotated=False, slide_id="s").kept
    assert (few <= many).all()
    assert few.sum() <= low


@given(candidates(), st.integers(0, 20))
def test_kept_cells_obey_the_rules_and_every_other_cell_breaks_one(found: Candidates, n: int) -> None:
    decisions = decide(found, recipe(tumour_free_per_slide=n), annotated=True, slide_id="s")
    for i, code in enumerate(decisions.codes.tolist()):
        tissue, known = found.tissue_fraction[i], found.annotated_fraction[i]
        tumour = found.label_fractions["tumour"][i]
        if known < 0.5 - 1e-9:
            assert code == Decision.NOT_ANNOTATED
        elif tumour <= 1e-9:
            expected = {Decision.NO_TISSUE} if tissue < 0.1 - 1e-9 else {0, Decision.TUMOUR_FREE_NOT_SAMPLED}
            assert code in expected
        elif tumour / known < 0.05 - 1e-9:
            assert code == Decision.UNDER_MIN
        elif tumour / known > 0.995 + 1e-9:
            assert code == Decision.OVER_MAX
        else:
            assert code == Decision.KEPT
    assert sum(decisions.counts.values()) == len(found)


@given(candidates(), st.integers(0, 20), st.integers(1, 40), st.randoms(use_true_random=False))
def test_the_order_of_cells_does_not_matter(found: Candidates, n: int, quota: int, random: Any) -> None:
    order = np.array(random.sample(range(len(found)), len(found)), dtype=np.intp)
    shuffled = Candidates(
        found.cells.take(order), found.tissue_fraction[order], found.annotated_fraction[order],
        {"tumour": found.label_fractions["tumour"][order]},
    )  # fmt: skip
    made = recipe(tumour_free_per_slide=n, max_per_slide=quota)
    codes = decide(found, made, annotated=True, slide_id="s").codes
    np.testing.assert_array_equal(decide(shuffled, made, annotated=True, slide_id="s").codes, codes[order])


@given(
    st.integers(0, 5000),
    st.integers(0, 5000),
    st.integers(1, 5),
    st.integers(16, 600),
    st.integers(1, 700),
    st.booleans(),
)
def test_grids_stay_on_the_slide_and_padded_ones_cover_it(
    width: int, height: int, downsample: int, size_px: int, stride_px: int, pad: bool
) -> None:
    stride_px = max(stride_px, 40)
    sampling = Sampling(patch_size_px=size_px, stride_px=stride_px, edge="pad" if pad else "drop")
    cells = grid_cells(Size(width, height), CellScale.square(downsample), sampling)
    order = cells.y_lv0 * 10_000 + cells.x_lv0
    assert (np.diff(order) > 0).all()
    assert (cells.x_lv0 == cells.col * stride_px * downsample).all()
    if not pad:
        assert (cells.x_lv0 + cells.width_lv0 <= width).all()
        assert (cells.y_lv0 + cells.height_lv0 <= height).all()
        return
    assert (cells.x_lv0 < width).all()
    assert (cells.y_lv0 < height).all()
    if stride_px <= size_px and width and height:
        assert cells.x_lv0.max() + cells.width_lv0[0] >= width
        assert cells.y_lv0.max() + cells.height_lv0[0] >= height


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=12, unique=True),
    st.lists(st.tuples(*[st.floats(-5, 75)] * 2, *[st.floats(0.125, 40)] * 2), max_size=8),
    st.integers(1, 20),
)
def test_lost_lesions_are_those_that_meet_no_cell_one_by_one(
    corners: list[tuple[int, int]], boxes: list[tuple[float, float, float, float]], side: int
) -> None:
    kept = Cells.of_boxes([Box(x, y, side, side) for x, y in corners], side)
    m = len(boxes)
    bounds = np.array([(a, b, a + w, b + h) for a, b, w, h in boxes], dtype=np.float64).reshape(m, 4)
    given_lesions = Lesions(np.arange(m), ("tumour",) * m, np.ones(m), bounds)
    lost = lost_lesions("s", given_lesions, kept, np.ones(len(kept), dtype=np.bool_))
    alone = [
        i
        for i, (x0, y0, x1, y1) in enumerate(bounds.tolist())
        if not any(a < x1 and a + side > x0 and b < y1 and b + side > y0 for a, b in corners)
    ]
    assert [lesion.index for lesion in lost] == alone


@given(
    hnp.arrays(np.float64, st.integers(0, 50), elements=UNIT), hnp.arrays(np.float64, st.integers(0, 50), elements=UNIT)
)
def test_histograms_count_everything_and_add_up(first: Any, second: Any) -> None:
    both = share_histogram(first) + share_histogram(second)
    assert both == share_histogram(np.concatenate([first, second]))
    assert both.tumour_free + sum(both.bins) == len(first) + len(second)
