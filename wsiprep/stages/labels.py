"""Labels of one slide: outlines or a raster from its annotation file, as survey understands and pack repeats them."""

from __future__ import annotations

import hashlib
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
from wsiprep.artifacts import SlideFolder
from wsiprep.config import Recipe
from wsiprep.errors import AnnotationError
from wsiprep.manifest import SlideRow
from wsiprep.slides import SlideInfo


@dataclass(frozen=True, slots=True)
class SlideLabels:
    """What is annotated on one slide.

    Attributes:
        source: the labels.
        annotations: the outlines; none for rasters.
        digest: of what decides the masks: sha256 of regions.geojson, or the raster's identity.
        kind: ``vectors`` or ``raster``.
        facts: more for the record (layers, agreement).
    """

    source: LabelSource
    annotations: AnnotationSet
    digest: str
    kind: str = "vectors"
    facts: Mapping[str, Any] = field(default_factory=dict)


def frame_of(info: SlideInfo, name: str) -> SlideFrame:
    """What a reader of annotations may know of the slide."""
    return SlideFrame(info.size, info.spacing, name, info.properties, info.bounds)


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


def labels_of_slide(row: SlideRow, recipe: Recipe, info: SlideInfo) -> SlideLabels:
    """Read a slide's annotation file.

    Raises:
        AnnotationError: it is missing, damaged, or says what the recipe does not know.
    """
    if row.annotation is None:
        annotations = AnnotationSet(regions=(), counts={})
    else:
        path = require_annotation(row.annotation)
        annotations = read_annotations(path, recipe, frame_of(info, Path(row.slide).name))
    source = LabelMap(annotations.regions, recipe.labels, row.annotation_state, info.size)
    return SlideLabels(source, annotations, regions_digest(annotations, recipe))


def regions_digest(annotations: AnnotationSet, recipe: Recipe) -> str:
    """sha256 of ``regions.geojson``."""
    return hashlib.sha256(write_regions(annotations, recipe.labels)).hexdigest()


def packed_labels(
    row: SlideRow, recipe: Recipe, info: SlideInfo, folder: SlideFolder, record: Mapping[str, Any]
) -> LabelSource:
    """The labels that survey understood, for pack.

    Raises:
        AnnotationError: survey's files are missing or damaged, or the raster is another one now.
    """
    regions = read_regions(folder.regions).regions
    return LabelMap(regions, recipe.labels, record["annotation"]["state"], info.size)
