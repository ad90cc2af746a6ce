"""All annotation files of one slide made into one: readings combined, corrections painted over the result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsiprep.annotations import AnnotationSet, SlideFrame, read_annotations
from wsiprep.annotations.agreement import agreement
from wsiprep.annotations.layers import apply_corrections, combine_readings
from wsiprep.config import Recipe
from wsiprep.errors import AnnotationError
from wsiprep.manifest import SlideRow

BASE_READER = "base"
"""Who read the file of the ``annotation`` column."""


@dataclass(frozen=True, slots=True)
class LayeredAnnotations:
    """What holds in the end.

    Attributes:
        annotations: the regions.
        facts: for the record: ``corrections``, ``readings``, ``agreement``; empty for one file alone.
    """

    annotations: AnnotationSet
    facts: Mapping[str, Any] = field(default_factory=dict)


def read_layers(row: SlideRow, recipe: Recipe, frame: SlideFrame) -> LayeredAnnotations:
    """Read all annotation files of a slide.

    The readings (the ``annotation`` column's, called ``base``, then ``annotators``) become one by
    ``annotations.annotators``; then ``corrections`` are painted over it in the manifest's order: they are
    later than all readings and decide between them.

    Raises:
        AnnotationError: a file is missing, damaged, or says what the recipe does not know.
    """
    paths = dict(row.annotators)
    if row.annotation is not None:
        if BASE_READER in paths:
            raise AnnotationError(
                "an annotator has the name of the annotation column's reader", got=BASE_READER,
                expected="another name in the manifest's annotators column",
            )  # fmt: skip
        paths = {BASE_READER: row.annotation, **paths}
    readings = {name: _read(path, recipe, frame) for name, path in paths.items()}
    if not readings:
        return LayeredAnnotations(AnnotationSet((), {}))
    rules = recipe.annotations
    facts: dict[str, Any] = {}
    found = next(iter(readings.values()))
    if len(readings) > 1 or BASE_READER not in readings:
        found = combine_readings(readings, rules.annotators, rules.annotator, recipe.labels, row.annotation_state)
        facts["readings"] = {
            "rule": rules.annotators,
            "annotator": rules.annotator,
            "regions": {name: len(reading.regions) for name, reading in readings.items()},
        }
    if len(readings) > 1:
        facts["agreement"] = agreement(readings, recipe.labels, row.annotation_state, frame.size).to_dict()
    if row.corrections:
        names = layer_names(row.correction_refs or row.corrections)
        layers = [(name, _read(path, recipe, frame)) for name, path in zip(names, row.corrections, strict=True)]
        facts["corrections"] = [{"layer": name, "regions": len(layer.regions)} for name, layer in layers]
        found = apply_corrections(found, layers, recipe.labels)
    return LayeredAnnotations(found, facts)


def layer_names(refs: Sequence[str]) -> tuple[str, ...]:
    """A name for each file: its own, or the whole reference where two files share one."""
    count = Counter(Path(ref).name for ref in refs)
    return tuple(Path(ref).name if count[Path(ref).name] == 1 else ref for ref in refs)


def _read(path: str, recipe: Recipe, frame: SlideFrame) -> AnnotationSet:
    if not Path(path).is_file():
        raise AnnotationError(
            "the annotation file is missing", got=path, expected="the file that the manifest names",
            fix="fetch it, or set annotation_state to normal or none and leave the column empty",
        )  # fmt: skip
    return read_annotations(path, recipe, frame)
