"""The part of ``verify`` that asks whether the splits are apart, from the tables alone.

Who is in which split was decided by ``plan`` and checked by ``seal``. This asks again, of what was
written: a table that was edited, or sealed by a version with a fault, must not pass because the
record says that all is well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from wsiprep.store import compute as pc
from wsiprep.store.splits import leaks

_OWN_COLUMNS = ("patient", "centre")
"""Columns of the index that are the slide's and stand in the slides' table as well."""


def leak_faults(index: pa.Table, record: Mapping[str, Any], path: Path) -> Iterator[tuple[str, Path, str]]:
    """(kind, path, message) of every group, and every patient, in more than one split or fold.

    Patients are looked at whatever the split is by: a split by slide, and one by patch, may tear them apart
    only where the record says that the dataset leaks. That is recomputed too.

    Args:
        index: ``schema.index_schema``.
        record: ``dataset.json``.
        path: of the index.
    """
    by, marked = record["split"]["by"], record["split"]["leaks"]
    patients = leaks(index, "patient")
    found = {} if by == "patient" else {(by, group): where for group, where in leaks(index, by)}
    if by == "patient" or not marked:
        found |= {("patient", group): where for group, where in patients}
    for (kind, group), where in sorted(found.items()):
        yield "leak", path, f"{kind} {group} is in {', '.join(where)}"
    if marked and by != "patch" and not patients:
        yield "inconsistent", path.with_name("dataset.json"), "it says that patients are torn apart, and none is"


def slides_faults(
    index: pa.Table, slides: pa.Table, record: Mapping[str, Any], path: Path
) -> Iterator[tuple[str, Path, str]]:
    """(kind, path, message) where the slides' table and the index disagree about whose a slide is, and of one
    slide file in two splits.

    Args:
        index: ``schema.index_schema``.
        slides: ``slides.parquet``.
        record: ``dataset.json``.
        path: of the index.
    """
    table = path.with_name("slides.parquet")
    missing = [name for name in ("slide_id", *_OWN_COLUMNS) if name not in slides.column_names]
    if missing:
        yield "inconsistent", table, f"it has no column {', '.join(missing)}"
        return
    rows: dict[str, dict[str, Any]] = {}
    for row in slides.to_pylist():
        if row["slide_id"] in rows:
            yield "inconsistent", table, f"it has two rows of {row['slide_id']}"
        rows[row["slide_id"]] = row
    for name in sorted(rows.keys() ^ set(record["slides"])):
        yield "inconsistent", table, f"it or the record lacks {name}"
    # Tiles of a collection have patients of their own, which no row of the slides' table names.
    whole = index.filter(pc.is_null(index["tile"])) if "tile" in index.column_names else index
    owners = whole.select(["slide_id", *_OWN_COLUMNS]).group_by(["slide_id", *_OWN_COLUMNS]).aggregate([])
    for owner in sorted(owners.to_pylist(), key=lambda o: tuple(str(v) for v in o.values())):
        row = rows.get(owner["slide_id"], {})
        for name in _OWN_COLUMNS:
            if row and row[name] != owner[name]:
                message = f"{owner['slide_id']} has {name} {owner[name]} there, {row[name]} in {table.name}"
                yield "inconsistent", path, message
    if not record["split"]["leaks"] and "identity" in slides.column_names:
        yield from _twice(index, rows, path)


def _twice(index: pa.Table, rows: Mapping[str, Mapping[str, Any]], path: Path) -> Iterator[tuple[str, Path, str]]:
    """One slide file, under two ids, in two splits or folds."""
    places: dict[str, dict[str, str]] = defaultdict(dict)
    pairs = index.select(["slide_id", "split", "fold"]).group_by(["slide_id", "split", "fold"]).aggregate([])
    for pair in sorted(pairs.to_pylist(), key=lambda p: (p["slide_id"], p["split"], str(p["fold"]))):
        identity = rows.get(pair["slide_id"], {}).get("identity")
        if identity:
            where = pair["split"] if pair["fold"] is None else f"{pair['split']} fold {pair['fold']}"
            places[identity].setdefault(where, pair["slide_id"])
    for found in places.values():
        if len(set(found.values())) > 1:
            listed = ", ".join(f"{slide_id} in {where}" for where, slide_id in sorted(found.items()))
            yield "leak", path, f"one slide file is {listed}"
