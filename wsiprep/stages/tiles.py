"""The tiles of a collection: what survey notes of each, and how plan, pack and seal find it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from wsiprep.annotations import AnnotationSet, LabelMap, LabelSource, SlideFrame, read_annotations
from wsiprep.annotations.raster_files import open_tile_labels
from wsiprep.artifacts import DatasetTree, SlideFolder
from wsiprep.config import Recipe
from wsiprep.geometry import Size, Spacing
from wsiprep.manifest import AnnotationState, SlideRow
from wsiprep.slides.collections import TileInfo
from wsiprep.stages.labels import RASTER, VECTORS, is_raster_file, labels_digest
from wsiprep.store.tables import read_parquet

_SCHEMA = pa.schema(
    [
        pa.field("number", pa.int32(), nullable=False),
        pa.field("tile", pa.string(), nullable=False),
        pa.field("identity", pa.string(), nullable=False),
        pa.field("width_px", pa.int64(), nullable=False),
        pa.field("height_px", pa.int64(), nullable=False),
        pa.field("spacing_um", pa.float64(), nullable=False),
        pa.field("patient", pa.string(), nullable=False),
        pa.field("tissue", pa.string(), nullable=False),
        pa.field("split", pa.string()),
        pa.field("fold", pa.int32()),
        pa.field("annotation_state", pa.string(), nullable=False),
        pa.field("annotation_digest", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class TileLabels:
    """The labels of one tile.

    Attributes:
        source: the labels.
        annotations: the outlines; none for rasters, but their counts.
        digest: ``labels_digest`` of the file they come from; "" without, and for stacks.
        kind: ``vectors`` or ``raster``.
        state: of this tile: ``none`` where the collection has labels and this tile has not.
    """

    source: LabelSource
    annotations: AnnotationSet
    digest: str
    kind: str
    state: AnnotationState


def labels_of_tile(tile: TileInfo, state: AnnotationState, recipe: Recipe, spacing: Spacing) -> TileLabels:
    """Read the labels of one tile, outlines or raster.

    Raises:
        AnnotationError: they cannot be read, or say what the recipe does not know.
    """
    if tile.labels is None:
        own: AnnotationState = state if state in ("normal", "none") else "none"
        empty = AnnotationSet((), {})
        return TileLabels(LabelMap((), recipe.labels, own, tile.size), empty, "", VECTORS, own)
    if tile.index is not None or is_raster_file(tile.labels, recipe):
        source = open_tile_labels(tile.labels, recipe, tile.size, state, index=tile.index)
        # A stack of masks is digested once for all tiles, by its caller.
        digest = "" if tile.index is not None else labels_digest(tile.labels, recipe)
        return TileLabels(source, AnnotationSet((), dict(source.counts)), digest, RASTER, state)
    found = read_annotations(tile.labels, recipe, SlideFrame(tile.size, spacing, tile.path.name))
    outlines = LabelMap(found.regions, recipe.labels, state, tile.size)
    return TileLabels(outlines, found, labels_digest(tile.labels, recipe), VECTORS, state)


@dataclass(frozen=True, slots=True)
class SurveyedTile:
    """One row of ``tiles.parquet``."""

    number: int
    tile: str
    identity: str
    width_px: int
    height_px: int
    spacing_um: float
    patient: str
    tissue: str
    split: str | None
    fold: int | None
    annotation_state: AnnotationState
    annotation_digest: str

    @property
    def size(self) -> Size:
        return Size(self.width_px, self.height_px)


def tiles_table(tiles: Sequence[SurveyedTile]) -> pa.Table:
    """``tiles.parquet``: a row a tile, in the order of their numbers."""
    columns = {field.name: [getattr(tile, field.name) for tile in tiles] for field in _SCHEMA}
    return pa.table(columns, schema=_SCHEMA)


def read_tiles(folder: SlideFolder) -> tuple[SurveyedTile, ...]:
    """The tiles of one surveyed collection."""
    return tuple(SurveyedTile(**row) for row in read_parquet(folder.tiles, _SCHEMA).to_pylist())


def all_tiles(tree: DatasetTree, slide_ids: Sequence[str]) -> pa.Table | None:
    """The tiles of all surveyed collections among these slides, by id and number; None where there are none."""
    parts = []
    for slide_id in sorted(slide_ids):
        if tree.slide(slide_id).tiles.exists():
            table = read_parquet(tree.slide(slide_id).tiles, _SCHEMA).replace_schema_metadata(None)
            parts.append(table.add_column(0, "slide_id", pa.array([slide_id] * table.num_rows, pa.string())))
    return pa.concat_tables(parts).combine_chunks() if parts else None


def unit_of(slide_id: str, tile: str | None) -> str:
    """What the split calls a slide, or a tile of a collection."""
    return slide_id if tile is None else f"{slide_id}/{tile}"


def is_surveyed_collection(record: Mapping[str, Any]) -> bool:
    """Whether a record of survey is a collection's."""
    return record.get("tiles") is not None


def annotation_place(row: SlideRow) -> Path | None:
    """Folder or stack of a collection's labels; None where the manifest names none."""
    return None if row.annotation is None else Path(row.annotation)
