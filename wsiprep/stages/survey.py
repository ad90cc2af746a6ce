"""survey: one slide's header, tissue, annotations and cells; no full-resolution pixel is kept.

Reads the slide's header and one low level, the annotation file, and a few tissue cells at full
resolution where a stain is to be fitted. Writes ``slides/{id}/``, the record last.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from wsiprep.annotations import AnnotationSet, Fractions, write_regions
from wsiprep.artifacts import DatasetTree, write_bytes, write_json
from wsiprep.config import Recipe
from wsiprep.errors import DataError, SlideError
from wsiprep.geometry import PixelGrid, Spacing
from wsiprep.manifest import SlideRow
from wsiprep.patches import Cells
from wsiprep.patches.hashing import cell_hashes
from wsiprep.progress import Reporter
from wsiprep.slides import PatchReader, PixelSource, Slide, open_slide, read_overview
from wsiprep.stages.cells import cells_of, grid_of
from wsiprep.stages.labels import labels_of_slide
from wsiprep.stages.overview import Overview, picture_of
from wsiprep.stages.pictures import jpeg_bytes
from wsiprep.stages.revisions import REVISION
from wsiprep.stages.scale import SlideScale, slide_scale
from wsiprep.stages.tables import column, table_bytes
from wsiprep.stain import ColourHistogram, glass_colour, histogram
from wsiprep.tissue import TissueMask, cell_fractions, find_tissue, read_given, write_mask

FULL_DIGEST_CHUNK = 1 << 22
MIN_STAIN_TISSUE = 0.5


def survey(row: SlideRow, recipe: Recipe, tree: DatasetTree, reporter: Reporter) -> dict[str, Any]:
    """Survey one slide and write its folder; returns the record (``slide.json``).

    Raises:
        DataError: the slide, its spacing or its annotations cannot be trusted (exit 65).
        StorageError: the folder cannot be written (exit 74).
    """
    recipe = recipe.for_source(row.source)
    _check_digest(row)
    with open_slide(row.slide, recipe.backend) as slide:
        info = slide.info
        scale = slide_scale(info.spacing, row, recipe)
        labels = labels_of_slide(row, recipe, info)
        regions = labels.annotations.regions
        name = f"{scale.patch_um:g} um/px" if scale.patch_um else "each cell scaled to the patch"
        reporter.say(f"survey {row.slide_id}: {info.backend}, {name}")
        view = Overview(*read_overview(slide, max(1, int(recipe.tissue.spacing_um / scale.used.mean_um))))
        tissue = _tissue(row, recipe, view, scale.used, slide)
        picture = picture_of(slide, view)
        cells = cells_of(info.size, info.bounds, scale.cells, regions, recipe, name=row.slide_id)
        places = (cells.x_lv0, cells.y_lv0, cells.width_lv0, cells.height_lv0)
        shares = cell_fractions(tissue, info.size, *places)
        fractions = labels.source.fractions(*places)
        reader = PatchReader(slide, pixels_of(recipe))
        colours = _colours(row, reader, cells, shares, recipe) if recipe.stain.method != "none" else None
        source = _pixel_source(reader, cells)
    folder = tree.slide(row.slide_id)
    write_bytes(folder.regions, write_regions(labels.annotations, recipe.labels))
    write_bytes(folder.tissue, write_mask(tissue))
    write_bytes(folder.overview, jpeg_bytes(picture.image))
    write_bytes(folder.candidates, table_bytes(candidates_table(cells, shares, fractions)))
    if colours is not None:
        write_bytes(folder.colours, colours.save())
    record = _record(row, slide, scale, source, cells) | {
        **glass_colour(view.image, tissue.mask).to_dict(),
        "overview": picture.to_dict(),
        "tissue": {
            "method": tissue.method,
            "share": tissue.share,
            "empty": tissue.empty,
            "thresholds": dict(tissue.thresholds),
        },
        "annotation": {
            "state": row.annotation_state,
            "file": row.annotation_ref,
            "kind": labels.kind,
            "regions": len(regions),
            "digest": labels.digest,
            "counts": dict(labels.annotations.counts),
            "area_px": dict(labels.source.areas_px),
            **labels.facts,
        },
        "lesions": _lesions(labels.annotations, recipe),
    }
    write_json(folder.record, record)
    return record


def survey_or_record(row: SlideRow, recipe: Recipe, tree: DatasetTree, reporter: Reporter) -> dict[str, Any]:
    """As ``survey``, but bad data becomes a recorded state ``failed``, so that a workflow goes on."""
    try:
        return survey(row, recipe, tree, reporter)
    except DataError as error:
        reporter.say(str(error), level="error", slide=row.slide_id)
        record = {
            "revision": REVISION["survey"],
            "slide_id": row.slide_id,
            "raw_id": row.raw_id,
            "state": "failed",
            "error": {"code": error.code, "message": str(error)},
            "row": row_record(row),
            "source": row.source,
        }
        write_json(tree.slide(row.slide_id).record, record)
        return record


def pixels_of(recipe: Recipe) -> Literal["stored", "level0"]:
    """Where pixels may come from; crops that are scaled to the patch are always means of level 0."""
    return "level0" if recipe.sampling.kind in ("box", "whole") else recipe.pixels


def _pixel_source(reader: PatchReader, cells: Cells) -> PixelSource:
    """Where the cells' pixels come from: the same for all cells of one scale."""
    if len(cells) == 0:
        return PixelSource(0, False)
    return reader.source_of(_grid(cells, 0))


