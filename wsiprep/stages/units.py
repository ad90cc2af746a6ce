"""What the split places: slides, and the tiles of collections, each in one split or fold."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from wsiprep.artifacts import DatasetTree, write_bytes_if_changed
from wsiprep.config import Recipe, digest_of
from wsiprep.errors import ManifestError
from wsiprep.manifest import SlideRow
from wsiprep.patches import Assignment, Cells, GroupRow, assign, group_rows
from wsiprep.patches.duplicates import SlideEntry
from wsiprep.patches.places import Provenance
from wsiprep.stages.tiles import SurveyedTile, is_surveyed_collection, read_tiles, unit_of
from wsiprep.store.tables import table_of

_SPLIT_COLUMNS = ("group", "place", "drawn_with", "provenance")
_SPLIT_ROWS = pa.schema(
    [
        ("slide_id", pa.string()),
        ("tile", pa.string()),
        ("group", pa.string()),
        ("patient", pa.string()),
        ("split", pa.string()),
        ("fold", pa.int32()),
        ("provenance", pa.string()),
    ]
)
_DRAWN: dict[str, Provenance] = {"balanced": "balanced", "hashed": "hashed"}


@dataclass(frozen=True, slots=True)
class Unit:
    """One slide, or one tile of a collection.

    Attributes:
        slide_id: of the slide or collection.
        tile: the tile, None for a slide.
        group: what the split is told of it; its ``slide_id`` is ``unit_of(slide_id, tile)``.
        row: of the manifest.
    """

    slide_id: str
    tile: SurveyedTile | None
    group: GroupRow
    row: SlideRow


def units_of(kept: Sequence[tuple[SlideRow, Mapping[str, Any], Cells]], by: str, tree: DatasetTree) -> tuple[Unit, ...]:
    """The units that keep a cell, in the order of their slides.

    A tile of an unknown patient belongs to the patient of its collection, or to the collection as a whole: two
    tiles of one patient must not end in two splits because nobody wrote down whose they are.

    Args:
        kept: rows with their records and kept cells.
        by: ``recipe.split.by``.
        tree: where they were surveyed.
    """
    slides = [(row, float(len(cells))) for row, record, cells in kept if not is_surveyed_collection(record)]
    groups = group_rows([row for row, _ in slides], by, {row.slide_id: weight for row, weight in slides})
    found = [Unit(row.slide_id, None, group, row) for (row, _), group in zip(slides, groups, strict=True)]
    for row, record, cells in kept:
        if is_surveyed_collection(record):
            tiles = read_tiles(tree.slide(row.slide_id))
            numbers, counts = np.unique(cells.tile, return_counts=True)
            (whole,) = group_rows([row], by)
            for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
                tile = tiles[number]
                found.append(Unit(row.slide_id, tile, _tile_group(row, tile, whole, by, float(count)), row))
    return tuple(sorted(found, key=lambda unit: (unit.slide_id, unit.tile.number if unit.tile else 0)))


def _tile_group(row: SlideRow, tile: SurveyedTile, whole: GroupRow, by: str, weight: float) -> GroupRow:
    unit = unit_of(row.slide_id, tile.tile)
    patient = tile.patient or row.group
    group = {"patient": patient, "centre": whole.group}.get(by, unit)
    return GroupRow(
        unit, group, weight, tile.split or row.split, row.fold if tile.fold is None else tile.fold, patient, row.line
    )


def assigned(units: Sequence[Unit], recipe: Recipe, tree: DatasetTree) -> Assignment:
    """Place the groups; what an earlier run with the same split section placed stays where it is.

    Raises:
        SplitError: see ``patches.assign``.
    """
    drawn_with = digest_of(recipe.split.model_dump(mode="json"))[:16]
    before = _frozen(tree.splits, drawn_with)
    assignment = assign(
        [unit.group for unit in units], recipe.split, {group: place for group, (place, _) in before.items()}
    )
    # How a patient was placed at first: otherwise planning again would change what is sealed.
    drawn = {group: how for group, (_, how) in before.items() if how in _DRAWN}
    provenance = {
        group: drawn.get(group, how) if how == "frozen" else how for group, how in assignment.provenance.items()
    }
    assignment = replace(assignment, provenance=provenance)
    if assignment.frozen:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_SPLIT_COLUMNS)
        for group, place in sorted(assignment.frozen.items()):
            writer.writerow([group, place, drawn_with, provenance.get(group) or drawn.get(group, "frozen")])
        write_bytes_if_changed(tree.splits, text.getvalue().encode())
    return assignment


def _frozen(path: Path, drawn_with: str) -> dict[str, tuple[str, Provenance]]:
    """group -> its frozen place and how it came there, where they were drawn with the same split section.

    A changed section draws anew.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    reader = csv.DictReader(io.StringIO(text))
    if not set(_SPLIT_COLUMNS[:3]) <= set(reader.fieldnames or ()):
        raise ManifestError(
            "splits.csv is not what wsiprep wrote", file=path, line=1,
            expected=f"columns {','.join(_SPLIT_COLUMNS)}", fix="restore it, or remove it to draw anew",
        )  # fmt: skip
    rows = [r for r in reader if r["drawn_with"] == drawn_with]
    return {r["group"]: (r["place"], _DRAWN.get(r.get("provenance") or "", "frozen")) for r in rows}


def split_rows(units: Sequence[Unit], assignment: Assignment) -> pa.Table:
    """``split.parquet``: a row a unit."""
    rows = []
    for unit in units:
        place, group = assignment.places[unit.group.slide_id], assignment.groups[unit.group.slide_id]
        rows.append(
            {
                "slide_id": unit.slide_id,
                "tile": unit.tile.tile if unit.tile else None,
                "group": group,
                "patient": unit.group.patient,
                "split": place.split,
                "fold": place.fold,
                "provenance": assignment.provenance.get(group, ""),
            }
        )
    return table_of(rows, _SPLIT_ROWS)


def duplicate_entry(unit: Unit, record: Mapping[str, Any], assignment: Assignment) -> SlideEntry:
    """What the search for duplicates is told of a unit; tiles are compared by their bytes alone."""
    place = assignment.places[unit.group.slide_id].key
    if unit.tile is not None:
        return SlideEntry(unit.group.slide_id, unit.group.patient, place, unit.tile.identity)
    size, spacing = record["size"], record["spacing_um"]
    area = size["width_px"] * size["height_px"] * spacing["used"] * spacing["used_y"] / 1e6
    return SlideEntry(
        unit.slide_id, unit.group.patient, place, record["identity"], record["thumbnail_hash"],
        Path(unit.row.slide_ref).stem, record["tissue"]["share"], area, unit.row.sha256 or "",
    )  # fmt: skip
