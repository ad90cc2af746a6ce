"""Splits, for any cohort: exact counts, nobody moves, nobody is in two of them, order without influence."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from wsiprep.config import Split
from wsiprep.patches import Assignment, GroupRow, assign, check_leaks, roles, split_table
from wsiprep.patches.hashing import exact_ratio, largest_remainder

PARTS = st.integers(1, 20) | st.sampled_from([0.1, 0.15, 0.7, 2.5])
RATIOS = st.dictionaries(st.sampled_from(["train", "val", "test", "holdout", "dev"]), PARTS, min_size=1, max_size=5)
PATIENTS = st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=6), unique=True, min_size=5, max_size=60)


def cohort(patients: list[str], slides_each: int = 2) -> list[GroupRow]:
    return [GroupRow(f"{p}/{s}", p, patient=p) for p in patients for s in range(slides_each)]


def counts(rows: list[GroupRow], found: Assignment) -> Counter[str]:
    return Counter({row.group: found.places[row.slide_id].key for row in rows}.values())


@given(st.integers(0, 500), RATIOS)
def test_largest_remainder_is_less_than_one_off(total: int, ratio: dict[str, float]) -> None:
    shares = tuple(exact_ratio(ratio).values())
    found = largest_remainder(total, shares)
    assert sum(shares) == 1
    assert sum(found) == total
    assert all(abs(count - share * total) < 1 for count, share in zip(found, shares, strict=True))


@given(PATIENTS, RATIOS, st.integers(0, 5))
def test_the_first_draw_is_less_than_one_off_but_for_splits_that_were_empty(
    patients: list[str], ratio: dict[str, float], seed: int
) -> None:
    rows = cohort(patients)
    found = assign(rows, Split(ratio=ratio, seed=seed))
    count, shares = counts(rows, found), exact_ratio(ratio)
    assert set(count) == set(ratio)
    plain = dict(zip(shares, largest_remainder(len(patients), tuple(shares.values())), strict=True))
    if all(plain.values()):
        assert count == plain
    assert sum(max(0, plain[name] - count[name]) for name in plain) == sum(1 for n in plain.values() if n == 0)


@given(PATIENTS, st.integers(0, 3), st.randoms(use_true_random=False), st.sampled_from(["ratio", "folds"]))
def test_the_order_of_rows_does_not_matter(patients: list[str], seed: int, random: Any, kind: Any) -> None:
    rows = cohort(patients)
    split = Split(kind=kind, seed=seed)
    assert assign(random.sample(rows, len(rows)), split) == assign(rows, split)


@given(PATIENTS, st.lists(st.integers(1, 55), max_size=3), st.sampled_from(["ratio", "folds"]))
def test_adding_slides_moves_nobody(patients: list[str], steps: list[int], kind: Any) -> None:
    split = Split(kind=kind)
    frozen: dict[str, str] = {}
    for n in sorted({5, *(min(5 + step, len(patients)) for step in steps), len(patients)}):
        found = assign(cohort(patients[:n]), split, frozen)
        assert frozen.items() <= found.frozen.items()
        assert check_leaks(cohort(patients[:n]), found) == []
        frozen = dict(found.frozen)
    # More slides of known patients follow them.
    more = assign(cohort(patients, slides_each=3), split, frozen)
    assert more.frozen == frozen
    assert {more.places[f"{p}/2"].key == frozen[p] for p in patients} == {True}


@given(PATIENTS, st.data())
def test_explicit_patients_are_where_the_manifest_says(patients: list[str], data: st.DataObject) -> None:
    pinned = data.draw(st.dictionaries(st.sampled_from(patients), st.sampled_from(["train", "val", "test"])))
    assume(len(patients) - len(pinned) >= 3 or len(pinned) == len(patients))
    rows = [
        GroupRow(f"{p}/{s}", p, split=pinned.get(p) if s == 0 else None, patient=p) for p in patients for s in range(2)
    ]
    found = assign(rows, Split())
    assert check_leaks(rows, found) == []
    for patient, split in pinned.items():
        assert {found.places[f"{patient}/{s}"].key for s in range(2)} == {split}
        assert found.provenance[patient] == "explicit"
    again = assign(rows, Split(), found.frozen)
    assert again.places == found.places


@given(PATIENTS, st.integers(3, 5))
def test_folds_partition_the_cohort_and_each_is_held_out_once(patients: list[str], k: int) -> None:
    rows = cohort(patients)
    found = assign(rows, Split(kind="folds", folds=k))
    assert max(counts(rows, found).values()) - min(counts(rows, found).values()) <= 1
    for row in rows:
        seen = Counter(found.places[row.slide_id].held_out(fold, k) for fold in range(k))
        assert seen == {"test": 1, "val": 1, "train": k - 2}


@given(st.integers(3, 30), st.data())
def test_roles_leave_no_fold_out(k: int, data: st.DataObject) -> None:
    fold = data.draw(st.integers(0, k - 1))
    found = roles(fold, k)
    assert sorted(found) == list(range(k))
    assert Counter(found.values()) == {"test": 1, "val": 1, "train": k - 2}


@given(PATIENTS, RATIOS)
def test_the_table_adds_up(patients: list[str], ratio: dict[str, float]) -> None:
    rows = cohort(patients)
    split = Split(ratio=ratio)
    shares = split_table(rows, assign(rows, split), split).shares
    assert sum(share.groups for share in shares) == len(patients)
    assert sum(share.slides for share in shares) == len(rows)
    assert abs(sum(share.share_of_weight for share in shares) - 1) < 1e-9
    assert abs(Fraction(1) - sum(Fraction(share.asked or 0) for share in shares)) < 1e-9