def _grid(cells: Cells, i: int) -> PixelGrid:
    return grid_of(
        int(cells.x_lv0[i]), int(cells.y_lv0[i]), int(cells.width_lv0[i]), int(cells.height_lv0[i]),
        cells.patch_size_px,
    )  # fmt: skip


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
        "extra": dict(row.extra),
    }


def _check_digest(row: SlideRow) -> None:
    if row.sha256 is None:
        return
    digest = hashlib.sha256()
    try:
        with Path(row.slide).open("rb") as stream:
            while chunk := stream.read(FULL_DIGEST_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise SlideError("the slide cannot be read", got=str(error), file=row.slide) from error
    if digest.hexdigest() != row.sha256:
        raise SlideError(
            "the slide is not the file that the manifest means", got=f"sha256 {digest.hexdigest()}",
            expected=f"sha256 {row.sha256}", file=row.slide, fix="download it again: it may be half there",
        )  # fmt: skip


def _tissue(row: SlideRow, recipe: Recipe, view: Overview, spacing: Spacing, slide: Slide) -> TissueMask:
    if recipe.tissue.method == "given":
        if row.tissue is None:
            raise DataError(
                "tissue.method is given, but the manifest names no tissue file", got=row.slide_id,
                fix="fill the tissue column, or choose another method",
            )  # fmt: skip
        return read_given(row.tissue, slide.info.size, view.downsample)
    view_um = view.downsample * spacing.mean_um
    return find_tissue(view.image, view.downsample, view_um, recipe.tissue, row.stain_type)


def _colours(
    row: SlideRow, reader: PatchReader, cells: Cells, shares: npt.NDArray[np.float64], recipe: Recipe
) -> ColourHistogram:
    """Histogram of the colours of a few tissue cells, chosen by hash, read at the patches' scale."""
    enough = min(MIN_STAIN_TISSUE, float(shares.max(initial=0.0)))
    eligible = np.flatnonzero((shares >= enough) & (shares > 0))
    hashes = cell_hashes(row.slide_id, cells.x_lv0[eligible], cells.y_lv0[eligible])
    chosen = np.sort(eligible[np.argsort(hashes, kind="stable")[: recipe.stain.sample_cells]])
    total = ColourHistogram.empty()
    for i in chosen.tolist():
        total = total + histogram(reader.read(_grid(cells, i)))
    return total


def candidates_table(cells: Cells, tissue: npt.NDArray[np.float64], fractions: Fractions) -> pa.Table:
    """``candidates.parquet``: a row a cell."""
    columns: dict[str, Any] = cells.columns | {
        "tissue_fraction": tissue,
        "annotated_fraction": fractions.annotated,
    }
    columns |= {f"{name}_fraction": values for name, values in fractions.per_label.items()}
    return pa.table({name: column(values) for name, values in columns.items()})


def _record(row: SlideRow, slide: Slide, scale: SlideScale, source: PixelSource, cells: Cells) -> dict[str, Any]:
    info = slide.info
    return {
        "revision": REVISION["survey"],
        "slide_id": row.slide_id,
        "raw_id": row.raw_id,
        "state": "surveyed",
        "error": None,
        "row": row_record(row),
        "row_digest": row.survey_digest(),
        "source": row.source,
        "identity": info.identity,
        "size": {"width_px": info.size.width_px, "height_px": info.size.height_px},
        "levels": [
            {"width_px": v.size.width_px, "height_px": v.size.height_px, "factor": v.factor} for v in info.levels
        ],
        "backend": {"requested": info.backend_requested, "used": info.backend, "note": info.backend_note},
        "vendor": info.vendor,
        "compression": info.compression,
        "spacing_um": scale.to_dict(),
        "scale": None if scale.cells is None else [float(scale.cells.x), float(scale.cells.y)],
        "pixels": {"from_stored": source.from_stored, "source_level": source.source_level},
        "cells": {"count": len(cells), "patch_size_px": cells.patch_size_px},
    }


def _lesions(annotations: AnnotationSet, recipe: Recipe) -> list[dict[str, Any]]:
    """Bounding boxes and areas of the labelled regions, for the list of what keeps nothing."""
    rows = []
    for index, region in enumerate(annotations.regions):
        if region.label in recipe.labels:
            x_min, y_min, x_max, y_max = (float(v) for v in region.geometry.bounds)
            rows.append(
                {"index": index, "name": region.name, "label": region.label, "area_px": float(region.geometry.area),
                 "x_min": x_min, "y_min": y_min, "x_max": x_max, "y_max": y_max}
            )  # fmt: skip
    return rows
