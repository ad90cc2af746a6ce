"""What the report is made from: whatever of the dataset's files is there. Damage is noted, never fatal."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from wsiprep.artifacts import DatasetTree, read_json
from wsiprep.errors import StoreError

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Curves:
    """The metrics of one training run.

    Attributes:
        name: the run's folder below ``runs/``.
        model: the first part of the name.
        rows: column -> text, a row each time that something was logged; "" where it was not.
    """

    name: str
    model: str
    rows: tuple[Mapping[str, str], ...]


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that was found; None or empty where a stage has not run.

    Attributes:
        recipe: ``recipe.json``.
        plan: ``plan.json``.
        dataset: ``dataset.json``.
        slides: ``slide.json`` of each surveyed slide, by id.
        receipts: ``receipts/{id}.json``.
        table: rows of ``slides.parquet``, by id.
        cells: ``plan.parquet``.
        index: ``index.parquet``.
        curves: ``runs/**/metrics.csv``.
        benchmark: rows of ``benchmark.csv``.
        damaged: what could not be read, with the reason.
    """

    tree: DatasetTree
    recipe: Record | None
    plan: Record | None
    dataset: Record | None
    slides: Mapping[str, Record]
    receipts: Mapping[str, Record]
    table: Mapping[str, Record]
    cells: pa.Table | None
    index: pa.Table | None
    curves: tuple[Curves, ...]
    benchmark: tuple[Mapping[str, str], ...]
    damaged: tuple[str, ...] = field(default=())

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels in mask order."""
        for record in (self.dataset, self.recipe):
            if record is not None and record.get("labels"):
                return tuple(str(name) for name in record["labels"])
        return ()

    @property
    def slide_ids(self) -> list[str]:
        """Every slide that any file knows of, sorted."""
        states = (self.plan or {}).get("states", {})
        return sorted({*self.slides, *self.receipts, *self.table, *states})


def read_inputs(tree: DatasetTree) -> Inputs:
    """Read what there is.

    Raises:
        StoreError: there is no such folder.
    """
    if not tree.root.is_dir():
        raise StoreError("there is no such dataset", got=str(tree.root), fix="name the folder that the stages write")
    reader = _Reader(tree)
    surveyed = {slide_id: reader.json(tree.slide(slide_id).record) for slide_id in tree.slide_ids()}
    receipts = {slide_id: reader.json(tree.receipt(slide_id)) for slide_id in tree.receipt_ids()}
    table = reader.parquet(tree.slides_table)
    rows = {} if table is None else {str(row["slide_id"]): row for row in table.to_pylist()}
    return Inputs(
        tree=tree,
        recipe=reader.json(tree.recipe),
        plan=reader.json(tree.plan_record),
        dataset=reader.json(tree.dataset_record),
        slides={k: v for k, v in surveyed.items() if v is not None},
        receipts={k: v for k, v in receipts.items() if v is not None},
        table=rows,
        cells=reader.parquet(tree.plan),
        index=reader.parquet(tree.index),
        curves=tuple(reader.curves()),
        benchmark=reader.csv(tree.benchmark_table),
        damaged=tuple(reader.damaged),
    )


class _Reader:
    def __init__(self, tree: DatasetTree) -> None:
        self.tree = tree
        self.damaged: list[str] = []

    def json(self, path: Path) -> Record | None:
        if not path.exists():
            return None
        try:
            value = read_json(path)
        except StoreError as error:
            self._note(path, str(error.got))
            return None
        if not isinstance(value, dict):
            self._note(path, "not a JSON object")
            return None
        return value

    def parquet(self, path: Path) -> pa.Table | None:
        if not path.exists():
            return None
        try:
            return pq.read_table(path, memory_map=False, partitioning=None)
        except (OSError, pa.ArrowException) as error:
            self._note(path, str(error))
            return None

    def csv(self, path: Path) -> tuple[Mapping[str, str], ...]:
        if not path.exists():
            return ()
        try:
            with path.open(newline="", encoding="utf-8") as stream:
                rows = [{str(k): v or "" for k, v in row.items() if k} for row in csv.DictReader(stream)]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            self._note(path, str(error))
            return ()
        return tuple(rows)

    def curves(self) -> list[Curves]:
        if not self.tree.runs.is_dir():
            return []
        found = []
        for path in sorted(self.tree.runs.rglob("metrics.csv")):
            name = path.parent.relative_to(self.tree.runs).as_posix()
            rows = self.csv(path)
            if rows:
                found.append(Curves(name, name.split("/")[0], rows))
        return found

    def _note(self, path: Path, reason: str) -> None:
        self.damaged.append(f"{path.relative_to(self.tree.root).as_posix()}: {reason.splitlines()[0]}")
