"""Splits: who goes where, in which order of authority, and what is refused."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from wsiprep.config import Split
from wsiprep.errors import SplitError, UsageError
from wsiprep.manifest import SlideRow
from wsiprep.patches import (
    ALL,
    BY_PATCH,
    GroupRow,
    Place,
    assign,
    check_leaks,
    group_rows,
    patch_fold,
    patch_split,
    roles,
    split_table,
)
from wsiprep.patches.hashing import cell_hashes, lowest


def patients(n: int, slides_each: int = 2, **more: Any) -> list[GroupRow]:
    return [
        GroupRow(f"p{p:03}_s{s}", f"p{p:03}", patient=f"p{p:03}", **more) for p in range(n) for s in range(slides_each)
    ]


def row(slide: str, group: str, **more: Any) -> GroupRow:
    return GroupRow(slide, group, patient=group, **more)


def groups_in(rows: list[GroupRow], places: Any) -> Counter[str]:
    return Counter({group: places[slide].key for slide, group in ((r.slide_id, r.group) for r in rows)}.values())


def test_ten_patients_are_cut_eight_one_one() -> None:
    rows = patients(10)
    found = assign(rows, Split())
    assert groups_in(rows, found.places) == {"train": 8, "val": 1, "test": 1}
    assert set(found.provenance.values()) == {"balanced"}
    assert check_leaks(rows, found) == []
    assert not found.leaking
    assert set(found.frozen) == {r.group for r in rows}


@pytest.mark.parametrize("n", [3, 4, 5, 7])
def test_each_split_has_somebody_from_three_patients_on(n: int) -> None:
    rows = patients(n)
    assert groups_in(rows, assign(rows, Split()).places) == {"train": n - 2, "val": 1, "test": 1}


@pytest.mark.parametrize("n", [1, 2])
def test_fewer_patients_than_splits_stop_the_plan(n: int) -> None:
    with pytest.raises(SplitError, match="fewer groups than splits") as caught:
        assign(patients(n), Split())
    assert caught.value.exit_code == 65
    assert "at least 3" in str(caught.value)
    assert "add patients" in str(caught.value)


def test_no_slides_are_no_error() -> None:
    assert assign([], Split()).places == {}


def test_the_order_of_rows_and_of_the_ratio_does_not_matter() -> None:
    rows = patients(23)
    found = assign(rows, Split(ratio={"train": 8, "val": 1, "test": 1}))
    assert assign(rows[::-1], Split(ratio={"test": 1, "val": 1, "train": 8})) == found
    assert assign(rows, Split(seed=1)).places != found.places


def test_an_explicit_split_wins_for_the_whole_patient() -> None:
    rows = [*patients(12), row("x1", "x", split="test"), row("x2", "x")]
    found = assign(rows, Split())
    assert (found.places["x1"], found.places["x2"]) == (Place("test"), Place("test"))
    assert found.provenance["x"] == "explicit"
    assert groups_in(rows, found.places) == {"train": 10, "val": 1, "test": 2}


def test_explicit_wins_over_frozen_and_is_frozen_itself() -> None:
    rows = patients(6, split=None)
    before = assign(rows, Split()).frozen
    moved = [row("p000_s0", "p000", split="holdout" if before["p000"] == "train" else "train"), *rows[1:]]
    split = Split(ratio={"train": 8, "val": 1, "test": 1, "holdout": 1})
    found = assign(moved, split, before)
    assert found.places["p000_s1"].key == moved[0].split
    assert found.frozen["p000"] == moved[0].split
    assert {g: k for g, k in found.frozen.items() if g != "p000"} == {g: k for g, k in before.items() if g != "p000"}


def test_a_fixed_test_set_leaves_train_and_val_to_be_drawn() -> None:
    rows = [*patients(10), *(row(f"t{i}", f"t{i}", split="test") for i in range(3))]
    found = assign(rows, Split(ratio={"train": 4, "val": 1}))
    assert groups_in(rows, found.places) == {"train": 8, "val": 2, "test": 3}


def test_a_split_that_the_manifest_fills_may_be_drawn_empty() -> None:
    rows = [*patients(2), row("t", "t", split="test")]
    assert groups_in(rows, assign(rows, Split()).places) == {"train": 1, "val": 1, "test": 1}
    rows = [row("a", "a", split="train"), *patients(2)]
    assert groups_in(rows, assign(rows, Split()).places) == {"train": 1, "val": 1, "test": 1}
    rows = [row("t", "t", split="test"), row("a", "a", split="train"), row("v", "v")]
    assert assign(rows, Split()).places["v"] == Place("val")


def test_one_patient_in_two_explicit_splits_names_both_slides() -> None:
    rows = [*patients(4), row("x1", "x", split="test", line=7), row("x2", "x", split="train", line=9)]
    with pytest.raises(SplitError, match="'x' in two splits") as caught:
        assign(rows, Split())
    assert "x1 (line 7): test" in str(caught.value)
    assert "x2 (line 9): train" in str(caught.value)
    assert caught.value.exit_code == 65


@pytest.mark.parametrize(
    ("split", "explicit", "word"),
    [
        (Split(), {"split": "trian"}, "trian"),
        (Split(kind="folds"), {"fold": 5}, "0 to 4"),
        (Split(kind="folds"), {"split": "fold1"}, "fold1"),
        (Split(kind="official"), {"split": "Train"}, "Train"),
        (Split(kind="official"), {"split": "all"}, "all"),
    ],
)
def test_places_that_the_recipe_does_not_have(split: Split, explicit: dict[str, Any], word: str) -> None:
    with pytest.raises(SplitError, match=word) as caught:
        assign([*patients(6), row("x", "x", line=4, **explicit)], split)
    assert caught.value.line == 4


def test_later_patients_are_added_by_hash_and_nobody_moves() -> None:
    few, many = patients(10), patients(400)
    first = assign(few, Split())
    later = assign(many, Split(), first.frozen)
    assert {g: later.frozen[g] for g in first.frozen} == first.frozen
    assert Counter(later.provenance.values()) == {"frozen": 10, "hashed": 390}
    count = groups_in(many, later.places)
    assert abs(count["train"] / 400 - 0.8) < 0.06
    assert abs(count["test"] / 400 - 0.1) < 0.05
    assert assign(many, Split(), later.frozen).frozen == later.frozen


def test_a_patient_who_left_keeps_the_place() -> None:
    first = assign(patients(10), Split())
    without = assign(patients(10)[4:], Split(), first.frozen)
    assert without.frozen == first.frozen
    assert assign(patients(10), Split(), without.frozen).places == first.places


def test_a_frozen_assignment_of_other_slides_is_refused() -> None:
    with pytest.raises(SplitError, match="knows none of the groups") as caught:
        assign(patients(5), Split(), {"someone": "train", "else": "test"})
    assert "splits.csv" in str(caught.value)


@pytest.mark.parametrize(("split", "key"), [(Split(), "3"), (Split(kind="folds"), "7"), (Split(kind="folds"), "dev")])
def test_a_frozen_place_of_another_recipe_is_refused(split: Split, key: str) -> None:
    with pytest.raises(SplitError, match=f"p000: {key}"):
        assign(patients(5), split, {"p000": key})


def test_folds_are_a_partition_as_even_as_can_be() -> None:
    rows = patients(13)
    found = assign(rows, Split(kind="folds", folds=5))
    assert sorted(groups_in(rows, found.places).values()) == [2, 2, 3, 3, 3]
    assert {place.split for place in found.places.values()} == {ALL}
    later = assign(patients(30), Split(kind="folds", folds=5), found.frozen)
    assert {g: later.frozen[g] for g in found.frozen} == found.frozen
    with pytest.raises(SplitError, match="fewer groups"):
        assign(patients(4), Split(kind="folds", folds=5))


def test_explicit_folds_and_fixed_splits_in_folds() -> None:
    rows = [*(row(f"a{i}", f"a{i}", fold=i % 3) for i in range(6)), row("t", "t", split="test")]
    found = assign(rows, Split(kind="folds", folds=3))
    assert [found.places[f"a{i}"].fold for i in range(6)] == [0, 1, 2, 0, 1, 2]
    assert found.places["t"] == Place("test")
    again = assign(rows, Split(kind="folds", folds=3), found.frozen)
    assert again.places == found.places
    thawed = assign([*patients(2), row("t", "t")], Split(kind="folds", folds=3), {"t": "test"})
    assert thawed.places["t"] == Place("test")


def test_roles_of_folds() -> None:
    assert roles(0, 3) == {0: "test", 1: "val", 2: "train"}
    assert roles(4, 5) == {4: "test", 0: "val", 1: "train", 2: "train", 3: "train"}
    assert Place(ALL, 0).held_out(4, 5) == "val"
    assert Place("test").held_out(4, 5) == "test"
    for fold, folds in ((3, 3), (-1, 3), (0, 2)):
        with pytest.raises(UsageError, match="no such fold"):
            roles(fold, folds)


def test_official_wants_a_split_for_every_slide() -> None:
    rows = [row("a", "a", split="train"), row("b", "b", split="dev")]
    found = assign(rows, Split(kind="official"))
    assert {s: p.split for s, p in found.places.items()} == {"a": "train", "b": "dev"}
    missing = [row(f"m{i:02}", f"m{i:02}", line=i) for i in range(12)]
    with pytest.raises(SplitError, match="official") as caught:
        assign([*rows, *missing], Split(kind="official"))
    assert "m00 (line 0)" in str(caught.value)
    assert "and 2 more" in str(caught.value)


def test_none_puts_everyone_into_all() -> None:
    rows = [*patients(3), row("x", "x", split="test")]
    found = assign(rows, Split(kind="none"), {"p000": "train"})
    assert set(found.places.values()) == {Place(ALL)}
    assert found.frozen == {"p000": "train"}
    assert check_leaks(rows, found) == []


def test_by_slide_may_tear_patients_apart_and_says_so() -> None:
    rows = [GroupRow(f"s{i}", f"s{i}", patient=f"p{i % 2}") for i in range(20)]
    found = assign(rows, Split(by="slide"))
    assert found.leaking
    assert check_leaks(rows, found) == []
    alone = [GroupRow(f"s{i}", f"s{i}", patient=f"p{i}") for i in range(20)]
    assert not assign(alone, Split(by="slide")).leaking


def test_a_patient_in_two_centres_of_two_splits_stops_the_plan() -> None:
    rows = [GroupRow(f"c{i}_s", f"c{i}", patient="wanderer" if i < 9 else f"p{i}") for i in range(10)]
    with pytest.raises(SplitError, match="one patient in two splits"):
        assign(rows, Split(by="centre"))
    settled = [GroupRow(f"c{i}_s", f"c{i}", patient=f"p{i}") for i in range(10)]
    assert not assign(settled, Split(by="centre")).leaking


def test_by_patch_is_marked_as_leaking() -> None:
    rows = [GroupRow("s1", "s1"), GroupRow("s2", "s2"), GroupRow("t", "t", split="test")]
    found = assign(rows, Split(by="patch"), {"old": "train"})
    assert found.leaking
    assert found.places == {"s1": Place(BY_PATCH), "s2": Place(BY_PATCH), "t": Place("test")}
    assert check_leaks(rows, found) == ["s1", "s2"]
    assert found.frozen == {"old": "train"}


def test_patches_are_dealt_out_by_ratio_and_by_fold() -> None:
    x, y = (np.arange(20_000, dtype=np.int64) * 512 % 64_000, np.arange(20_000, dtype=np.int64) // 125 * 512)
    found = patch_split("s1", x, y, {"train": 8, "val": 1, "test": 1}, 0)
    shares = {name: float((found == name).mean()) for name in ("train", "val", "test")}
    assert shares == pytest.approx({"train": 0.8, "val": 0.1, "test": 0.1}, abs=0.015)
    np.testing.assert_array_equal(found[5:9], patch_split("s1", x[5:9], y[5:9], {"test": 1, "val": 1, "train": 8}, 0))
    assert (patch_split("s2", x, y, {"train": 8, "val": 1, "test": 1}, 0) != found).any()
    drawn = lowest(2000, cell_hashes("0:s1", x, y), x, y)
    assert (found[drawn] == "train").mean() == pytest.approx(0.8, abs=0.05)
    folds = patch_fold("s1", x, y, 4, 0)
    assert np.bincount(folds, minlength=4).min() > 4_700


def test_a_slide_twice_is_a_bug_of_the_caller() -> None:
    with pytest.raises(UsageError, match="twice"):
        assign([*patients(3), *patients(3)], Split())


def manifest_row(slide: str, **more: Any) -> SlideRow:
    return SlideRow(slide_id=slide, raw_id=slide, slide=f"{slide}.tif", slide_ref=f"{slide}.tif", **more)


def test_groups_come_from_the_manifest() -> None:
    rows = [manifest_row("a", patient="p1", centre="c", split="test", line=2), manifest_row("b", centre="d", fold=1)]
    assert [r.group for r in group_rows(rows, "patient")] == ["p1", "b"]
    assert [r.group for r in group_rows(rows, "slide")] == ["a", "b"]
    assert [r.group for r in group_rows(rows, "patch")] == ["a", "b"]
    assert [r.group for r in group_rows(rows, "centre")] == ["c", "d"]
    first, second = group_rows(rows, "patient", {"b": 7.0})
    assert (first.split, first.patient, first.line, first.weight) == ("test", "p1", 2, 1.0)
    assert (second.fold, second.patient, second.weight) == (1, "b", 7.0)
    with pytest.raises(SplitError, match="names none") as caught:
        group_rows([manifest_row("c", line=5)], "centre")
    assert caught.value.line == 5


def test_the_table_says_how_far_slides_and_patches_are_off() -> None:
    rows = [GroupRow(f"s{i}", f"p{i // 2}", weight=float(i)) for i in range(8)]
    frozen = {"p0": "train", "p1": "train", "p2": "train", "p3": "val"}
    found = assign(rows, Split(), frozen)
    table = split_table(rows, found, Split())
    assert [(s.key, s.groups, s.slides, s.weight) for s in table.shares] == [
        ("test", 0, 0, 0.0), ("train", 3, 6, 15.0), ("val", 1, 2, 13.0),
    ]  # fmt: skip
    train = table.shares[1]
    assert (train.asked, train.share_of_groups, train.share_of_slides) == (0.8, 0.75, 0.75)
    assert train.share_of_weight == pytest.approx(15 / 28)
    assert table.to_dict()["leaking"] is False


def test_the_table_of_folds_is_in_their_order_and_none_asks_for_nothing() -> None:
    rows = patients(24)
    split = Split(kind="folds", folds=12)
    table = split_table(rows, assign(rows, split), split)
    assert [share.key for share in table.shares] == [str(fold) for fold in range(12)]
    none = Split(kind="none")
    assert [(s.key, s.asked) for s in split_table(rows, assign(rows, none), none).shares] == [("all", None)]
    assert split_table([], assign([], Split()), Split()).shares[0].share_of_weight == 0.0


def test_the_first_draw_is_pinned() -> None:
    # Existing datasets were drawn so; a change here needs a new major version.
    rows = patients(5, slides_each=1)
    assert assign(rows, Split(ratio={"train": 3, "val": 1, "test": 1})).frozen == {
        "p000": "val",
        "p001": "train",
        "p002": "train",
        "p003": "test",
        "p004": "train",
    }
