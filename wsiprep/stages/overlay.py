"""inspect --overlay: annotation outlines over the pixels that a recipe would pack, to be checked by eye.

Without a place the whole slide is shown, at most ``WHOLE_PX`` a side; with one, a window at the working
spacing, its pixels and labels exactly those that patches there get.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from wsiprep.artifacts import write_bytes
from wsiprep.errors import UsageError
from wsiprep.geometry import Box, PixelGrid
from wsiprep.slides.overview import overview_level, read_damaged_overview
from wsiprep.stages import overlay_picture as draw
from wsiprep.stages.overlay_view import (
    Subject,
    View,
    Window,
    off_slide,
    overview_downsample,
    whole_view,
    window_view,
)
from wsiprep.stages.pictures import RGB, jpeg_bytes, png_bytes

PANEL_PX = 350
INSET_PX = 300
_SPECIAL_NAMES = {"background": " (cut out)", "ignore": " (255)", "roi": " (region of interest)"}
_KEY = (
    "line: outline, as in the file",
    "tint: label of the pixel (its centre)",
    "grey, hatched: not annotated (255)",
    "white: off the slide, or never scanned",
)
_SUFFIXES = (".png", ".jpg", ".jpeg")
_CHEAP_PX = 1 << 26
"""The inset shows pixels where they come from a level of at most so many."""


def write_overlay(subject: Subject, out: Path, window: Window) -> dict[str, Any]:
    """Draw and publish the picture; returns the facts that it shows.

    Raises:
        UsageError: no picture's suffix, a window off the slide, or a grid of too many lines.
        SlideError: the pixels cannot be decoded.
        StorageError: the picture cannot be written.
    """
    require_picture(out)
    view = whole_view(subject) if window.at_lv0 is None else window_view(subject, window.at_lv0, window.size_px)
    step = window.grid_lv0 or draw.nice_step(max(view.grid.box_lv0.width_px, view.grid.box_lv0.height_px))
    facts = _facts(subject, view, step)
    picture = labelled_picture(subject, view.image, view.grid, view.zoom, step)
    spacing = subject.spacing
    bar = None if spacing is None else (spacing.x_um, spacing.y_um)
    page = draw.framed(picture, view.grid, view.zoom, step, _title(subject, view), bar)
    inset = None if window.at_lv0 is None else _inset(subject, view.grid.box_lv0)
    panel = draw.legend_panel(_legend(subject, facts), page.shape[0], PANEL_PX, inset)
    sheet = np.full((panel.shape[0], page.shape[1] + PANEL_PX, 3), 255, np.uint8)
    sheet[: page.shape[0], : page.shape[1]] = page
    sheet[:, page.shape[1] :] = panel
    write_bytes(out, png_bytes(sheet) if out.suffix.lower() == ".png" else jpeg_bytes(sheet, 92))
    return {"overlay": str(out), **facts}


def require_picture(out: Path) -> None:
    """Refuse a name that is no picture's, before anything is read.

    Raises:
        UsageError: another suffix than .png and .jpg.
    """
    if out.suffix.lower() not in _SUFFIXES:
        raise UsageError("an overlay is a picture", got=out.name, expected=", ".join(_SUFFIXES))


def labelled_picture(subject: Subject, image: RGB, grid: PixelGrid, zoom: int, step_lv0: int) -> RGB:
    """The pixels of ``grid`` with labels, grid lines and outlines, ``zoom`` screen pixels a pixel."""
    labels = subject.labels
    mask = np.zeros(image.shape[:2], np.uint8) if labels is None else labels.mask(grid)
    count = 0 if labels is None else len(labels.spec.labels)
    colours = {int(v): draw.colour_of(int(v) - 1) for v in np.unique(mask) if 1 <= v <= count}
    picture = draw.labelled(image, mask, off_slide(grid, subject.slide.info.size), colours, zoom)
    draw.draw_grid(picture, grid, zoom, step_lv0)
    draw.draw_outlines(picture, outlines_of(subject), grid, zoom)
    return picture


def outlines_of(subject: Subject) -> list[draw.Outline]:
    """The regions' rings by label, in the recipe's order, what is cut out or ignored last."""
    if subject.labels is None:
        return []
    rings: dict[str, list[npt.NDArray[np.float64]]] = {}
    for region in subject.regions:
        found = shapely.get_rings(region.geometry)
        rings.setdefault(region.label, []).extend(shapely.get_coordinates(ring) for ring in found)
    return [draw.Outline(colour, tuple(rings[label])) for label, colour in _colours(subject).items() if label in rings]


def _colours(subject: Subject) -> dict[str, draw.Colour]:
    labels = () if subject.labels is None else subject.labels.spec.labels
    return {label: draw.colour_of(k) for k, label in enumerate(labels)} | dict(draw.SPECIAL_COLOURS)


def _facts(subject: Subject, view: View, step: int) -> dict[str, Any]:
    info, box, spacing, scale = subject.slide.info, view.grid.box_lv0, subject.spacing, subject.scale
    return {
        "slide": subject.name,
        "size_px": f"{info.size.width_px} x {info.size.height_px}",
        "spacing_um": None if spacing is None else [spacing.x_um, spacing.y_um],
        "working_um": None if spacing is None else [spacing.x_um * float(scale.x), spacing.y_um * float(scale.y)],
        "shown_lv0": f"x {box.x} to {box.x_end}, y {box.y} to {box.y_end}",
        "shown_px": f"{view.grid.width_px} x {view.grid.height_px}",
        "scale": [view.grid.scale_x, view.grid.scale_y],
        "pixels": view.source,
        "damaged_share": view.damaged,
        "grid_lv0": step,
        "annotation": ", ".join(subject.annotation.split("\n")),
        "labels": _label_facts(subject),
        "counts": dict(subject.counts),
    }


def _label_facts(subject: Subject) -> list[dict[str, Any]]:
    """Outlines and area of each label that is anywhere on the slide."""
    if subject.labels is None:
        return []
    areas, spacing = subject.labels.areas_px, subject.spacing
    numbers = Counter(region.label for region in subject.regions)
    rows = []
    for label in _colours(subject):
        area = areas.get(label, 0.0)
        if numbers[label] or area:
            mm2 = None if spacing is None else round(area * spacing.x_um * spacing.y_um / 1e6, 6)
            rows.append({"label": label, "name": subject.names.get(label, label), "outlines": numbers[label],
                         "area_px": round(area, 1), "area_mm2": mm2})  # fmt: skip
    return rows


def _title(subject: Subject, view: View) -> list[str]:
    info, spacing = subject.slide.info, subject.spacing
    size = f"{info.size.width_px:,} x {info.size.height_px:,} level-0 px"
    known = "spacing unknown" if spacing is None else f"{_um(spacing.x_um, spacing.y_um)} um/px at level 0"
    scale = f"1 pixel = {_um(view.grid.scale_x, view.grid.scale_y)} level-0 px"
    if spacing is not None:
        scale += f" = {_um(spacing.x_um * view.grid.scale_x, spacing.y_um * view.grid.scale_y)} um"
    shown = f"{scale}; {view.source}"
    if view.zoom > 1:
        shown += f"; shown {view.zoom}x"
    if (view.grid.scale_x, view.grid.scale_y) != (float(subject.scale.x), float(subject.scale.y)):
        shown += f"; working spacing: {_um(float(subject.scale.x), float(subject.scale.y))} level-0 px"
    return [subject.name, f"{size}, {known}, read by {info.backend}", shown]


def _um(x: float, y: float) -> str:
    return f"{x:.5g}" if abs(x - y) <= 1e-9 * x else f"{x:.5g} x {y:.5g}"


def _legend(subject: Subject, facts: Mapping[str, Any]) -> list[draw.LegendRow]:
    rows = [draw.LegendRow("labels", strong=True)]
    for row in facts["labels"]:
        special = _SPECIAL_NAMES.get(row["label"], "")
        name = (row["name"] or "(no group)") + special
        rows.append(draw.LegendRow(name, _colours(subject)[row["label"]], line_only=bool(special)))
        parts = [f"{row['outlines']} outline{'s' * (row['outlines'] != 1)}"] if subject.regions else []
        parts += [] if special else [f"{row['area_px']:,.0f} px"]
        parts += [] if special or row["area_mm2"] is None else [f"{row['area_mm2']:.4g} mm2"]
        rows.append(draw.LegendRow("        " + ", ".join(parts)))
    if not facts["labels"]:
        rows.append(draw.LegendRow("none"))
    rows += [draw.LegendRow(line) for line in ("", *_KEY, "")]
    rows.append(draw.LegendRow("annotation", strong=True))
    rows += [draw.LegendRow(part) for part in subject.annotation.split("\n")]
    rows += [draw.LegendRow(f"{name.replace('_', ' ')}: {count}") for name, count in subject.counts.items()]
    if facts["damaged_share"]:
        rows += [draw.LegendRow(""), draw.LegendRow(f"{facts['damaged_share']:.2%} cannot be decoded (white)")]
    return [*rows, draw.LegendRow("")]


def _inset(subject: Subject, shown: Box) -> RGB:
    """Where on the slide the window lies, with all outlines."""
    info = subject.slide.info
    n = overview_downsample([level.factor or level.shown_factor for level in info.levels], info.size, INSET_PX)
    coarsest, _ = overview_level(info, n)
    plane = info.size.reduced(n)
    image = np.full((plane.height_px, plane.width_px, 3), 235, np.uint8)
    if coarsest.size.area_px <= _CHEAP_PX:
        found = read_damaged_overview(subject.slide, n)
        image, n = found.image, found.downsample
    grid = PixelGrid.of_plane(Box(0, 0, image.shape[1], image.shape[0]), n)
    for outline in outlines_of(subject):
        draw.paint(image, draw.stroke(outline.rings, grid, 1, 1), outline.colour)
    corners = [(shown.x, shown.y), (shown.x_end, shown.y), (shown.x_end, shown.y_end), (shown.x, shown.y_end)]
    ring = np.array(corners, np.float64)
    draw.paint(image, draw.stroke([ring], grid, 1, 2), (0, 0, 0))
    return image
