"""export: annotations as survey understood them, for QuPath (GeoJSON) or ASAP (XML), with the kept patches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import shapely

from wsiprep.annotations import AnnotationSet, Region, SlideFrame, read_annotations, read_regions, write_asap
from wsiprep.annotations.qupath_export import write_qupath
from wsiprep.artifacts import DatasetTree, read_json, write_bytes
from wsiprep.config import Recipe
from wsiprep.errors import StoreError, UsageError
from wsiprep.progress import Reporter
from wsiprep.stages.rows import recipe_of_tree
from wsiprep.stages.tables import numbers
from wsiprep.store.tables import read_parquet

Format = Literal["geojson", "asap"]
SUFFIX: Mapping[Format, str] = {"geojson": ".geojson", "asap": ".xml"}
PATCH_GROUP = "wsiprep patch"
"""Group of the outlines of patches; a recipe that reads the file again maps it to drop."""


def export_file(path: Path, recipe: Recipe, frame: SlideFrame, wanted: Format) -> bytes:
    """An annotation file in another format, as the recipe understands it.

    Raises:
        AnnotationError: as ``read_annotations``.
    """
    origin = (0, 0) if frame.bounds is None else (frame.bounds.x, frame.bounds.y)
    return _bytes(read_annotations(path, recipe, frame), recipe.labels, origin, wanted)


def export_slide(tree: DatasetTree, slide_id: str, wanted: Format, *, patches: bool = False) -> bytes:
    """A surveyed slide's regions, and with ``patches`` the outlines of the patches that the plan keeps.

    Raises:
        StoreError: the slide was not surveyed (or failed), or is not planned and ``patches`` is asked for.
        AnnotationError: its regions are damaged, or its labels are a raster.
    """
    if not tree.slide(slide_id).record.exists():
        known = tree.slide_ids()
        raise StoreError(
            "the dataset has no such slide", got=slide_id,
            expected=", ".join(known[:8]) + (", ..." if len(known) > 8 else "") or "none was surveyed",
        )  # fmt: skip
    record = read_json(tree.slide(slide_id).record)
    if record["state"] == "failed":
        raise StoreError("the slide's survey failed", got=record["error"]["message"], fix="survey it again")
    if record["annotation"].get("kind", "vectors") != "vectors":
        raise StoreError("the slide's labels have no outlines to export", got=record["annotation"]["kind"])
    annotations = read_regions(tree.slide(slide_id).regions)
    if patches:
        annotations = replace(annotations, regions=(*annotations.regions, *kept_patches(tree, slide_id)))
    labels = read_json(tree.slide(slide_id).regions)["wsiprep"]["labels"]
    return _bytes(annotations, labels, _origin(record, tree, wanted), wanted)


def export_dataset(tree: DatasetTree, folder: Path, wanted: Format, reporter: Reporter, *, patches: bool) -> list[Path]:
    """Every slide of a dataset that has outlines (or patches), one file each; returns the files.

    Slides without a usable survey, with raster labels, or (with ``patches``) that keep nothing are said and
    left out.

    Raises:
        StoreError: nothing was surveyed here.
    """
    if not tree.slide_ids():
        raise StoreError("no slide was surveyed here", got=str(tree.root), fix="run survey, or tile, first")
    written = []
    for slide_id in tree.slide_ids():
        record = read_json(tree.slide(slide_id).record)
        why = _left_out(record, tree, patches)
        if why:
            reporter.say(f"{slide_id}: {why}, left out", level="warning", slide=slide_id)
            continue
        path = folder / f"{slide_id}{SUFFIX[wanted]}"
        write_bytes(path, export_slide(tree, slide_id, wanted, patches=patches))
        written.append(path)
    return written


def _left_out(record: Mapping[str, Any], tree: DatasetTree, patches: bool) -> str:
    if record["state"] == "failed":
        return "its survey failed"
    if record["annotation"].get("kind", "vectors") != "vectors":
        return f"its labels are a {record['annotation']['kind']}"
    if patches and not tree.plan_slice(record["slide_id"]).exists():
        return "the plan keeps no patch of it"
    return ""


def kept_patches(tree: DatasetTree, slide_id: str) -> list[Region]:
    """The outlines of the patches that the plan keeps, in level-0 pixels, in the order of their rows.

    Raises:
        StoreError: the slide is not planned, or keeps nothing.
    """
    path = tree.plan_slice(slide_id)
    if not path.exists():
        raise StoreError(
            "the plan keeps no patch of this slide", got=slide_id,
            fix="run plan (or tile) first; plan.json says why slides keep nothing",
        )  # fmt: skip
    table = read_parquet(path)
    columns = [numbers(table, name).tolist() for name in ("x_lv0", "y_lv0", "width_lv0", "height_lv0")]
    return [
        Region("patch", shapely.box(x, y, x + w, y + h), PATCH_GROUP, f"{slide_id} {x} {y}", "Rectangle")
        for x, y, w, h in zip(*columns, strict=True)
    ]


def _bytes(annotations: AnnotationSet, labels: Sequence[str], origin: tuple[int, int], wanted: Format) -> bytes:
    if wanted == "asap":
        return write_asap(annotations)
    if wanted == "geojson":
        return write_qupath(annotations, labels, origin)
    raise UsageError("an unknown format", got=wanted, expected=", ".join(SUFFIX))


def _origin(record: Mapping[str, Any], tree: DatasetTree, wanted: Format) -> tuple[int, int]:
    """The corner of what QuPath shows of the slide; ASAP shows the whole plane."""
    if wanted == "asap" or (tree.recipe.exists() and recipe_of_tree(tree).annotations.origin == "slide"):
        return (0, 0)
    if "bounds" not in record:
        raise StoreError(
            "the survey does not say which part of the slide was scanned, so QuPath's corner is not known",
            got="no bounds in slide.json", fix="survey the slide again",
        )  # fmt: skip
    bounds = record["bounds"]
    return (0, 0) if bounds is None else (int(bounds["x"]), int(bounds["y"]))
