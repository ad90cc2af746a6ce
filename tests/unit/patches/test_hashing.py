"""Hashes and apportionment."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from wsiprep.errors import UsageError
from wsiprep.patches.hashing import bin_of, cell_hashes, exact_ratio, largest_remainder, lowest, text_hash


def test_hashes_are_xxh3_64() -> None:
    # The published xxh3_64 (seed 0) of the empty input.
    assert text_hash("") == 0x2D06800538D394C2


def test_cells_have_one_hash_however_it_is_asked_for() -> None:
    x, y = np.array([0, 512, -7]), np.array([3, 0, 9])
    many = cell_hashes("5:s1", x, y)
    assert many.dtype == np.uint64
    assert many.tolist() == [text_hash(f"5:s1:{int(a)}:{int(b)}") for a, b in zip(x, y, strict=True)]


def test_equal_hashes_go_by_row_then_column() -> None:
    x, y = np.array([2, 1, 0, 3]), np.array([1, 1, 2, 0])
    assert lowest(3, np.zeros(4, dtype=np.uint64), x, y).tolist() == [3, 1, 0]


def test_ratios_are_exact_decimals_in_canonical_order() -> None:
    assert exact_ratio({"b": 0.7, "a": 0.3}) == {"a": Fraction(3, 10), "b": Fraction(7, 10)}
    assert list(exact_ratio({"train": 8, "val": 1, "test": 1})) == ["test", "train", "val"]
    for bad in ({}, {"a": 0.0}, {"a": float("inf")}, {"a": float("nan")}, {"a": -1.0}):
        with pytest.raises(UsageError, match="positive parts"):
            exact_ratio(bad)


@pytest.mark.parametrize(
    ("total", "parts", "counts"),
    [
        (10, (8, 1, 1), [8, 1, 1]),
        (0, (8, 1, 1), [0, 0, 0]),
        (1, (8, 1, 1), [1, 0, 0]),
        (7, (8, 1, 1), [5, 1, 1]),
        (5, (1, 1, 1), [2, 2, 1]),
        (3, (1, 1), [2, 1]),
    ],
)
def test_largest_remainder(total: int, parts: tuple[int, ...], counts: list[int]) -> None:
    shares = [Fraction(part, sum(parts)) for part in parts]
    assert largest_remainder(total, shares) == counts


def test_bins_cover_the_span_to_its_last_value() -> None:
    half = 1 << 63
    hashes = np.array([0, half - 1, half, 2**64 - 1], dtype=np.uint64)
    assert bin_of(hashes, [Fraction(1, 2), Fraction(1, 2)]).tolist() == [0, 0, 1, 1]
    assert bin_of(hashes, [Fraction(1)]).tolist() == [0, 0, 0, 0]
