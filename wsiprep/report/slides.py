"""Each slide of the report: its thumbnail with tissue, annotations and kept cells, and its facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from wsiprep.artifacts import read_json
from wsiprep.errors import StoreError, TissueError
from wsiprep.report.charts import SERIES
from wsiprep.report.figures import MISSING, Table, count, number, percent, words
from wsiprep.report.inputs import Inputs, Record
from wsiprep.report.outlines import View, canvas_size, cells_path, region_paths, tissue_path
from wsiprep.report.pictures import Picture, embed
from wsiprep.tissue import read_mask

OPEN_SLIDES = 24
"""Up to so many slides are shown open, and with the larger thumbnails."""

MAX_SLIDES = 300
"""So many slides are shown with a thumbnail; all are in the table."""

KEPT = "kept"

Boxes = npt.NDArray[np.int64]
"""(n, 4): x, y, width, height of cells in level-0 pixels."""

_BOX = ("x_lv0", "y_lv0", "width_lv0", "height_lv0")


@dataclass(frozen=True, slots=True)
class Overlay:
    """One layer over a thumbnail: its kind (tissue, region, hole, cells), name, colour and SVG path."""

    kind: str
    name: str
    colour: str
    path: str


@dataclass(frozen=True, slots=True)
class SlideView:
    """What the page shows of one slide."""

    slide_id: str
    state: str
    headline: str
    picture: Picture | None
    canvas: tuple[float, float]
    overlays: tuple[Overlay, ...]
    facts: tuple[tuple[str, str], ...]
    error: str
    damaged: tuple[str, ...]


def slide_views(inputs: Inputs) -> tuple[list[SlideView], int]:
    """The slides with a survey, as far as they are shown, and how many are not."""
    ids = list(inputs.slides)
    side_px = 640 if len(ids) <= OPEN_SLIDES else 400 if len(ids) <= 100 else 280
    cells = _kept_cells(inputs)
    shown = ids[:MAX_SLIDES]
    return [_view(inputs, slide_id, cells, side_px) for slide_id in shown], len(ids) - len(shown)


def state_of(inputs: Inputs, slide_id: str) -> tuple[str, str]:
    """The slide's state and the reason for it, from the latest stage that says."""
    sealed = inputs.table.get(slide_id)
    if sealed is not None and sealed.get("state"):
        return str(sealed["state"]), str(sealed.get("reason") or "")
    planned = (inputs.plan or {}).get("states", {}).get(slide_id)
    if planned is not None and planned["state"] in ("excluded", "failed", "empty"):
        return str(planned["state"]), str(planned.get("reason") or "")
    receipt = inputs.receipts.get(slide_id)
    if receipt is not None:
        return str(receipt["state"]), str(receipt.get("reason") or "")
    if planned is not None:
        return str(planned["state"]), str(planned.get("reason") or "")
    record = inputs.slides.get(slide_id, {})
    error = record.get("error") or {}
    return str(record.get("state", "unknown")), str(error.get("message", ""))


def slides_table(inputs: Inputs) -> Table:
    """One row a slide: who it is from, its scale, how its pixels were read, and what it gives."""
    planned = {row["slide_id"]: row for row in (inputs.plan or {}).get("plan", {}).get("slides", ())}
    columns = (
        "slide", "patient", "centre", "source", "state", "annotation", "size, px", "um/px file", "um/px patch",
        "reader", "pixels from", "tissue", "cells", "kept",
    )  # fmt: skip
    rows = []
    for slide_id in inputs.slide_ids:
        record = inputs.slides.get(slide_id, {})
        row, plan = record.get("row", {}), planned.get(slide_id, {})
        size, spacing = record.get("size"), record.get("spacing_um", {})
        rows.append(
            (
                slide_id, row.get("patient") or MISSING, row.get("centre") or MISSING,
                row.get("source") or MISSING, words(state_of(inputs, slide_id)[0]),
                _annotation(record), f"{size['width_px']} x {size['height_px']}" if size else MISSING,
                _spacing(spacing),
                number(spacing.get("patch")), str(record.get("backend", {}).get("used", MISSING)),
                _pixels_from(record), percent(record.get("tissue", {}).get("share")), count(plan.get("cells")),
                count(plan.get("kept")),
            )
        )  # fmt: skip
    return Table.of(columns, rows, limit=2000)


def failures(inputs: Inputs) -> list[tuple[str, str, str]]:
    """(slide, state, message) of the slides that failed or were excluded."""
    found = []
    for slide_id in inputs.slide_ids:
        state, reason = state_of(inputs, slide_id)
        if state in ("failed", "excluded"):
            error = (inputs.slides.get(slide_id, {}).get("error") or {}).get("message", "")
            found.append((slide_id, state, error or reason))
    return found


def _kept_cells(inputs: Inputs) -> dict[str, Boxes]:
    table = inputs.cells
    if table is None or not {"slide_id", "decision", *_BOX} <= set(table.column_names):
        return {}
    kept = table.filter(pc.equal(table["decision"], KEPT)).select(["slide_id", *_BOX])
    names = kept["slide_id"].to_numpy(zero_copy_only=False)
    boxes = np.stack([kept[name].to_numpy() for name in _BOX], axis=1)
    return {name: boxes[names == name] for name in np.unique(names.astype(str)).tolist()}


