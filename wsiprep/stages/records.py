"""Parts that the records of slides and of collections have in common."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from wsiprep.annotations import Fractions
from wsiprep.config import Recipe
from wsiprep.manifest import SlideRow
from wsiprep.patches import Cells
from wsiprep.stages.revisions import REVISION
from wsiprep.stages.tables import column


def row_record(row: SlideRow) -> dict[str, Any]:
    """The manifest row as it goes into records: no resolved path."""
    return {
        "slide": row.slide_ref,
        "annotation": row.annotation_ref,
        "annotation_state": row.annotation_state,
        "patient": row.patient,
        "centre": row.centre,
        "split": row.split,
        "fold": row.fold,
        "source": row.source,
        "spacing_um": row.spacing_um,
        "spacing_y_um": row.spacing_y_um,
        "stain_type": row.stain_type,
        "tissue": row.tissue_ref,
        "corrections": list(row.correction_refs),
        "annotators": [list(pair) for pair in row.annotator_refs],
        "extra": dict(row.extra),
    }


def record_head(row: SlideRow, state: str) -> dict[str, Any]:
    """What every record of survey begins with, whatever became of the row."""
    return {
        "revision": REVISION["survey"],
        "slide_id": row.slide_id,
        "raw_id": row.raw_id,
        "state": state,
        "row": row_record(row),
        "source": row.source,
    }


def candidates_table(cells: Cells, tissue: npt.NDArray[np.float64], fractions: Fractions) -> pa.Table:
    """``candidates.parquet``: a row a cell."""
    columns: dict[str, Any] = cells.columns | {
        "tissue_fraction": tissue,
        "annotated_fraction": fractions.annotated,
    }
    columns |= {f"{name}_fraction": values for name, values in fractions.per_label.items()}
    return pa.table({name: column(values) for name, values in columns.items()})


def pixels_of(recipe: Recipe) -> Literal["stored", "level0"]:
    """Where pixels may come from; crops that are scaled to the patch are always means of level 0."""
    return "level0" if recipe.sampling.kind in ("box", "whole") else recipe.pixels
