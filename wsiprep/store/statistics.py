"""Counts per split, and mean and deviation of the training pixels: exact integer sums, divided once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from wsiprep.store import compute as pc
from wsiprep.store.schema import CHANNELS
from wsiprep.store.splits import TRAIN, fold_numbers, rows_of, split_names


def split_counts(index: pa.Table, labels: Sequence[str], patch_size_px: int) -> dict[str, dict[str, Any]]:
    """Per name in the split column: patches, slides, patients, and pixels per label, background, not annotated."""
    parts = {name: index.filter(pc.equal(index["split"], name)) for name in split_names(index)}
    return {name: _counts(part, labels, patch_size_px) for name, part in parts.items()}


def fold_counts(index: pa.Table, labels: Sequence[str], patch_size_px: int) -> dict[str, dict[str, Any]]:
    """The same per fold; {} without folds."""
    parts = {str(fold): index.filter(pc.equal(index["fold"], fold)) for fold in fold_numbers(index)}
    return {name: _counts(part, labels, patch_size_px) for name, part in parts.items()}


def _counts(part: pa.Table, labels: Sequence[str], patch_size_px: int) -> dict[str, Any]:
    label_px = {label: _total(part, f"{label}_px") for label in labels}
    ignore_px = _total(part, "ignore_px")
    return {
        "patches": part.num_rows,
        "slides": pc.count_distinct(part["slide_id"]).as_py(),
        "patients": pc.count_distinct(part["patient"]).as_py(),
        "label_px": label_px,
        "ignore_px": ignore_px,
        "background_px": part.num_rows * patch_size_px**2 - ignore_px - sum(label_px.values()),
    }


def training_statistics(index: pa.Table, patch_size_px: int, folds: int | None = None) -> dict[str, Any]:
    """Mean and standard deviation per channel (grey levels 0-255) of the pixels that train.

    Only the train split counts; with folds, the training part of each fold that is held out. Nothing
    is taken from another split, so that no test pixel decides how the training pixels are scaled.
    """
    result: dict[str, Any] = {"unit": "grey levels, 0-255"}
    if folds:
        parts = {str(fold): rows_of(index, TRAIN, fold, folds) for fold in range(folds)}
        result["folds"] = {k: channel_statistics(index.take(pa.array(v)), patch_size_px) for k, v in parts.items()}
    elif TRAIN in split_names(index):
        result[TRAIN] = channel_statistics(index.take(pa.array(rows_of(index, TRAIN))), patch_size_px)
    return result


def channel_statistics(rows: pa.Table, patch_size_px: int) -> dict[str, Any]:
    """``n_px``, and ``mean`` and ``std`` (of the population) per channel from the sums of each patch."""
    n = rows.num_rows * patch_size_px**2
    means, deviations = [], []
    for channel in CHANNELS:
        total, squares = _total(rows, f"sum_{channel}"), _total(rows, f"sumsq_{channel}")
        means.append(total / n)
        # Python's integers do not overflow, and one division at the end rounds once.
        deviations.append(math.sqrt((n * squares - total * total) / (n * n)))
    return {"n_px": n, "mean": means, "std": deviations}


def _total(rows: pa.Table, column: str) -> int:
    # A patch's sum of squares may reach 2^42; blocks of 2^20 rows cannot overflow 64 bits.
    values = rows[column].to_numpy().astype(np.uint64)
    return sum(int(block.sum()) for block in np.array_split(values, 1 + len(values) // 2**20))
