"""Who is in which split: selecting rows of the index, and finding groups that are in two places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from wsiprep.errors import UsageError
from wsiprep.store import compute as pc
from wsiprep.store.schema import SPLIT_ALL

TRAIN = "train"
_FOLD_SPLITS = ("train", "val", "test")
"""What a fold is, by which one is held out."""

GROUP_COLUMN = {"patient": "patient", "centre": "centre", "slide": "slide_id"}
"""What must not be in two splits, by ``recipe.split.by``; patches of one slide may where it says so."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Split and fold of each patch of one shard, in row order; a split of None leaves the patch out.

    ``patient``: of each patch, where the tiles of a collection have their own; None for the slide's.
    """

    split: Sequence[str | None]
    fold: Sequence[int | None]
    patient: Sequence[str] | None = None


class Assignment(Protocol):
    """Places the patches of one slide.

    Args:
        slide_id: the slide.
        rows: its patches, ``schema.rows_schema``.
    """

    def __call__(self, slide_id: str, rows: pa.Table) -> Placement: ...


def by_slide(places: Mapping[str, tuple[str | None, int | None]]) -> Assignment:
    """An assignment of whole slides: slide id -> (split, fold).

    Raises:
        UsageError: (when called) a slide that has no place.
    """

    def assign(slide_id: str, rows: pa.Table) -> Placement:
        if slide_id not in places:
            raise UsageError("a slide has no place in the split", got=slide_id, fix="run plan again")
        split, fold = places[slide_id]
        return Placement([split] * rows.num_rows, [fold] * rows.num_rows)

    return assign


def rows_of(index: pa.Table, name: str, fold: int | None = None, folds: int | None = None) -> npt.NDArray[np.int64]:
    """Row numbers of a split, ascending.

    Args:
        index: ``schema.index_schema``.
        name: a split, or ``all``.
        fold: with k folds, the one that is held out: it tests, the next one validates, the others
            train (``patches.roles``). Patches without a fold are in the split that they name.
        folds: how many folds there are.

    Raises:
        UsageError: no such fold, or no patch is in that split.
    """
    if name == SPLIT_ALL:
        return np.arange(index.num_rows, dtype=np.int64)
    chosen = pc.equal(index["split"], name)
    if fold is not None:
        if not folds:
            raise UsageError("the dataset has no folds", got=f"fold {fold}", expected="a split by its name alone")
        from wsiprep.patches import roles  # the package brings shapely along; only folds need it

        mine = [number for number, role in roles(fold, folds).items() if role == name]
        in_mine = pc.is_in(index["fold"], value_set=pa.array(mine, pa.int32()))
        chosen = pc.if_else(pc.is_valid(index["fold"]), in_mine, chosen)
    rows = np.flatnonzero(chosen.to_numpy(zero_copy_only=False)).astype(np.int64)
    if rows.size == 0:
        got = name if fold is None else f"{name}, fold {fold}"
        expected = ", ".join(dict.fromkeys([*available_splits(index, folds), SPLIT_ALL]))
        fix = f"name a fold too, 0 to {folds - 1}" if folds and fold is None else None
        raise UsageError("no patch is in this split", got=got, expected=expected, fix=fix)
    return rows


def available_splits(index: pa.Table, folds: int | None = None) -> list[str]:
    """Names that ``rows_of`` knows; with folds also those whose patches depend on the fold held out."""
    named = split_names(index)
    if not folds:
        return named
    return sorted({*named, *_FOLD_SPLITS} - {SPLIT_ALL})


def split_names(index: pa.Table) -> list[str]:
    """Names in the split column, sorted."""
    return sorted(pc.unique(index["split"]).to_pylist())


def fold_numbers(index: pa.Table) -> list[int]:
    """Numbers in the fold column, sorted; none without folds."""
    return sorted(f for f in pc.unique(index["fold"]).to_pylist() if f is not None)


def leaks(index: pa.Table, by: str) -> list[tuple[str, list[str]]]:
    """(group, its places) of every group that is in more than one split or fold, sorted.

    Args:
        by: ``recipe.split.by``; nothing leaks where the recipe splits by patch, which says so. By slide, each
            tile of a collection is one by itself.
    """
    column = GROUP_COLUMN.get(by)
    if column is None or index.num_rows == 0:
        return []
    if column == "slide_id" and "tile" in index.column_names:
        tiles = pc.binary_join_element_wise(index["slide_id"], index["tile"], "/")
        index = index.set_column(
            index.column_names.index("slide_id"), "slide_id", pc.coalesce(tiles, index["slide_id"])
        )
    pairs = index.select([column, "split", "fold"]).group_by([column, "split", "fold"]).aggregate([])
    places: dict[str, list[str]] = {}
    for row in pairs.to_pylist():
        if row[column] is not None:
            where = row["split"] if row["fold"] is None else f"{row['split']} fold {row['fold']}"
            places.setdefault(row[column], []).append(where)
    return sorted((group, sorted(where)) for group, where in places.items() if len(where) > 1)
