"""survey: one slide's header, tissue, annotations and cells; no full-resolution pixel is kept.

Reads the slide's header and one low level, the annotation file, and a few tissue cells at full
resolution where a stain is to be fitted. Writes ``slides/{id}/``, the record last.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wsiprep.annotations.compare import Changes
from wsiprep.artifacts import DatasetTree, write_bytes, write_json
from wsiprep.config import Recipe
from wsiprep.errors import DataError, SlideError
from wsiprep.geometry import Box, Spacing
from wsiprep.manifest import SlideRow
from wsiprep.patches import Cells
from wsiprep.patches.duplicates import thumbnail_hash
from wsiprep.patches.hashing import cell_hashes
from wsiprep.progress import Reporter
from wsiprep.slides import DamagedRegionError, PatchReader, PixelSource, Slide, open_slide
from wsiprep.slides.collections import is_collection
from wsiprep.slides.overview import read_damaged_overview
from wsiprep.stages.cells import cells_of, grid_at
from wsiprep.stages.collection import survey_collection
from wsiprep.stages.labels import labels_of_slide
from wsiprep.stages.lesions import lesion_rows
from wsiprep.stages.overview import Overview, picture_of
from wsiprep.stages.pictures import jpeg_bytes
from wsiprep.stages.records import candidates_table, pixels_of, record_head
from wsiprep.stages.scale import SlideScale, slide_scale
from wsiprep.stages.staging import staged
from wsiprep.stages.tables import table_bytes
from wsiprep.stain import ColourHistogram, ColourSample, glass_colour, histogram
from wsiprep.tissue import TissueMask, cell_fractions, find_tissue, read_given, write_mask

FULL_DIGEST_CHUNK = 1 << 22
MIN_STAIN_TISSUE = 0.5


def survey(
    row: SlideRow, recipe: Recipe, tree: DatasetTree, reporter: Reporter, *, stage: Path | None = None
) -> dict[str, Any]:
    """Survey one slide and write its folder; returns the record (``slide.json``).

    Args:
        stage: a scratch folder that the slide is copied to and read from.

    Raises:
        DataError: the slide, its spacing or its annotations cannot be trusted (exit 65).
        StorageError: the folder, or the scratch, cannot be written (exit 74).
    """
    with staged(row.located(), stage, reporter) as here:
        return _survey(here, recipe.for_source(row.source), tree, reporter)


def _survey(row: SlideRow, recipe: Recipe, tree: DatasetTree, reporter: Reporter) -> dict[str, Any]:
    if is_collection(row.slide):
        return survey_collection(row, recipe, tree, reporter)
    _check_digest(row)
    with open_slide(row.slide, recipe.backend, icc=recipe.icc) as slide:
        info = slide.info
        scale = slide_scale(info.spacing, row, recipe)
        labels = labels_of_slide(row, recipe, info, tree.slide(row.slide_id))
        _say_changes(labels.changes, row, reporter)
        regions = labels.annotations.regions
        name = f"{scale.patch_um:g} um/px" if scale.patch_um else "each cell scaled to the patch"
        reporter.say(f"survey {row.slide_id}: {info.backend}, {name}")
        factor = max(1, int(recipe.tissue.spacing_um / scale.used.mean_um))
        seen = read_damaged_overview(slide, factor, decode=recipe.decode)
        view = Overview(seen.image, seen.downsample)
        damaged_share = float(seen.damaged.mean())
        if damaged_share:
            reporter.say(f"{row.slide_id}: {damaged_share:.2%} of the overview cannot be decoded", level="warning")
        tissue = _tissue(row, recipe, view, scale.used, slide)
        seen_tissue = tissue.at(view.downsample, info.size)
        picture = picture_of(slide, view)
        cells = cells_of(info.size, info.bounds, scale.cells, regions, recipe, name=row.slide_id)
        places = (cells.x_lv0, cells.y_lv0, cells.width_lv0, cells.height_lv0)
        shares = cell_fractions(tissue, info.size, *places)
        fractions = labels.source.fractions(*places)
        reader = PatchReader(slide, pixels_of(recipe), recipe.decode)
        colours = _colours(row, reader, cells, shares, recipe) if recipe.stain.method != "none" else None
        source = _pixel_source(reader, cells)
    folder = tree.slide(row.slide_id)
    write_bytes(folder.regions, labels.regions_bytes)
    write_bytes(folder.tissue, write_mask(tissue))
    write_bytes(folder.overview, jpeg_bytes(picture.image))
    write_bytes(folder.candidates, table_bytes(candidates_table(cells, shares, fractions)))
    if colours is not None:
        write_bytes(folder.colours, colours.save())
    record = _record(row, slide, scale, source, cells) | {
        **glass_colour(view.image, seen_tissue).to_dict(),
        "overview": picture.to_dict(),
        "damaged_share": damaged_share,
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
        "thumbnail_hash": thumbnail_hash(view.image, seen_tissue),
        "lesions": lesion_rows(labels.annotations, recipe, cells),
    }
    write_json(folder.record, record)
    return record


def survey_or_record(
    row: SlideRow, recipe: Recipe, tree: DatasetTree, reporter: Reporter, *, stage: Path | None = None
) -> dict[str, Any]:
    """As ``survey``, but bad data becomes a recorded state ``failed``, so that a workflow goes on."""
    try:
        return survey(row, recipe, tree, reporter, stage=stage)
    except DataError as error:
        reporter.say(str(error), level="error", slide=row.slide_id)
        record = record_head(row, "failed") | {"error": {"code": error.code, "message": str(error)}}
        write_json(tree.slide(row.slide_id).record, record)
        return record


def _say_changes(changes: Changes | None, row: SlideRow, reporter: Reporter) -> None:
    """Tell how much label area corrected files move, before anything is packed again."""
    for change in () if changes is None else changes.changes:
        area = f"{change.area_px:.0f} px of level 0"
        if change.area_um2 is not None:
            area += f" ({change.area_um2 / 1e6:.4f} mm2)"
        reporter.say(f"{row.slide_id}: {area} changed from {change.before} to {change.after}", level="warning")


def _pixel_source(reader: PatchReader, cells: Cells) -> PixelSource:
    """Where the cells' pixels come from: the same for all cells of one scale."""
    if len(cells) == 0:
        return PixelSource(0, False)
    return reader.source_of(grid_at(cells, 0))


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
        return read_given(row.tissue, slide.info.size, view.downsample, own_scale=True)
    view_um = view.downsample * spacing.mean_um
    return find_tissue(view.image, view.downsample, view_um, recipe.tissue, row.stain_type)


