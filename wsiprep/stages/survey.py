"""survey: one slide's header, tissue, annotations and cells; no full-resolution pixel is kept.

Reads the slide's header and one low level, the annotation file, and a few tissue cells at full
resolution where a stain is to be fitted. Writes ``slides/{id}/``, the record last.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from wsiprep.annotations import AnnotationSet, Fractions, LabelMap, read_annotations, write_regions
from wsiprep.artifacts import DatasetTree, write_bytes, write_json
from wsiprep.config import Recipe
from wsiprep.errors import AnnotationError, DataError, SlideError, SpacingError
from wsiprep.geometry import Box, downsample_for, spacing_matches
from wsiprep.manifest import SlideRow
from wsiprep.patches.hashing import cell_hashes
from wsiprep.patches.sampling import Cells, grid_cells
from wsiprep.progress import Reporter
from wsiprep.slides import Plane, Slide, open_slide, read_overview
from wsiprep.stages.overview import Overview, picture_of
from wsiprep.stages.pictures import jpeg_bytes
from wsiprep.stages.revisions import REVISION
from wsiprep.stages.tables import column, table_bytes
from wsiprep.stain import ColourHistogram, glass_colour, histogram
from wsiprep.tissue import TissueMask, cell_fractions, find_tissue, read_given, write_mask

FULL_DIGEST_CHUNK = 1 << 22
MIN_STAIN_TISSUE = 0.5


@dataclass(frozen=True, slots=True)
class SlideScale:
    """How a slide's pixels relate to the patches': spacings in um/px and the integer downsample."""

    file_um: float | None
    override_um: float | None
    used_um: float
    downsample: int

    @property
    def patch_um(self) -> float:
        return self.used_um * self.downsample

    def to_dict(self) -> dict[str, float | None]:
        return {"file": self.file_um, "override": self.override_um, "used": self.used_um, "patch": self.patch_um}


def survey(row: SlideRow, recipe: Recipe, tree: DatasetTree, reporter: Reporter) -> dict[str, Any]:
    """Survey one slide and write its folder; returns the record (``slide.json``).

    Raises:
        DataError: the slide, its spacing or its annotations cannot be trusted (exit 65).
        StorageError: the folder cannot be written (exit 74).
    """
    recipe = recipe.for_source(row.source)
    _check_digest(row)
    with open_slide(row.slide, recipe.backend) as slide:
        scale = slide_scale(slide, row, recipe)
        annotations = _annotations(row, recipe, slide)
        labels = LabelMap(annotations.regions, recipe.labels, row.annotation_state, slide.info.size)
        reporter.say(f"survey {row.slide_id}: {slide.info.backend}, {scale.patch_um:g} um/px")
        view = Overview(*read_overview(slide, max(1, int(recipe.tissue.spacing_um / scale.used_um))))
        tissue = _tissue(row, recipe, view, scale.used_um, slide)
        picture = picture_of(slide, view)
        cells = grid_cells(slide.info.size, scale.downsample, recipe.sampling)
        side = cells.side_lv0
        shares = cell_fractions(tissue, slide.info.size, cells.x_lv0, cells.y_lv0, side, side)
        fractions = labels.fractions(cells.x_lv0, cells.y_lv0, side, side)
        plane = Plane(slide, scale.downsample, recipe.pixels)
        colours = _colours(row, recipe, plane, cells, shares) if recipe.stain.method != "none" else None
    folder = tree.slide(row.slide_id)
    regions = write_regions(annotations, recipe.labels)
    write_bytes(folder.regions, regions)
    write_bytes(folder.tissue, write_mask(tissue))
    write_bytes(folder.overview, jpeg_bytes(picture.image))
    write_bytes(folder.candidates, table_bytes(_candidates(cells, shares, fractions)))
    if colours is not None:
        write_bytes(folder.colours, colours.save())
    record = _record(row, slide, scale, plane, cells) | {
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
            "regions": len(annotations.regions),
            "regions_digest": hashlib.sha256(regions).hexdigest(),
            "counts": dict(annotations.counts),
            "area_px": dict(labels.areas_px),
        },
        "lesions": _lesions(annotations, recipe),
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


def slide_scale(slide: Slide, row: SlideRow, recipe: Recipe) -> SlideScale:
    """Spacing and downsample of a slide by the recipe's rules; never guessed.

    Raises:
        SpacingError: no spacing anywhere, not square, or more than 2 % off what the recipe expects.
    """
    found = slide.info.spacing
    file_um = None if found is None else found.mean_um
    if row.spacing_um is not None:
        used = row.spacing_um
    elif found is None:
        raise SpacingError(
            "the slide does not say how large its pixels are", got="no um/px in the file", file=row.slide,
            expected="a resolution tag, or a spacing_um in the manifest",
            fix="add a spacing_um column to the manifest (or --slide-spacing-um with tile)",
        )  # fmt: skip
    elif not found.is_square:
        raise SpacingError(
            "the pixels are not square", got=f"{found.x_um:g} x {found.y_um:g} um/px", file=row.slide,
            expected="sides within 2 %", fix="give spacing_um in the manifest if the file is wrong",
        )  # fmt: skip
    else:
        used = found.mean_um
    expected = recipe.expect_um
    if row.spacing_um is None and expected and not any(spacing_matches(used, e) for e in expected):
        raise SpacingError(
            "the slide's spacing is not what the recipe expects", got=f"{used:g} um/px", file=row.slide,
            expected=" or ".join(f"{e:g}" for e in expected) + " um/px within 2 %",
            fix="correct expect_um, or give this slide a spacing_um in the manifest",
        )  # fmt: skip
    downsample = downsample_for(used, downsample=recipe.downsample, spacing_um=recipe.spacing_um)
    return SlideScale(file_um, row.spacing_um, used, downsample)


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


def _annotations(row: SlideRow, recipe: Recipe, slide: Slide) -> AnnotationSet:
    if row.annotation is None:
        return AnnotationSet(regions=(), counts={})
    if not Path(row.annotation).is_file():
        raise AnnotationError(
            "the annotation file is missing", got=row.annotation,
            expected="the file that the manifest names",
            fix="fetch it, or set annotation_state to normal or none and leave the column empty",
        )  # fmt: skip
    return read_annotations(row.annotation, recipe, slide.info.size)


def _tissue(row: SlideRow, recipe: Recipe, view: Overview, spacing_um: float, slide: Slide) -> TissueMask:
    if recipe.tissue.method == "given":
        if row.tissue is None:
            raise DataError(
                "tissue.method is given, but the manifest names no tissue file", got=row.slide_id,
                fix="fill the tissue column, or choose another method",
            )  # fmt: skip
        return read_given(row.tissue, slide.info.size, view.downsample)
    return find_tissue(view.image, view.downsample, view.downsample * spacing_um, recipe.tissue, row.stain_type)


def _colours(
    row: SlideRow, recipe: Recipe, plane: Plane, cells: Cells, shares: npt.NDArray[np.float64]
) -> ColourHistogram:
    """Histogram of the colours of a few tissue cells, chosen by hash, read at the patches' scale."""
    enough = min(MIN_STAIN_TISSUE, float(shares.max(initial=0.0)))
    eligible = np.flatnonzero((shares >= enough) & (shares > 0))
    hashes = cell_hashes(row.slide_id, cells.x_lv0[eligible], cells.y_lv0[eligible])
    chosen = np.sort(eligible[np.argsort(hashes, kind="stable")[: recipe.stain.sample_cells]])
    total = ColourHistogram.empty()
    for i in chosen.tolist():
        side, n = cells.patch_size_px, cells.downsample
        box = Box(int(cells.x_lv0[i]) // n, int(cells.y_lv0[i]) // n, side, side)
        total = total + histogram(plane.read_padded(box))
    return total


def _candidates(cells: Cells, tissue: npt.NDArray[np.float64], fractions: Fractions) -> pa.Table:
    columns: dict[str, Any] = {
        "col": cells.col,
        "row": cells.row,
        "x_lv0": cells.x_lv0,
        "y_lv0": cells.y_lv0,
        "tissue_fraction": tissue,
        "annotated_fraction": fractions.annotated,
    }
    columns |= {f"{name}_fraction": values for name, values in fractions.per_label.items()}
    return pa.table({name: column(values) for name, values in columns.items()})


def _record(row: SlideRow, slide: Slide, scale: SlideScale, plane: Plane, cells: Cells) -> dict[str, Any]:
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
        "downsample": scale.downsample,
        "pixels": {"from_stored": plane.from_stored, "source_level": plane.source_level},
        "cells": {"count": len(cells), "patch_size_px": cells.patch_size_px, "side_lv0": cells.side_lv0},
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