def _view(inputs: Inputs, slide_id: str, cells: Mapping[str, Boxes], side_px: int) -> SlideView:
    record = inputs.slides[slide_id]
    state, reason = state_of(inputs, slide_id)
    picture = embed(inputs.tree.slide(slide_id).overview, side_px)
    damaged: list[str] = []
    overlays: list[Overlay] = []
    canvas = (0.0, 0.0)
    if picture is not None:
        canvas = canvas_size(picture.width_px, picture.height_px)
        overlays = [*_tissue(inputs, slide_id, canvas, damaged)]
        if record.get("size"):
            view = _level_0_view(record, canvas)
            overlays += [*_cells(cells.get(slide_id), view), *_regions(inputs, slide_id, view, damaged)]
    kept = len(cells[slide_id]) if slide_id in cells else 0
    patient = record.get("row", {}).get("patient")
    parts = [
        words(state),
        f"{kept} cells kept" if inputs.cells is not None else "",
        f"patient {patient}" if patient else "",
    ]
    error = (record.get("error") or {}).get("message", "") or (reason if state == "failed" else "")
    headline = ", ".join(part for part in parts if part)
    return SlideView(
        slide_id,
        state,
        headline,
        picture,
        canvas,
        tuple(overlays),
        _facts(inputs, record, reason),
        error,
        tuple(damaged),
    )


def _tissue(inputs: Inputs, slide_id: str, canvas: tuple[float, float], damaged: list[str]) -> list[Overlay]:
    path = inputs.tree.slide(slide_id).tissue
    if not path.exists():
        return []
    try:
        mask = read_mask(path).mask
    except TissueError as error:
        damaged.append(f"slides/{slide_id}/tissue.png: {error.message}")
        return []
    return [Overlay("tissue", "tissue", "", tissue_path(mask, *canvas))]


def _cells(cells: Boxes | None, view: View) -> list[Overlay]:
    return [] if cells is None else [Overlay("cells", "kept cells", "", cells_path(cells, view))]


def _regions(inputs: Inputs, slide_id: str, view: View, damaged: list[str]) -> list[Overlay]:
    path = inputs.tree.slide(slide_id).regions
    if not path.exists():
        return []
    try:
        paths = region_paths(read_json(path), view)
    except (StoreError, AttributeError, TypeError, ValueError) as error:
        damaged.append(f"slides/{slide_id}/regions.geojson: {str(error).splitlines()[0]}")
        return []
    layers = []
    for label, outline in paths.items():
        if label in inputs.labels:
            colour = SERIES[(inputs.labels.index(label) + 1) % len(SERIES)]
            layers.append(Overlay("region", label, colour, outline))
        else:
            layers.append(Overlay("hole", label, "", outline))
    return layers


def _level_0_view(record: Record, canvas: tuple[float, float]) -> View:
    size, overview = record["size"], record.get("overview")
    if not overview:
        return View(canvas[0] / size["width_px"], canvas[1] / size["height_px"])
    # The overview's last column and row may reach over the slide's border by part of a pixel.
    width, height = (overview[name] * overview["downsample"] for name in ("width_px", "height_px"))
    return View(canvas[0] / width, canvas[1] / height)


def _facts(inputs: Inputs, record: Record, reason: str) -> tuple[tuple[str, str], ...]:
    spacing, tissue = record.get("spacing_um", {}), record.get("tissue", {})
    annotation, backend = record.get("annotation", {}), record.get("backend", {})
    regions, areas = annotation.get("counts") or {}, annotation.get("area_px") or {}
    facts = [
        ("scale", _scale(record)),
        ("pixels", _pixels_from(record) if record.get("pixels") else ""),
        ("reader", " ".join(str(backend.get(k) or "") for k in ("used", "note")).strip()),
        ("tissue", f"{percent(tissue.get('share'))} ({tissue.get('method')})" if tissue else ""),
        ("annotation", _annotation(record) if annotation else ""),
        ("read from the file", ", ".join(f"{n} {words(rule)}" for rule, n in regions.items() if n)),
        ("area", ", ".join(f"{label} {_area_mm2(px, spacing)}" for label, px in areas.items() if px)),
        ("cells", _decisions(inputs, record)),
        ("reason", words(reason) if record.get("error") is None else ""),
    ]  # fmt: skip
    return tuple((name, value) for name, value in facts if value)


def _scale(record: Record) -> str:
    spacing, scale = record.get("spacing_um") or {}, record.get("scale")
    if not spacing:
        return ""
    if not scale:
        return f"{number(spacing.get('used'))} um/px, each cell scaled to the patch"
    times = " x ".join(dict.fromkeys(f"{float(f):.6g}" for f in scale))
    return f"{number(spacing.get('used'))} um/px x {times} = {number(spacing.get('patch'))} um/px"


def _decisions(inputs: Inputs, record: Record) -> str:
    for row in (inputs.plan or {}).get("plan", {}).get("slides", ()):
        if row["slide_id"] == record["slide_id"]:
            counts = sorted(row["counts"].items(), key=lambda item: (item[0] != "kept", -item[1]))
            return ", ".join(f"{n} {words(code)}" for code, n in counts if n)
    return ""


def _area_mm2(area_px: float, spacing: Mapping[str, Any]) -> str:
    used = spacing.get("used")
    return f"{area_px * used * used / 1e6:.3f} mm2" if used else f"{area_px:.0f} px"


def _annotation(record: Record) -> str:
    annotation = record.get("annotation")
    if not annotation:
        return MISSING
    regions = annotation.get("regions", 0)
    return f"{annotation.get('state')}, {regions} regions" if regions else str(annotation.get("state"))


def _spacing(spacing: Mapping[str, Any]) -> str:
    override = spacing.get("override")
    return f"{number(override)} (manifest)" if override else number(spacing.get("file"))


def _pixels_from(record: Record) -> str:
    pixels = record.get("pixels")
    if not pixels:
        return MISSING
    level = pixels.get("source_level")
    if pixels.get("from_stored"):
        return f"level {level}"
    reduced = pixels.get("dct_factor", 1)
    return f"mean of level {level}" + (f", tiles decoded at 1/{reduced}" if reduced > 1 else "")