def _colours(
    row: SlideRow, reader: PatchReader, cells: Cells, shares: npt.NDArray[np.float64], recipe: Recipe
) -> ColourSample:
    """Histograms of the colours of a few tissue cells, read at the patches' scale.

    The first ones by hash of those that can be decoded; pack lists the others.
    """
    enough = min(MIN_STAIN_TISSUE, float(shares.max(initial=0.0)))
    eligible = np.flatnonzero((shares >= enough) & (shares > 0))
    hashes = cell_hashes(row.slide_id, cells.x_lv0[eligible], cells.y_lv0[eligible])
    regions: list[ColourHistogram] = []
    for i in eligible[np.argsort(hashes, kind="stable")].tolist():
        if len(regions) == recipe.stain.sample_cells:
            break
        with suppress(DamagedRegionError):
            regions.append(histogram(reader.read(grid_at(cells, i))))
    return ColourSample(tuple(regions))


def _record(row: SlideRow, slide: Slide, scale: SlideScale, source: PixelSource, cells: Cells) -> dict[str, Any]:
    info = slide.info
    return record_head(row, "surveyed") | {
        "error": None,
        "row_digest": row.survey_digest(),
        "identity": info.identity,
        "size": {"width_px": info.size.width_px, "height_px": info.size.height_px},
        "levels": [
            {"width_px": v.size.width_px, "height_px": v.size.height_px, "factor": v.factor} for v in info.levels
        ],
        "backend": {"requested": info.backend_requested, "used": info.backend, "note": info.backend_note},
        "vendor": info.vendor,
        "compression": info.compression,
        "icc_digest": info.icc_digest,
        "bounds": None if info.bounds is None else _plain(info.bounds),
        "spacing_um": scale.to_dict(),
        "scale": None if scale.cells is None else [float(scale.cells.x), float(scale.cells.y)],
        "pixels": source.to_dict(),
        "cells": {"count": len(cells), "patch_size_px": cells.patch_size_px},
    }


def _plain(box: Box) -> dict[str, int]:
    return {"x": box.x, "y": box.y, "width_px": box.width_px, "height_px": box.height_px}
