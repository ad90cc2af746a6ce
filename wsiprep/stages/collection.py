"""survey of a collection: its tiles, their labels and cells. One row of the manifest, one job, one shard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wsiprep.annotations import AnnotationSet, Fractions, write_regions
from wsiprep.artifacts import DatasetTree, write_bytes, write_json
from wsiprep.config import Recipe, digest_of
from wsiprep.errors import SlideError
from wsiprep.geometry import Spacing
from wsiprep.manifest import SlideRow
from wsiprep.patches import Cells
from wsiprep.patches.hashing import cell_hashes
from wsiprep.progress import Reporter
from wsiprep.slides import PatchReader, PixelSource
from wsiprep.slides.collections import TileCollection, TileInfo, open_collection
from wsiprep.stages.cells import cells_of, grid_at, grid_of
from wsiprep.stages.labels import labels_digest
from wsiprep.stages.pictures import jpeg_bytes, sheet_of
from wsiprep.stages.records import candidates_table, pixels_of, record_head
from wsiprep.stages.scale import SlideScale, slide_scale
from wsiprep.stages.tables import table_bytes
from wsiprep.stages.tiles import SurveyedTile, annotation_place, labels_of_tile, tiles_table
from wsiprep.stain import ColourHistogram, ColourSample, histogram

SHEET_TILES = 64
MAX_LISTED = 20


def survey_collection(row: SlideRow, recipe: Recipe, tree: DatasetTree, reporter: Reporter) -> dict[str, Any]:
    """Survey one collection and write its folder; returns the record (``slide.json``).

    Ready-cut tiles were chosen by somebody: no tissue is looked for, and every cell counts as tissue.

    Raises:
        DataError: the collection, its spacing or its labels cannot be trusted, or too many tiles cannot be read.
    """
    if recipe.icc != "ignore":
        raise SlideError(
            "the colours of ready-cut tiles cannot be converted", got=f"icc: {recipe.icc}", file=row.slide,
            expected="icc: ignore",
            fix="leave the collection out of this recipe, or convert its tiles before",
        )  # fmt: skip
    labelled = row.annotation_state in ("exhaustive", "partial")
    with open_collection(row.slide, recipe.collection, annotation=annotation_place(row), labels=labelled) as collection:
        _require_readable(collection, recipe)
        reporter.say(f"survey {row.slide_id}: collection of {len(collection.tiles)} tiles")
        with reporter.task(f"survey {row.slide_id}", len(collection.tiles)) as task:
            found = []
            for number, tile in enumerate(collection.tiles):
                found.append(_survey_tile(number, tile, row, recipe))
                task.advance()
        cells = Cells.of_columns(
            {name: np.concatenate([t.cells.columns[name] for t in found]) for name in found[0].cells.columns},
            recipe.sampling.patch_size_px,
        )
        fractions = _together([t.fractions for t in found], recipe)
        source = _pixel_source(collection, cells, recipe)
        colours = _colours(row, collection, cells, recipe) if recipe.stain.method != "none" else None
        sheet = _sheet(collection)
    stack = annotation_place(row) if labelled and collection.tiles[0].index is not None else None
    stack_digest = "" if stack is None else labels_digest(stack, recipe)
    folder = tree.slide(row.slide_id)
    counts: Counter[str] = Counter()
    areas: Counter[str] = Counter()
    for seen in found:
        counts.update(seen.counts)
        areas.update(seen.areas_px)
    write_bytes(folder.regions, write_regions(AnnotationSet((), dict(sorted(counts.items()))), recipe.labels))
    write_bytes(folder.overview, jpeg_bytes(sheet))
    write_bytes(folder.candidates, table_bytes(candidates_table(cells, np.ones(len(cells)), fractions)))
    write_bytes(folder.tiles, table_bytes(tiles_table([t.row for t in found])))
    if colours is not None:
        write_bytes(folder.colours, colours.save())
    tiles = _tiles_record(collection, found)
    _say_left_out(tiles, row, reporter)
    record = record_head(row, "surveyed") | {
        "error": None,
        "row_digest": row.survey_digest(),
        "identity": collection.identity,
        "size": None,
        "tiles": tiles,
        "levels": [],
        "backend": {"requested": recipe.backend, "used": "collection", "note": "ready-cut tiles"},
        "vendor": "collection",
        "compression": "unknown",
        "icc_digest": "",
        "bounds": None,
        "spacing_um": _in_common([t.scale.to_dict() for t in found]),
        "scale": _scale_in_common([t.scale for t in found]),
        "pixels": source.to_dict(),
        "cells": {"count": len(cells), "patch_size_px": cells.patch_size_px},
        "glass_rgb": None,
        "glass_reason": "ready-cut tiles",
        "overview": None,
        "tissue": {"method": "none", "share": 1.0, "empty": False, "thresholds": {}},
        "annotation": {
            "state": row.annotation_state,
            "file": row.annotation_ref,
            "kind": "tiles",
            "regions": sum(t.regions for t in found),
            "digest": digest_of([stack_digest, [[t.row.tile, t.row.annotation_digest] for t in found]]),
            "stack": stack_digest,
            "counts": dict(sorted(counts.items())),
            "area_px": {label: float(areas[label]) for label in recipe.labels},
        },
        "lesions": [],
    }
    write_json(folder.record, record)
    return record


@dataclass(frozen=True, slots=True)
class _Surveyed:
    """What was found of one tile. Its labels are let go: those of thousands of tiles would fill the memory."""

    cells: Cells
    fractions: Fractions
    counts: Mapping[str, int]
    areas_px: Mapping[str, float]
    regions: int
    row: SurveyedTile
    scale: SlideScale


def _survey_tile(number: int, tile: TileInfo, row: SlideRow, recipe: Recipe) -> _Surveyed:
    own = None if tile.spacing_um is None else Spacing(tile.spacing_um, tile.spacing_um)
    scale = slide_scale(own, row, recipe, collection=True)
    labels = labels_of_tile(tile, row.annotation_state, recipe, scale.used)
    regions = labels.annotations.regions
    cells = cells_of(tile.size, None, scale.cells, regions, recipe, tile=number, name=tile.name)
    fractions = labels.source.fractions(cells.x_lv0, cells.y_lv0, cells.width_lv0, cells.height_lv0)
    noted = SurveyedTile(
        number=number,
        tile=tile.name,
        identity=tile.identity,
        width_px=tile.size.width_px,
        height_px=tile.size.height_px,
        spacing_um=scale.used.x_um,
        patient=tile.patient,
        tissue=tile.tissue,
        split=tile.split,
        fold=tile.fold,
        annotation_state=labels.state,
        annotation_digest=labels.digest,
    )
    return _Surveyed(cells, fractions, labels.annotations.counts, labels.source.areas_px, len(regions), noted, scale)


def _require_readable(collection: TileCollection, recipe: Recipe) -> None:
    bad, total = len(collection.unreadable), len(collection.tiles) + len(collection.unreadable)
    if bad > recipe.max_damaged * total or not collection.tiles:
        first = "; ".join(f"{t.name}: {t.error.message} ({t.error.got})" for t in collection.unreadable[:3])
        raise SlideError(
            "too many tiles of the collection cannot be read", got=f"{bad} of {total}: {first}", file=collection.path,
            expected=f"at most {recipe.max_damaged:.1%}", fix="fetch them again, or raise max_damaged",
        )  # fmt: skip


def _together(parts: list[Fractions], recipe: Recipe) -> Fractions:
    per_label = {label: np.concatenate([p.per_label[label] for p in parts]) for label in recipe.labels}
    return Fractions(np.concatenate([p.annotated for p in parts]), per_label)


def _pixel_source(collection: TileCollection, cells: Cells, recipe: Recipe) -> PixelSource:
    if len(cells) == 0:
        return PixelSource(0, False)
    for i in np.unique(cells.tile, return_index=True)[1].tolist():
        with suppress(SlideError), collection.open(collection.tiles[int(cells.tile[i])]) as slide:
            return PatchReader(slide, pixels_of(recipe), recipe.decode).source_of(grid_at(cells, i))
    raise SlideError("no tile of the collection can be decoded", file=collection.path, fix="fetch it again")


def _colours(row: SlideRow, collection: TileCollection, cells: Cells, recipe: Recipe) -> ColourSample:
    """Histograms of the colours of a few cells, the first ones by hash of those that can be decoded."""
    hashes = cell_hashes(row.slide_id, cells.x_lv0, cells.y_lv0, cells.tile)
    regions: list[ColourHistogram] = []
    for i in np.argsort(hashes, kind="stable").tolist():
        if len(regions) == recipe.stain.sample_cells:
            break
        with suppress(SlideError), collection.open(collection.tiles[int(cells.tile[i])]) as slide:
            regions.append(histogram(PatchReader(slide, pixels_of(recipe), recipe.decode).read(grid_at(cells, i))))
    return ColourSample(tuple(regions))


def _sheet(collection: TileCollection) -> npt.NDArray[np.uint8]:
    """A few tiles side by side, evenly chosen: the collection's picture. Pack lists those that cannot be decoded."""
    step = max(1, -(-len(collection.tiles) // SHEET_TILES))
    pictures = []
    for tile in collection.tiles[::step]:
        with suppress(SlideError), collection.open(tile) as slide:
            side = min(tile.size.width_px, tile.size.height_px)
            pictures.append(PatchReader(slide, "level0").read(grid_of(0, 0, side, side, min(side, 128))))
    return sheet_of(pictures)


def _in_common(values: list[dict[str, Any]]) -> dict[str, Any]:
    """What all tiles say alike; None where they differ, and then only ``tiles.parquet`` and the index say it."""
    return {name: value if all(v[name] == value for v in values) else None for name, value in values[0].items()}


def _scale_in_common(scales: list[SlideScale]) -> list[float] | None:
    cells = scales[0].cells
    if cells is None or any(scale.cells != cells for scale in scales):
        return None
    return [float(cells.x), float(cells.y)]


def _tiles_record(collection: TileCollection, found: list[_Surveyed]) -> dict[str, Any]:
    """How many tiles there are, and what was left out, with the first names."""
    names = {
        "without_labels": collection.without_labels,
        "labels_without_tile": collection.labels_without_tile,
        "other_files": collection.extra,
        "without_cells": tuple(t.row.tile for t in found if len(t.cells) == 0),
    }
    return {
        "count": len(found),
        "unreadable": [{"tile": t.name, "reason": t.error.message} for t in collection.unreadable],
        **{kind: {"count": len(items), "first": list(items[:MAX_LISTED])} for kind, items in names.items()},
        "tissues": dict(sorted(Counter(t.row.tissue for t in found if t.row.tissue).items())),
    }


def _say_left_out(tiles: dict[str, Any], row: SlideRow, reporter: Reporter) -> None:
    """Tell how many tiles will show nothing, and why."""
    left_out = {
        "cannot be read": (len(tiles["unreadable"]), [t["tile"] for t in tiles["unreadable"]]),
        "have no labels": (tiles["without_labels"]["count"], tiles["without_labels"]["first"]),
        "are smaller than a patch": (tiles["without_cells"]["count"], tiles["without_cells"]["first"]),
    }
    for why, (count, names) in left_out.items():
        if count:
            first = ", ".join(names[:3]) + (", ..." if count > 3 else "")
            reporter.say(f"{row.slide_id}: {count} of the tiles {why}: {first}", level="warning")
