"""annotations show and compare: what a file has, and what a new one changes before anything is packed again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wsiprep.annotations import (
    FORMATS,
    AnnotationSet,
    SlideFrame,
    parse_annotations,
    read_annotations,
    read_regions,
    resolve,
)
from wsiprep.annotations.compare import Changes, Reading, changed_areas
from wsiprep.annotations.reading import sniff
from wsiprep.artifacts import DatasetTree, SlideFolder, read_json
from wsiprep.config import Recipe, recipe_from_mapping
from wsiprep.errors import AnnotationError, UsageError
from wsiprep.geometry import Size, Spacing
from wsiprep.manifest import AnnotationState, SlideRow
from wsiprep.slides import open_slide
from wsiprep.stages.labels import frame_of, labels_of_slide

_ANY = "any_group"
_UNBOUNDED = Size(10_000_000, 10_000_000)
"""Size of a slide that nobody named: the limit of coordinates in every format."""


def frame_for(slide: Path | None, size: Size | None, recipe: Recipe | None) -> SlideFrame | None:
    """What a command was told of the slide: its file, or its size alone, or nothing.

    Raises:
        SlideError: the file is no slide.
        UsageError: both were given.
    """
    if slide is not None and size is not None:
        raise UsageError("give one of --slide and --size", got=f"{slide} and {size.width_px}x{size.height_px}")
    if slide is not None:
        with open_slide(slide, "auto" if recipe is None else recipe.backend) as opened:
            return frame_of(opened.info, slide.name, recipe)
    return None if size is None else SlideFrame(size)


def show(path: Path, frame: SlideFrame | None, recipe: Recipe | None) -> dict[str, Any]:
    """What an annotation file has: format, groups with counts and areas, and what was repaired or left out.

    Args:
        path: the file.
        frame: of its slide; without one, nothing can be said of points outside the slide.
        recipe: without one every group counts as a label of its own, overlaps and all.

    Raises:
        AnnotationError: as :func:`read_annotations`.
    """
    bounded = frame if frame is not None else SlideFrame(_UNBOUNDED)
    wanted = "auto" if recipe is None else recipe.annotations.format
    name = sniff(path) if wanted == "auto" else wanted
    parsed = parse_annotations(path, name, bounded)
    if recipe is None:
        groups = dict.fromkeys((shape.group for shape in parsed.shapes), _ANY)
        rules = {"name": "show", "labels": [_ANY], "downsample": 1, "annotations": {"groups": groups}}
        found = resolve(parsed, path, recipe_from_mapping(rules), bounded)
    else:
        found = resolve(parsed, path, recipe, bounded)
    shapes: dict[str, int] = {}
    for shape in parsed.shapes:
        shapes[shape.group] = shapes.get(shape.group, 0) + 1
    facts = {
        "file": path.name,
        "format": FORMATS[name].title,
        "groups": [_group(group, count, found, frame, recipe) for group, count in shapes.items()],
        "authors": sorted({region.author for region in found.regions if region.author}),
        "dates": _span([region.date for region in found.regions if region.date]),
        "counts": dict(found.counts),
        "notes": list(found.notes),
    }
    return {key: value for key, value in facts.items() if value}


def _group(
    group: str, shapes: int, found: AnnotationSet, frame: SlideFrame | None, recipe: Recipe | None
) -> dict[str, Any]:
    own = [region for region in found.regions if region.group == group]
    area = sum(float(region.geometry.area) for region in own)
    row: dict[str, Any] = {"group": group, "annotations": shapes, "regions": len(own), "area_px": round(area, 3)}
    if frame is not None and frame.spacing is not None:
        row["area_um2"] = round(area * frame.spacing.x_um * frame.spacing.y_um, 3)
    if recipe is not None:
        row["becomes"] = ", ".join(dict.fromkeys(region.label for region in own)) or recipe.group_map.get(group, "-")
    return row


def _span(dates: Sequence[str]) -> list[str]:
    return sorted({min(dates), max(dates)}) if dates else []


def compare_files(
    old: Path, new: Path, recipe: Recipe, frame: SlideFrame, states: tuple[AnnotationState, AnnotationState]
) -> Changes:
    """Areas that change between two annotation files of one slide under one recipe.

    Args:
        states: what places outside all regions mean, in the old file and in the new one.
    """
    readings = [
        Reading(read_annotations(path, recipe, frame), recipe.labels, state)
        for path, state in zip((old, new), states, strict=True)
    ]
    return changed_areas(readings[0], readings[1], frame.size, frame.spacing)


def compare_dataset(
    rows: Iterable[SlideRow], recipe: Recipe, tree: DatasetTree
) -> Iterator[tuple[str, Changes | None, str]]:
    """What the files that the manifest names now change of what was surveyed: slide by slide, in its order.

    Reads headers of slides and annotation files; nothing is written.

    Yields:
        slide id, the changes, and "" or why there is nothing to compare (then the changes are None).

    Raises:
        AnnotationError, SlideError: a file that cannot be read.
    """
    for row in rows:
        record_path = tree.slide(row.slide_id).record
        record = read_json(record_path) if record_path.exists() else None
        if record is None or record["state"] == "failed":
            yield row.slide_id, None, "not surveyed" if record is None else "its survey failed"
            continue
        own, here = recipe.for_source(row.source), row.located()
        with open_slide(here.slide, own.backend) as slide:
            info = slide.info
        labels = labels_of_slide(here, own, info)
        if labels.kind != "vectors":
            yield row.slide_id, None, f"its labels are a {labels.kind}, which has no outlines"
            continue
        changes = changes_since(
            tree.slide(row.slide_id), labels.annotations, own, row.annotation_state, info.size, _spacing(record)
        )
        yield row.slide_id, changes, ""


def changes_since(
    folder: SlideFolder,
    new: AnnotationSet,
    recipe: Recipe,
    state: AnnotationState,
    size: Size,
    spacing: Spacing | None = None,
) -> Changes | None:
    """Areas that change from what a slide's folder holds from an earlier survey; None without one.

    Call it before the folder is written.

    Args:
        folder: of the slide in the dataset.
        new, recipe, state: the annotations as they are read now (``recipe.for_source`` applied).
        size, spacing: of level 0.

    Raises:
        AnnotationError: the old regions are damaged.
    """
    if not (folder.regions.exists() and folder.record.exists()):
        return None
    annotation = read_json(folder.record).get("annotation")
    if annotation is None:
        return None
    head = read_json(folder.regions)
    old = Reading(read_regions(folder.regions), tuple(head["wsiprep"]["labels"]), annotation["state"])
    return changed_areas(old, Reading(new, recipe.labels, state), size, spacing)


def _spacing(record: Mapping[str, Any]) -> Spacing | None:
    """um/px of level 0 as survey used it."""
    scale = record["spacing_um"]
    return None if scale["used"] is None else Spacing(scale["used"], scale["used_y"])


def facts_of(changes: Changes) -> dict[str, Any]:
    """Changes as rows for people: one for each move, one for each class that is or was anywhere."""
    moves = []
    for c in changes.changes:
        row: dict[str, Any] = {"from": c.before, "to": c.after, "area_px": round(c.area_px, 3)}
        if c.area_um2 is not None:
            row["area_um2"] = round(c.area_um2, 3)
        moves.append(row)
    classes = [
        {"class": c.name, "before_px": round(c.before_px, 3), "after_px": round(c.after_px, 3),
         "gained_px": round(c.gained_px, 3), "lost_px": round(c.lost_px, 3)}
        for c in changes.classes
        if c.before_px or c.after_px
    ]  # fmt: skip
    return {"changed_px": round(changes.changed_px, 3), "changes": moves, "classes": classes}


def lines_of(facts: Mapping[str, Any]) -> list[str]:
    """Facts as text: one line a value, tables with aligned columns."""
    lines: list[str] = []
    for key, value in facts.items():
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            lines += [f"{key}:", *_table(value)]
        elif isinstance(value, list):
            lines += [f"{key}:", *(f"  {item}" for item in value)] if value else [f"{key}: none"]
        elif isinstance(value, Mapping):
            lines += [f"{key}:", *(f"  {name}: {item}" for name, item in value.items())]
        else:
            lines.append(f"{key}: {value:,.1f}" if isinstance(value, float) else f"{key}: {value}")
    return lines


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    names = list(rows[0])
    cells = [names, *([_cell(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    numeric = [all(isinstance(row[name], (int, float)) for row in rows) for name in names]
    lines = []
    for line in cells:
        padded = (c.rjust(w) if n else c.ljust(w) for c, w, n in zip(line, widths, numeric, strict=True))
        lines.append("  " + "  ".join(padded).rstrip())
    return lines


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}"
    return repr(value) if value == "" else str(value)


def as_json(facts: Mapping[str, Any]) -> str:
    """Facts for machines."""
    return json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False)


def read_size(text: str) -> Size:
    """A size as WIDTHxHEIGHT.

    Raises:
        UsageError: anything else.
    """
    width, _, height = text.lower().partition("x")
    whole = width.isdecimal() and height.isdecimal() and len(width + height) <= 16
    if not whole or min(int(width), int(height)) < 1:
        raise UsageError("a size is WIDTHxHEIGHT in level-0 pixels", got=text, expected="for example 97792x221184")
    return Size(int(width), int(height))


def require_frame(frame: SlideFrame | None) -> SlideFrame:
    """The frame, where a command cannot do without.

    Raises:
        UsageError: there is none.
    """
    if frame is None:
        raise UsageError("the slide is not known", fix="name its file with --slide, or its size with --size")
    return frame


def require_outlines(path: Path) -> Path:
    """The file, if it is there.

    Raises:
        AnnotationError: it is not.
    """
    if not path.is_file():
        raise AnnotationError("there is no such annotation file", got=str(path))
    return path
