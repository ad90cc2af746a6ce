"""Labels of one slide or tile, as survey understands them and pack repeats them.

Outlines are read once, by survey, which writes what it understood to ``regions.geojson``; pack reads that.
Rasters stay where they are: survey records their digest, and pack refuses another file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsiprep.annotations import (
    AnnotationSet,
    LabelMap,
    LabelSource,
    SlideFrame,
    read_annotations,
    read_regions,
    write_regions,
)
from wsiprep.annotations.agreement import agreement
from wsiprep.annotations.compare import Changes, Reading, changed_areas
from wsiprep.annotations.layers import apply_corrections, combine_readings
from wsiprep.annotations.raster_files import is_raster, open_raster
from wsiprep.artifacts import SlideFolder, read_json
from wsiprep.config import Recipe, digest_of
from wsiprep.errors import AnnotationError, WsiprepError
from wsiprep.manifest import SlideRow
from wsiprep.slides import SlideInfo, slide_identity

BASE_READER = "annotation"
"""What the file of the manifest's annotation column is called among several readings."""

RASTER, VECTORS = "raster", "vectors"
_HEAD_BYTES = 256
_WHOLE_FILE_BYTES = 1 << 28


@dataclass(frozen=True, slots=True)
class SlideLabels:
    """What is annotated on one slide.

    Attributes:
        source: the labels.
        annotations: the outlines; none for rasters, but their counts.
        regions_bytes: regions.geojson.
        digest: of what decides the masks: sha256 of regions.geojson, or ``labels_digest`` of the raster.
        kind: ``vectors`` or ``raster``.
        facts: more for the record: layers, agreement.
        changes: what the outlines change against the survey before; None where there was none, or they are the same.
            Not part of the record, which must not depend on what was there before.
    """

    source: LabelSource
    annotations: AnnotationSet
    regions_bytes: bytes
    digest: str
    kind: str = VECTORS
    facts: Mapping[str, Any] = field(default_factory=dict)
    changes: Changes | None = None


def frame_of(info: SlideInfo, name: str, recipe: Recipe | None = None) -> SlideFrame:
    """What a reader of annotations may know of the slide; its bounds only where annotations count from them."""
    bounds = None if recipe is not None and recipe.annotations.origin == "slide" else info.bounds
    return SlideFrame(info.size, info.spacing, name, info.properties, bounds)


def labels_of_slide(row: SlideRow, recipe: Recipe, info: SlideInfo, folder: SlideFolder | None = None) -> SlideLabels:
    """Read a slide's annotation files: the base or a raster, readings of several people, corrections.

    Args:
        row: of the slide, located.
        recipe: of its source.
        info: of the open slide.
        folder: of an earlier survey, to tell what changed since.

    Raises:
        AnnotationError: a file is missing, damaged, or says what the recipe does not know.
    """
    frame = frame_of(info, Path(row.slide).name, recipe)
    if row.annotation is not None and is_raster_file(require_annotation(row.annotation), recipe):
        return _raster(row, recipe, frame)
    annotations, facts = _layered(row, recipe, frame)
    source = LabelMap(annotations.regions, recipe.labels, row.annotation_state, info.size)
    data = write_regions(annotations, recipe.labels)
    changes = None if folder is None else _changes(folder, annotations, data, row, recipe, frame)
    return SlideLabels(source, annotations, data, hashlib.sha256(data).hexdigest(), VECTORS, facts, changes)


def packed_labels(
    row: SlideRow, recipe: Recipe, info: SlideInfo, folder: SlideFolder, record: Mapping[str, Any]
) -> LabelSource:
    """The labels that survey understood, for pack.

    Raises:
        AnnotationError: survey's files are missing or damaged, or the raster is another one now.
    """
    known = record["annotation"]
    if known["kind"] == RASTER:
        path = require_annotation(str(row.annotation))
        require_same(path, recipe, known["digest"])
        return open_raster(path, recipe, frame_of(info, Path(row.slide).name, recipe), known["state"])
    found = read_regions(folder.regions)
    if hashlib.sha256(folder.regions.read_bytes()).hexdigest() != known["digest"]:
        raise AnnotationError(
            "the slide's regions are not the ones that survey wrote",
            file=folder.regions,
            fix="run wsiprep survey again",
        )
    return LabelMap(found.regions, recipe.labels, known["state"], info.size)


def require_annotation(path: str) -> Path:
    """The annotation file that the manifest names.

    Raises:
        AnnotationError: it is not there.
    """
    if not Path(path).is_file():
        raise AnnotationError(
            "the annotation file is missing", got=path, expected="the file that the manifest names",
            fix="fetch it, or set annotation_state to normal or none and leave the column empty",
        )  # fmt: skip
    return Path(path)


