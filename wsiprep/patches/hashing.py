"""Seeded hashes that decide draws: the same on every machine and for every order of the input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import xxhash

from wsiprep.errors import UsageError

HASH_SPAN = 1 << 64


def text_hash(text: str) -> int:
    """xxh3_64 of the UTF-8 bytes of ``text``, in [0, 2^64)."""
    return xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogateescape"))


def cell_hashes(
    prefix: str,
    x_lv0: npt.NDArray[np.int64],
    y_lv0: npt.NDArray[np.int64],
    tile: npt.NDArray[np.int32] | None = None,
) -> npt.NDArray[np.uint64]:
    """uint64 (n,): hash of ``{prefix}:{x}:{y}`` for each cell at level-0 pixels (x, y); of ``{prefix}/{tile}:...``
    for the tiles of a collection beyond the first.
    """
    tiles = [0] * len(x_lv0) if tile is None else tile.tolist()
    places = zip(tiles, x_lv0.tolist(), y_lv0.tolist(), strict=True)
    texts = (f"{prefix}/{t}:{x}:{y}" if t else f"{prefix}:{x}:{y}" for t, x, y in places)
    return np.fromiter((text_hash(text) for text in texts), dtype=np.uint64, count=len(x_lv0))


def lowest(
    count: int, hashes: npt.NDArray[np.uint64], x_lv0: npt.NDArray[np.int64], y_lv0: npt.NDArray[np.int64]
) -> npt.NDArray[np.intp]:
    """Indices of the ``count`` lowest hashes; equal hashes go by (y, x). A larger count is a superset."""
    return np.lexsort((x_lv0, y_lv0, hashes))[:count]


def exact_ratio(ratio: Mapping[str, float]) -> dict[str, Fraction]:
    """Shares that sum to exactly 1, by name.

    Names are sorted because the order of a recipe's keys is not part of its digest: a recipe and its
    resolved copy must draw the same split. ``0.7`` means 7/10, not its nearest binary fraction.

    Raises:
        UsageError: the ratio is empty or has a part that is not positive and finite.
    """
    if not ratio or not all(0 < value < float("inf") for value in ratio.values()):
        raise UsageError("a ratio needs positive parts", got=dict(ratio), expected="for example train 8, val 1, test 1")
    parts = {name: Fraction(repr(float(ratio[name]))) for name in sorted(ratio)}
    total = sum(parts.values())
    return {name: part / total for name, part in parts.items()}


def largest_remainder(total: int, shares: Sequence[Fraction]) -> list[int]:
    """Whole numbers that sum to ``total``, each less than 1 away from ``share * total``.

    The method of Hamilton: floors first, then one more for the largest remainders; ties go to the
    larger share, then to the earlier one.
    """
    quotas = [share * total for share in shares]
    counts = [int(quota) for quota in quotas]
    order = sorted(range(len(shares)), key=lambda i: (counts[i] - quotas[i], -shares[i], i))
    for i in order[: total - sum(counts)]:
        counts[i] += 1
    return counts


def bin_of(hashes: npt.NDArray[np.uint64], shares: Sequence[Fraction]) -> npt.NDArray[np.intp]:
    """The bin of each hash where [0, 2^64) is cut in proportion to ``shares`` (which sum to 1)."""
    bounds, reached = [], Fraction(0)
    for share in shares[:-1]:
        reached += share
        bounds.append(int(reached * HASH_SPAN))
    return np.searchsorted(np.array(bounds, dtype=np.uint64), hashes, side="right")
