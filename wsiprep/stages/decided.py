"""One surveyed slide and what is decided about each of its cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from wsiprep.artifacts import DatasetTree
from wsiprep.config import Recipe
from wsiprep.manifest import SlideRow
from wsiprep.patches import (
    CELL_COLUMNS,
    Candidates,
    Cells,
    Decision,
    Decisions,
    Lesions,
    SlidePlan,
    decide,
    slide_plan,
)
from wsiprep.stages.tables import column, numbers, texts
from wsiprep.store.tables import read_parquet


@dataclass(frozen=True, slots=True)
class DecidedSlide:
    """One surveyed slide with the decision about each of its cells."""

    row: SlideRow
    record: Mapping[str, Any]
    candidates: Candidates
    decisions: Decisions
    summary: SlidePlan

    @property
    def slide_id(self) -> str:
        return self.row.slide_id

    @property
    def kept_count(self) -> int:
        return self.summary.kept

    @property
    def kept_cells(self) -> Cells:
        return self.candidates.cells.take(self.decisions.kept)

    def reasons(self) -> dict[str, int]:
        """Decision -> cells, without zeros and without the kept ones."""
        return {d.name.lower(): n for d, n in self.summary.counts.items() if n and d is not Decision.KEPT}

    def table(self) -> pa.Table:
        """Every cell with its decision, a row a cell."""
        same = np.zeros(len(self.candidates), np.int64)
        return pa.table(
            {"slide_id": texts([self.slide_id], same), "source": texts([self.row.source or ""], same)}
            | columns_of(self.candidates)
            | {"decision": texts([d.name.lower() for d in Decision], self.decisions.codes)}
        )


def decide_slide(row: SlideRow, record: Mapping[str, Any], recipe: Recipe, tree: DatasetTree) -> DecidedSlide:
    """Apply the keep rules to one surveyed slide."""
    recipe = recipe.for_source(row.source)
    candidates = _candidates(recipe, tree, row.slide_id)
    annotated = row.annotation_state != "none"
    lesions = _lesions(record["lesions"])
    decisions = decide(candidates, recipe, annotated=annotated, slide_id=row.slide_id, lesions=lesions)
    pixels = record["pixels"]
    summary = slide_plan(
        row.slide_id,
        candidates,
        decisions,
        recipe,
        annotated=annotated,
        # Boxes and whole slides have no scale in common, and are read from level 0.
        source_factor=round(record["scale"][0]) if pixels["from_stored"] and record["scale"] else 1,
        lesions=lesions,
    )
    return DecidedSlide(row, record, candidates, decisions, summary)


def columns_of(candidates: Candidates, chosen: npt.NDArray[np.bool_] | None = None) -> dict[str, pa.Array]:
    """Columns of all cells, or of the chosen ones. Arrow's own ``take`` would import all of its compute functions."""
    columns: dict[str, Any] = candidates.cells.columns | {
        "tissue_fraction": candidates.tissue_fraction,
        "annotated_fraction": candidates.annotated_fraction,
    }
    columns |= {f"{name}_fraction": values for name, values in candidates.label_fractions.items()}
    return {name: column(values if chosen is None else values[chosen]) for name, values in columns.items()}


def _candidates(recipe: Recipe, tree: DatasetTree, slide_id: str) -> Candidates:
    table = read_parquet(tree.slide(slide_id).candidates)

    def values(name: str) -> Any:
        return numbers(table, name)

    cells = Cells.of_columns({name: values(name) for name in CELL_COLUMNS}, recipe.sampling.patch_size_px)
    labels = {name: values(f"{name}_fraction") for name in recipe.labels}
    return Candidates(cells, values("tissue_fraction"), values("annotated_fraction"), labels)


def _lesions(rows: Sequence[Mapping[str, Any]]) -> Lesions | None:
    if not rows:
        return None
    bounds = np.array([[r["x_min"], r["y_min"], r["x_max"], r["y_max"]] for r in rows], np.float64)
    return Lesions(
        np.array([r["index"] for r in rows], np.int64),
        tuple(r["label"] for r in rows),
        np.array([r["area_px"] for r in rows], np.float64),
        bounds,
        tuple(None if r["cells"] is None else np.array(r["cells"], np.int64) for r in rows),
    )