def is_raster_file(path: Path, recipe: Recipe) -> bool:
    """Whether an annotation file holds pixels, by the recipe's format or by its first bytes."""
    if recipe.annotations.format != "auto":
        return recipe.annotations.format == RASTER
    try:
        with path.open("rb") as stream:
            return is_raster(stream.read(_HEAD_BYTES))
    except OSError as error:
        raise AnnotationError("the annotation file cannot be read", got=error.strerror, file=path) from error


def raster_digest(path: Path) -> str:
    """sha256 of a label raster's file; beyond 256 MB, of its size, ends and tile tables (``slide_identity``)."""
    try:
        if path.stat().st_size > _WHOLE_FILE_BYTES:
            return slide_identity(path)
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise AnnotationError("the label raster cannot be read", got=error.strerror, file=path) from error


def labels_digest(path: Path, recipe: Recipe) -> str:
    """Of a file that pack reads again and of what the recipe says of it: the masks follow from both.

    A mask can change where no share of any cell does, so the plan could not tell otherwise.
    """
    return digest_of([raster_digest(path), recipe.annotations.model_dump(mode="json"), list(recipe.labels)])


def require_same(path: Path, recipe: Recipe, digest: str) -> None:
    """Refuse a label raster that is not the one that was surveyed, or another meaning of it."""
    if labels_digest(path, recipe) != digest:
        raise AnnotationError(
            "the label raster is not the one that was surveyed",
            got="another file, or another annotations section in the recipe", file=path,
            fix="run survey and plan again",
        )  # fmt: skip


def _raster(row: SlideRow, recipe: Recipe, frame: SlideFrame) -> SlideLabels:
    if row.corrections or row.annotators:
        raise AnnotationError(
            "corrections and readings are outlines and cannot be laid over a label raster", got=str(row.annotation_ref),
            fix="correct the raster itself, or annotate with outlines", file=row.annotation,
        )  # fmt: skip
    path = Path(str(row.annotation))
    source = open_raster(path, recipe, frame, row.annotation_state)
    annotations = AnnotationSet((), dict(source.counts))
    data = write_regions(annotations, recipe.labels)
    return SlideLabels(source, annotations, data, labels_digest(path, recipe), RASTER)


def _layered(row: SlideRow, recipe: Recipe, frame: SlideFrame) -> tuple[AnnotationSet, dict[str, Any]]:
    """The outlines of all files of one slide, and what is known of their layers."""
    facts: dict[str, Any] = {}
    readings: dict[str, AnnotationSet] = {}
    if row.annotation is not None:
        readings[BASE_READER] = read_annotations(require_annotation(row.annotation), recipe, frame)
    for name, path in row.annotators:
        readings[name] = read_annotations(require_annotation(path), recipe, frame)
    rule = recipe.annotations
    # A reader whom the recipe names must have read the slide, also where there is but one reading.
    named = rule.annotators == "choose" and rule.annotator is not None
    if len(readings) > 1:
        facts["agreement"] = agreement(readings, recipe.labels, row.annotation_state, frame.size).to_dict()
    if len(readings) > 1 or (readings and named):
        facts["annotators"] = {"rule": rule.annotators, "chosen": rule.annotator, "readers": list(readings)}
        found = combine_readings(readings, rule.annotators, rule.annotator, recipe.labels, row.annotation_state)
    elif readings:
        (found,) = readings.values()
    else:
        found = AnnotationSet((), {})
    if row.corrections:
        names = _layer_names(row)
        layers = [
            (name, read_annotations(require_annotation(path), recipe, frame))
            for name, path in zip(names, row.corrections, strict=True)
        ]
        found = apply_corrections(found, layers, recipe.labels)
        facts["corrections"] = list(row.correction_refs)
    return found, facts


def _layer_names(row: SlideRow) -> list[str]:
    """Names of the corrections: their files' names, made different by their number."""
    names = [Path(path).name for path in row.corrections]
    return [name if names.count(name) == 1 else f"{name}#{k}" for k, name in enumerate(names, start=1)]


def _changes(
    folder: SlideFolder, new: AnnotationSet, data: bytes, row: SlideRow, recipe: Recipe, frame: SlideFrame
) -> Changes | None:
    """What changed since the last survey; None where nothing did, or it cannot be told."""
    try:
        before = folder.regions.read_bytes()
        if before == data:
            return None
        old = Reading(
            read_regions(folder.regions),
            tuple(json.loads(before)["wsiprep"]["labels"]),
            read_json(folder.record)["annotation"]["state"],
        )
    except (OSError, WsiprepError, LookupError, TypeError, ValueError):
        # A first survey, or one that a kill or another version left half: nothing to compare with.
        return None
    new_reading = Reading(new, recipe.labels, row.annotation_state)
    changes = changed_areas(old, new_reading, frame.size, frame.spacing)
    return changes if changes.changes else None
