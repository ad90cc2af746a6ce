"""Sealing: from receipts and a split to a dataset that a reader accepts.

Everything that is written is a function of the receipts, the slides' rows and the split: sealing
twice gives the same bytes. ``dataset.json`` comes last; a folder without it, or whose index is not
the one that it names, is no dataset.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from wsiprep.artifacts import DatasetTree, json_bytes, write_bytes_if_changed, write_json
from wsiprep.config import Recipe
from wsiprep.errors import SplitError, StoreError, UsageError
from wsiprep.store.card import render_card
from wsiprep.store.croissant import render_croissant
from wsiprep.store.facts import dataset_record
from wsiprep.store.receipts import FileRecord, Receipt, missing_files, read_receipts
from wsiprep.store.records import with_check
from wsiprep.store.schema import SLIDE_STATES, index_schema, rows_schema
from wsiprep.store.splits import Assignment, Placement, leaks
from wsiprep.store.tables import parquet_bytes, read_parquet
from wsiprep.temporaries import TEMPORARY_PREFIX

_COMPANIONS = (
    "recipe.json",
    "exclude.csv",
    "allow_duplicates.csv",
    "splits.csv",
    "plan.parquet",
    "split.parquet",
    "plan.json",
)
_COMPANION_FOLDERS = ("slides", "plan", "previews")
_FIXED_COLUMNS = ("slide_id", "patient", "centre", "source", "state", "reason")
_LISTED = 8


def seal(
    tree: DatasetTree,
    *,
    recipe: Recipe,
    slides: Iterable[Mapping[str, Any]],
    assignment: Assignment,
    receipts: Mapping[str, Receipt] | None = None,
    tiles: pa.Table | None = None,
) -> dict[str, Any]:
    """Write the index, the tables, the card and, last, ``dataset.json``.

    Args:
        recipe: the resolved recipe.
        slides: a mapping per slide of the manifest: ``slide_id`` and, as far as there are such,
            ``patient``, ``centre``, ``source``, ``state``, ``reason`` and any other columns, which
            pass through to ``slides.parquet``. A state ``failed`` or ``excluded`` keeps the slide's
            patches out; otherwise the state is the receipt's.
        assignment: split and fold of each patch (``splits.by_slide`` for whole slides).
        receipts: slide id -> receipt; read from the tree by default.
        tiles: a row a tile of the collections, with ``slide_id`` and ``tile``; None where there are none.

    Returns:
        The record, as in ``dataset.json``.

    Raises:
        StoreError: a slide has no receipt, a receipt names a missing file, or nothing is left.
        SplitError: a group that must stay together is in two splits.
        StorageError: a file cannot be written.
    """
    rows = _slide_rows(slides)
    wanted = [row["slide_id"] for row in rows if row["state"] not in ("failed", "excluded")]
    if receipts is None:
        receipts = read_receipts(tree, [s for s in wanted if tree.receipt(s).exists()])
    _require_receipts(tree, wanted, receipts)
    used = {s: receipts[s] for s in wanted}
    index = _index(tree, recipe.labels, rows, used, assignment)
    if index.num_rows == 0:
        raise StoreError(
            "the dataset has no patches", got=str(tree.root), fix="plan.json tells why each cell was left out"
        )
    _require_no_leaks(index, recipe)
    table = _slides_table(rows, used, index)
    record = dataset_record(recipe, index, table, used)
    return _publish(tree, record, index, table, used, tiles)


def _slide_rows(slides: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for given in slides:
        row = dict.fromkeys(_FIXED_COLUMNS) | dict(given)
        slide_id = row["slide_id"]
        if not isinstance(slide_id, str) or slide_id in rows:
            raise UsageError("slides need different ids", got=slide_id)
        row["patient"] = row["patient"] or slide_id
        row["reason"] = row["reason"] or ""
        if row["state"] not in (None, *SLIDE_STATES):
            raise UsageError("unknown state of a slide", got=row["state"], expected=", ".join(SLIDE_STATES))
        rows[slide_id] = row
    return [rows[slide_id] for slide_id in sorted(rows)]


def _require_receipts(tree: DatasetTree, wanted: Sequence[str], receipts: Mapping[str, Receipt]) -> None:
    lacking = [s for s in wanted if s not in receipts]
    if lacking:
        raise StoreError(
            "slides have no receipt", got=f"{len(lacking)}: {', '.join(lacking[:_LISTED])}",
            fix="pack them first, or list them in exclude.csv",
        )  # fmt: skip
    for slide_id in wanted:
        wrong = missing_files(tree, receipts[slide_id])
        if wrong:
            path, what = wrong[0]
            raise StoreError(
                "a packed file is not as its receipt says", got=what, file=tree.root / path, fix="pack it anew"
            )


def _index(
    tree: DatasetTree,
    labels: Sequence[str],
    slides: Sequence[Mapping[str, Any]],
    receipts: Mapping[str, Receipt],
    assignment: Assignment,
) -> pa.Table:
    schema = index_schema(labels)
    parts = [schema.empty_table()]
    for slide in slides:
        receipt = receipts.get(slide["slide_id"])
        if receipt is None or receipt.state != "done":
            continue
        rows = read_rows(tree, receipt, labels)
        place = assignment(receipt.slide_id, rows)
        parts.append(_index_part(slide, receipt, rows, place, schema))
    return pa.concat_tables(parts).combine_chunks()


def read_rows(tree: DatasetTree, receipt: Receipt, labels: Sequence[str]) -> pa.Table:
    """The rows of one shard, in row order.

    Raises:
        StoreError: missing, damaged, of other labels, or not one per patch.
    """
    path = tree.root / receipt.rows
    rows = read_parquet(path, rows_schema(labels))
    if rows.num_rows != receipt.n_patches:
        raise StoreError("a shard has another number of rows than patches", got=rows.num_rows, file=path)
    return rows.cast(rows_schema(labels))


def _index_part(
    slide: Mapping[str, Any], receipt: Receipt, rows: pa.Table, place: Placement, schema: pa.Schema
) -> pa.Table:
    n = rows.num_rows
    if len(place.split) != n or len(place.fold) != n:
        raise UsageError("the split does not match the patches", got=len(place.split), expected=n)
    head: dict[str, Any] = {
        "slide_id": [receipt.slide_id] * n,
        "patient": [slide["patient"]] * n if place.patient is None else list(place.patient),
        "centre": [slide["centre"]] * n,
        "source": [slide["source"]] * n,
        "shard": [receipt.shard] * n,
        "row": list(range(n)),
        "split": list(place.split),
        "fold": list(place.fold),
    }
    columns = [pa.array(head[f.name], type=f.type) if f.name in head else rows[f.name].combine_chunks() for f in schema]
    table = pa.table(columns, names=schema.names)
    return table.filter(table["split"].is_valid()).cast(schema)


def _require_no_leaks(index: pa.Table, recipe: Recipe) -> None:
    by = recipe.split.by
    for kind in ("centre", "patient") if by == "centre" else (by,):
        found = leaks(index, kind)
        if found:
            listed = "; ".join(f"{group}: {', '.join(where)}" for group, where in found[:_LISTED])
            raise SplitError(
                f"a {kind} is in two splits", got=f"{len(found)}: {listed}", expected=f"every {kind} in one split",
                fix="correct splits.csv or the manifest's split column",
            )  # fmt: skip


def _slides_table(rows: Sequence[dict[str, Any]], receipts: Mapping[str, Receipt], index: pa.Table) -> pa.Table:
    counts = Counter(index["slide_id"].to_pylist())
    complete = []
    for row in rows:
        receipt = receipts.get(row["slide_id"])
        state = receipt.state if receipt is not None else row["state"]
        reason = row["reason"] or (receipt.reason if receipt is not None else "")
        digest = receipt.digest if receipt is not None else ""
        packed = receipt.n_patches if receipt is not None else 0
        counted = {"state": state, "reason": reason, "n_packed": packed, "n_patches": counts[row["slide_id"]]}
        complete.append(row | counted | {"shard_digest": digest})
    extra = sorted({name for row in complete for name in row} - {*_FIXED_COLUMNS})
    names = [*_FIXED_COLUMNS, *extra]
    return pa.table([_column(name, [row.get(name) for row in complete]) for name in names], names=names)


def _tiles_table(tiles: pa.Table, index: pa.Table) -> pa.Table:
    """The tiles with the number of their patches in the index."""
    counts = Counter(zip(index["slide_id"].to_pylist(), index["tile"].to_pylist(), strict=True))
    pairs = zip(tiles["slide_id"].to_pylist(), tiles["tile"].to_pylist(), strict=True)
    return tiles.append_column("n_patches", pa.array([counts[pair] for pair in pairs], pa.int32()))


def _column(name: str, values: list[Any]) -> pa.Array:
    kinds = {type(v) for v in values if v is not None}
    # By name where no slide has a value, so that the tables of two datasets have the same types.
    if kinds <= {int, float} and (float in kinds or name.endswith("_um")):
        return pa.array([None if v is None else float(v) for v in values], type=pa.float64())
    if len(kinds) == 1 and kinds <= {bool, int}:
        return pa.array(values)
    if kinds <= {bool, int, float, str}:
        return pa.array([None if v is None else str(v) for v in values], type=pa.string())
    raise UsageError("a column of the slides has values that no table holds", got=sorted(k.__name__ for k in kinds))


def _publish(
    tree: DatasetTree,
    record: dict[str, Any],
    index: pa.Table,
    slides: pa.Table,
    receipts: Mapping[str, Receipt],
    tiles: pa.Table | None,
) -> dict[str, Any]:
    data = parquet_bytes(index)
    write_bytes_if_changed(tree.index, data)
    write_bytes_if_changed(tree.slides_table, parquet_bytes(slides))
    write_bytes_if_changed(tree.card, render_card(record).encode())
    croissant = render_croissant(record, hashlib.sha256(data).hexdigest(), len(data))
    write_bytes_if_changed(tree.croissant, json_bytes(croissant))
    tables = [tree.index, tree.slides_table, tree.card, tree.croissant]
    if tiles is None:
        tree.tiles_table.unlink(missing_ok=True)
    else:
        write_bytes_if_changed(tree.tiles_table, parquet_bytes(_tiles_table(tiles, index)))
        tables.append(tree.tiles_table)
    complete = with_check(
        {
            **record,
            "tables": [FileRecord.of(path, tree.root).to_dict() for path in tables],
            "receipts": [FileRecord.of(tree.receipt(s), tree.root).to_dict() for s in sorted(receipts)],
            "companions": [FileRecord.of(path, tree.root).to_dict() for path in companions(tree)],
        }
    )
    write_json(tree.dataset_record, complete)
    return complete


def companions(tree: DatasetTree) -> list[Path]:
    """Files of the stages before, which the dataset came from: listed, so that damage to them is found."""
    single = [tree.root / name for name in _COMPANIONS]
    below = [p for name in _COMPANION_FOLDERS for p in (tree.root / name).rglob("*")]
    found = [p for p in (*single, *below) if p.is_file() and not p.name.startswith(TEMPORARY_PREFIX)]
    return sorted(found)
