"""What ``inspect --overlay`` draws: a slide with an annotation file, or a slide of a dataset as it was surveyed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsiprep.annotations import (
    FORMATS,
    AnnotationSet,
    LabelMap,
    LabelSource,
    Region,
    SlideFrame,
    parse_annotations,
    read_regions,
    resolve,
)
from wsiprep.annotations.raster_files import open_raster
from wsiprep.annotations.reading import sniff
from wsiprep.artifacts import DatasetTree, read_json
from wsiprep.config import Recipe, recipe_from_mapping
from wsiprep.errors import AnnotationError, ManifestError, SlideError, UsageError
from wsiprep.geometry import Spacing
from wsiprep.manifest import SlideRow, slug
from wsiprep.patches import CellScale
from wsiprep.slides import SlideInfo, open_slide
from wsiprep.stages.labels import RASTER, frame_of, is_raster_file, labels_of_slide, packed_labels, require_annotation
from wsiprep.stages.overlay_view import Subject
from wsiprep.stages.records import pixels_of
from wsiprep.stages.scale import slide_scale
from wsiprep.stages.tiles import is_surveyed_collection

MAX_GROUPS = 250
"""Groups or values that a recipe made for one file may have."""

_ANY_RASTER_VALUES = (*range(1, 250), 255)


@dataclass(frozen=True, slots=True)
class Asked:
    """The options that decide labels and scale; None where nothing was asked for.

    Attributes:
        recipe: without one, groups are shown as they are in the file.
        spacing_um, downsample: the working spacing, instead of the recipe's.
        slide_spacing_um: um/px of level 0, instead of the file's.
        backend: of the slide; auto leaves it to the recipe.
    """

    recipe: Recipe | None = None
    spacing_um: float | None = None
    downsample: int | None = None
    slide_spacing_um: float | None = None
    backend: str = "auto"


@contextmanager
def slide_subject(path: str, annotations: Path | None, asked: Asked) -> Iterator[Subject]:
    """A slide's file with an annotation file, or without one.

    Raises:
        SlideError, AnnotationError, SpacingError: as survey, where there is a recipe. Without one a spacing is
            needed only for ``spacing_um``, and any group is drawn.
    """
    row = SlideRow(
        slide_id=slug(Path(path).name.split(".")[0]), raw_id=Path(path).name, slide=path, slide_ref=path,
        annotation=None if annotations is None else str(annotations),
        annotation_ref=None if annotations is None else annotations.name,
        annotation_state="none" if annotations is None else "exhaustive", spacing_um=asked.slide_spacing_um,
    )  # fmt: skip
    recipe = asked.recipe
    with open_slide(path, _backend(asked, recipe), icc=_icc(recipe)) as slide:
        info = slide.info
        scale, spacing = _scale(info, row, asked)
        source, found, names, name = _labels(row, recipe, info)
        yield Subject(
            Path(path).name, slide, "stored" if recipe is None else pixels_of(recipe), scale, spacing,
            source, found.regions, names, name, found.counts,
        )  # fmt: skip


@contextmanager
def dataset_subject(tree: DatasetTree, row: SlideRow, asked: Asked) -> Iterator[Subject]:
    """A surveyed slide: its labels are those of regions.geojson, which masks are made from.

    Args:
        tree: of the dataset.
        row: of the slide.
        asked: with the dataset's recipe.

    Raises:
        ManifestError: the slide is not where its record says.
        SlideError: it is not the one that was surveyed.
        UsageError: it was never surveyed, its survey failed, or it is a collection of tiles.
    """
    assert asked.recipe is not None  # a dataset has one
    folder = tree.slide(row.slide_id)
    record = read_json(folder.record)
    if record["state"] == "failed":
        raise UsageError("the survey of this slide failed", got=record["error"]["message"])
    if is_surveyed_collection(record):
        raise UsageError("a collection of tiles has no overlay", got=row.slide_id, fix="look at previews/ instead")
    recipe = asked.recipe.for_source(row.source)
    row = row.located()
    if "://" not in row.slide and not Path(row.slide).exists():
        raise ManifestError(
            "the slide is not where the dataset's record says", got=row.slide,
            fix="name the manifest with --manifest, or work in the folder that the paths start from",
        )  # fmt: skip
    with open_slide(row.slide, _backend(asked, recipe), icc=recipe.icc) as slide:
        info = slide.info
        if info.identity != record["identity"]:
            raise SlideError(
                "the slide is not the one that was surveyed", got=info.identity[:12],
                expected=record["identity"][:12], file=row.slide, fix="run survey again",
            )  # fmt: skip
        scale, spacing = _scale(info, row, asked)
        known = record["annotation"]
        name = f"{known['file']}\nas it was surveyed"
        regions = () if known["kind"] == RASTER else read_regions(folder.regions).regions
        source = None if known["state"] == "none" else packed_labels(row, recipe, info, folder, record)
        yield Subject(
            row.slide_id, slide, pixels_of(recipe), scale, spacing, source, regions, {},
            name if known["file"] else "none", known["counts"],
        )  # fmt: skip


def surveyed_row(tree: DatasetTree, rows: tuple[SlideRow, ...], slide_id: str) -> SlideRow:
    """The row of a slide that has a record.

    Raises:
        UsageError: there is none; the ids of the dataset are listed.
    """
    known = tree.slide_ids()
    for row in rows:
        if slide_id in (row.slide_id, row.raw_id) and row.slide_id in known:
            return row
    listed = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
    raise UsageError("the dataset has no such slide surveyed", got=slide_id, expected=listed or "none is")


def _backend(asked: Asked, recipe: Recipe | None) -> str:
    return recipe.backend if recipe is not None and asked.backend == "auto" else asked.backend


def _icc(recipe: Recipe | None) -> Any:
    return "ignore" if recipe is None else recipe.icc


def _scale(info: SlideInfo, row: SlideRow, asked: Asked) -> tuple[CellScale, Spacing | None]:
    """The working scale and the spacing of level 0 that counts."""
    if asked.spacing_um is not None and asked.downsample is not None:
        raise UsageError("--spacing-um and --downsample exclude each other")
    wanted = {"downsample": asked.downsample, "spacing_um": asked.spacing_um}
    if asked.recipe is None:
        if wanted["spacing_um"] is None and wanted["downsample"] is None:
            wanted["downsample"] = 1
        if info.spacing is None and row.spacing_um is None and wanted["downsample"] is not None:
            return CellScale.square(int(wanted["downsample"])), None
        recipe = recipe_from_mapping({"name": "inspect", "resample": "area", **wanted})
    else:
        recipe = asked.recipe.for_source(row.source)
        crops = recipe.sampling.kind in ("box", "whole")
        if crops and not any(wanted.values()):
            wanted["downsample"] = 1
        if any(wanted.values()):
            plain = recipe.model_dump(mode="json") | wanted | {"sources": {}}
            if crops:
                plain["sampling"] |= {"kind": "grid"}
            recipe = recipe_from_mapping(plain)
    found = slide_scale(info.spacing, row, recipe)
    assert found.cells is not None  # boxes and whole slides were made grids
    return found.cells, found.used


def _labels(
    row: SlideRow, recipe: Recipe | None, info: SlideInfo
) -> tuple[LabelSource | None, AnnotationSet, Mapping[str, str], str]:
    """Labels, outlines, names of the labels, and the file with its format."""
    if row.annotation is None:
        return None, AnnotationSet(()), {}, "none"
    path = require_annotation(row.annotation)
    frame = frame_of(info, Path(row.slide).name)
    if recipe is None:
        return _as_in_file(path, frame)
    found = labels_of_slide(row, recipe, info)
    if found.kind == RASTER:
        return found.source, found.annotations, {}, f"{path.name}\nlabel raster"
    name = sniff(path) if recipe.annotations.format == "auto" else recipe.annotations.format
    return found.source, found.annotations, {}, f"{path.name}\n{FORMATS[name].title}"


def _as_in_file(path: Path, frame: SlideFrame) -> tuple[LabelSource, AnnotationSet, Mapping[str, str], str]:
    """Every group, or value of a raster, as a label of its own; nothing is cut out of anything."""
    plain: dict[str, Any] = {"name": "inspect", "downsample": 1}
    if is_raster_file(path, recipe_from_mapping(plain)):
        values = {value: f"value_{value}" for value in _ANY_RASTER_VALUES}
        plain |= {"labels": list(values.values()), "annotations": {"raster": {"values": {0: "background", **values}}}}
        source = open_raster(path, recipe_from_mapping(plain), frame)
        names = {label: f"value {value}" for value, label in values.items()}
        return source, AnnotationSet((), dict(source.counts)), names, f"{path.name}\nlabel raster, no recipe"
    name = sniff(path)
    parsed = parse_annotations(path, name, frame)
    groups = list(dict.fromkeys(shape.group for shape in parsed.shapes if not shape.no_area))
    if len(groups) > MAX_GROUPS:
        raise AnnotationError(
            "too many groups to show each", got=len(groups), expected=f"at most {MAX_GROUPS}", file=path,
            fix="give a recipe that maps them",
        )  # fmt: skip
    names = {f"g{k}": group for k, group in enumerate(groups)} or {"g0": "no group"}
    mapping = {group: label for label, group in names.items()}
    recipe = recipe_from_mapping(plain | {"labels": list(names), "annotations": {"groups": mapping}})
    found = resolve(parsed, path, recipe, frame)
    order = sorted(names, key=lambda label: _area(found.regions, label))
    # Small groups on top: a hole stays visible though nobody said that it is one.
    source_map = LabelMap(found.regions, order, "exhaustive", frame.size)
    return source_map, found, names, f"{path.name}\n{FORMATS[name].title}, no recipe"


def _area(regions: tuple[Region, ...], label: str) -> float:
    return sum(float(region.geometry.area) for region in regions if region.label == label)
