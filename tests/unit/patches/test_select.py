"""The keep, tissue, tumour-free and quota rules, at their boundaries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from wsiprep.config import Recipe, recipe_from_mapping
from wsiprep.errors import UsageError
from wsiprep.geometry import Size
from wsiprep.patches import (
    Candidates,
    CellScale,
    Decision,
    decide,
    grid_cells,
    kept_labels,
    split_rule_codes,
    tumour_share,
)

K, UNDER, OVER, UNKNOWN, GLASS, UNDRAWN, QUOTA = (
    Decision.KEPT, Decision.UNDER_MIN, Decision.OVER_MAX, Decision.NOT_ANNOTATED, Decision.NO_TISSUE,
    Decision.TUMOUR_FREE_NOT_SAMPLED, Decision.OVER_QUOTA,
)  # fmt: skip
RULE = {"labels": ["tumour"]}


def recipe(**sections: Any) -> Recipe:
    base = {"name": "demo", "labels": ["tumour", "stroma"], "downsample": 1, "keep": {"rules": [RULE]}}
    return recipe_from_mapping({**base, **sections})


def candidates(tumour: Any, tissue: Any = 1.0, annotated: Any = 1.0, stroma: Any = 0.0) -> Candidates:
    n = len(tumour)
    made = recipe().sampling.model_copy(update={"patch_size_px": 16})
    cells = grid_cells(Size(16 * n, 16), CellScale.square(1), made)
    columns = [np.broadcast_to(np.asarray(v, dtype=np.float64), (n,)).copy() for v in (tissue, annotated)]
    labels = {
        "tumour": np.asarray(tumour, dtype=np.float64),
        "stroma": np.broadcast_to(np.asarray(stroma, dtype=np.float64), (n,)).copy(),
    }
    return Candidates(cells, columns[0], columns[1], labels)


def codes(given: Candidates, made: Recipe, *, annotated: bool = True, **more: Any) -> list[int]:
    return decide(given, made, annotated=annotated, slide_id="s1", **more).codes.tolist()


def test_bounds_are_inclusive_within_a_billionth() -> None:
    shares = [0.05, 0.05 - 5e-10, 0.05 - 2e-9, 0.995, 0.995 + 5e-10, 0.995 + 2e-9, 0.5, 1.0]
    assert codes(candidates(shares), recipe()) == [K, K, UNDER, K, K, OVER, K, OVER]


def test_a_share_made_by_division_is_at_its_bound() -> None:
    # Multiplying and dividing by these rounds, in either direction.
    annotated = np.array([0.7, 0.6, 0.9])
    assert codes(candidates(annotated * 0.05, annotated=annotated), recipe()) == [K, K, K]


def test_the_share_is_of_the_annotated_area_unless_of_the_cell() -> None:
    given = candidates([0.04], annotated=0.5)
    assert codes(given, recipe()) == [K]
    assert codes(given, recipe(keep={"rules": [{**RULE, "of": "cell"}]})) == [UNDER]


def test_less_than_half_annotated_is_rejected_first() -> None:
    given = candidates([0.2, 0.2, 0.2, 0.0, 0.4], annotated=[0.5, 0.5 - 1e-12, 0.49, 0.1, 0.4], tissue=0.0)
    assert codes(given, recipe()) == [K, K, UNKNOWN, UNKNOWN, UNKNOWN]


def test_a_cell_that_nobody_annotated_is_never_tumour_free() -> None:
    made = recipe(keep={"rules": [RULE], "min_annotated": 0.0}, sampling={"tumour_free_per_slide": "all"})
    assert codes(candidates([0.0, 0.0], annotated=[0.0, 0.1]), made) == [UNKNOWN, K]


def test_tissue_matters_for_tumour_free_cells_only() -> None:
    given = candidates([0.5, 0.0, 0.0, 0.0], tissue=[0.0, 0.1, 0.1 - 1e-12, 0.09])
    assert codes(given, recipe(sampling={"tumour_free_per_slide": "all"})) == [K, K, K, GLASS]


def test_a_sliver_of_tumour_is_not_tumour_free() -> None:
    given = candidates([1e-6, 1e-9, 0.0])
    assert codes(given, recipe(sampling={"tumour_free_per_slide": "all"})) == [UNDER, K, K]


def test_tumour_free_cells_are_left_out_by_default() -> None:
    assert codes(candidates([0.0, 0.5, 0.0]), recipe()) == [UNDRAWN, K, UNDRAWN]


def test_a_label_without_a_rule_does_not_make_a_cell_tumour() -> None:
    given = candidates([0.0, 0.3], stroma=[0.9, 0.7])
    assert codes(given, recipe()) == [UNDRAWN, K]
    assert codes(given, recipe(sampling={"tumour_free_per_slide": 1})) == [K, K]


def test_every_rule_must_hold_and_labels_of_a_rule_add_up() -> None:
    both = recipe(keep={"rules": [RULE, {"labels": ["stroma"], "min": 0.2, "max": 0.6}]})
    assert codes(candidates([0.3, 0.3, 0.3, 0.01], stroma=[0.2, 0.1, 0.7, 0.9]), both) == [K, UNDER, OVER, UNDER]
    joint = recipe(keep={"rules": [{"labels": ["tumour", "stroma"], "min": 0.5, "max": 0.9}]})
    assert codes(candidates([0.3, 0.3, 0.0], stroma=[0.2, 0.1, 0.95]), joint) == [K, UNDER, OVER]


def test_slides_without_annotation_know_only_tissue() -> None:
    given = candidates([0.0, 0.0, 0.0], tissue=[0.1, 0.0999, 1.0], annotated=0.0)
    assert codes(given, recipe(), annotated=False) == [K, GLASS, K]


def test_a_normal_slide_is_all_tumour_free() -> None:
    given = candidates([0.0] * 8, tissue=[1.0] * 6 + [0.0] * 2)
    made = recipe(sampling={"tumour_free_per_slide": 4})
    found = codes(given, made)
    assert sorted(found) == [K] * 4 + [GLASS] * 2 + [UNDRAWN] * 2
    assert found[6:] == [GLASS, GLASS]


def test_without_rules_tissue_or_any_label_is_enough() -> None:
    given = candidates([0.0, 0.001, 0.0, 0.0, 1.0], tissue=[1.0, 0.0, 0.0, 0.0, 0.0], stroma=[0.0, 0.0, 0.5, 0.0, 0.0])
    made = recipe(keep={})
    assert kept_labels(made) == ("tumour", "stroma")
    assert codes(given, made) == [K, K, K, GLASS, K]


@pytest.mark.parametrize("annotated", [True, False])
def test_the_quota_comes_last_and_is_nested(annotated: bool) -> None:
    given = candidates([0.5] * 20)
    kept: set[int] = set()
    for quota in (1, 2, 5, 19, 20, 30):
        found = codes(given, recipe(sampling={"max_per_slide": quota}), annotated=annotated)
        now = {i for i, code in enumerate(found) if code == K}
        assert len(now) == min(quota, 20)
        assert kept <= now
        assert set(found) <= {K, QUOTA}
        kept = now


def test_the_draw_depends_on_seed_and_slide_alone() -> None:
    given, made = candidates([0.0] * 60), recipe(sampling={"tumour_free_per_slide": 10})
    first = codes(given, made)
    assert first == codes(given, made)
    assert first != codes(given, recipe(sampling={"tumour_free_per_slide": 10, "seed": 1}))
    assert first != decide(given, made, annotated=True, slide_id="s2").codes.tolist()


def test_the_draw_is_pinned() -> None:
    # The drawn cells decide what a dataset is; a change here needs a new major version.
    given = candidates([0.0] * 12)
    found = decide(given, recipe(sampling={"tumour_free_per_slide": 3}), annotated=True, slide_id="tumor_001")
    assert np.flatnonzero(found.kept).tolist() == [2, 4, 5]


def test_an_excluded_slide_keeps_nothing() -> None:
    assert set(codes(candidates([0.5, 0.0]), recipe(), excluded=True)) == {Decision.EXCLUDED}


def test_rules_limited_to_splits() -> None:
    made = recipe(keep={"rules": [{**RULE, "splits": ["train", "val"]}]})
    given = candidates([0.01, 0.5, 1.0])
    assert codes(given, made) == [K, K, K]
    assert codes(given, made, splits=["train"]) == [UNDER, K, OVER]
    assert codes(given, made, splits=["train", "val"]) == [UNDER, K, OVER]
    assert codes(given, made, splits=["test"]) == [K, K, K]
    assert codes(given, made, splits=["train", "test"]) == [K, K, K]
    assert codes(given, made, splits=[]) == [K, K, K]


def test_seal_applies_the_limited_rules_to_rows() -> None:
    made = recipe(keep={"rules": [{**RULE, "splits": ["train"]}, {"labels": ["stroma"], "min": 0.0, "max": 0.1}]})
    given = candidates([0.01, 0.5, 1.0, 0.0], stroma=[0.5, 0.5, 0.0, 0.0])

    def late(split: str) -> list[int]:
        return split_rule_codes(given.label_fractions, given.annotated_fraction, made.keep, split).tolist()

    assert late("train") == [UNDER, K, OVER, K]
    assert late("test") == [K, K, K, K]


def test_counts_and_kept() -> None:
    found = decide(candidates([0.5, 0.01, 0.0]), recipe(), annotated=True, slide_id="s1")
    assert found.kept.tolist() == [True, False, False]
    assert found.counts == {d: int(d in (K, UNDER, UNDRAWN)) for d in Decision}


def test_no_candidates_no_decisions() -> None:
    empty = candidates([])
    assert codes(empty, recipe(sampling={"max_per_slide": 3})) == []
    assert codes(empty, recipe(), annotated=False) == []


def test_tumour_share_is_zero_where_nothing_is_known() -> None:
    given = candidates([0.25, 0.25, 0.0], annotated=[1.0, 0.5, 0.0])
    assert tumour_share(given, ["tumour"]).tolist() == [0.25, 0.5, 0.0]
    assert tumour_share(given, ["tumour"], "cell").tolist() == [0.25, 0.25, 0.0]
    with pytest.raises(UsageError, match="without fractions"):
        tumour_share(given, ["necrosis"])


def test_candidates_check_their_arrays() -> None:
    good = candidates([0.1, 0.2])
    with pytest.raises(UsageError, match="tissue fractions do not match"):
        Candidates(good.cells, good.tissue_fraction[:1], good.annotated_fraction, good.label_fractions)
    with pytest.raises(UsageError, match="not finite"):
        Candidates(good.cells, good.tissue_fraction, good.annotated_fraction, {"tumour": np.array([0.1, np.nan])})
    with pytest.raises(UsageError, match="without fractions"):
        decide(
            Candidates(good.cells, good.tissue_fraction, good.annotated_fraction, {}),
            recipe(), annotated=True, slide_id="s",
        )  # fmt: skip


def test_codes_on_disk_never_change() -> None:
    assert [(d.name, int(d)) for d in Decision] == [
        ("KEPT", 0), ("UNDER_MIN", 1), ("OVER_MAX", 2), ("NOT_ANNOTATED", 3), ("NO_TISSUE", 4),
        ("TUMOUR_FREE_NOT_SAMPLED", 5), ("OVER_QUOTA", 6), ("EXCLUDED", 7), ("ANCHOR_NOT_NEEDED", 8),
    ]  # fmt: skip
