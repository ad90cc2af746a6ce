"""inspect --overlay: annotation outlines over the pixels that a recipe would pack, to be checked by eye.

Without a place the whole slide is shown, at most ``WHOLE_PX`` a side; with one, a window at the working
spacing, its pixels and labels exactly those that patches there get.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from wsiprep.annotations import LabelSource, Region
from wsiprep.annotations.labelmap import blank_outside
from wsiprep.artifacts import write_bytes
from wsiprep.errors import UsageError
from wsiprep.geometry import Box, PixelGrid, Size, Spacing
from wsiprep.patches import CellScale
from wsiprep.slides import PatchReader, Slide
from wsiprep.slides.overview import read_damaged_overview
from wsiprep.slides.plane import Pixels
from wsiprep.stages import overlay_picture as draw
from wsiprep.stages.pictures import RGB, jpeg_bytes, png_bytes

WHOLE_PX = 2048
"""Longest side of the picture of a whole slide."""

WINDOW = Size(512, 512)
SCREEN_PX = 1024
"""Smaller windows are enlarged to about this side, by whole pixels."""

SIDES_PX = (8, 4096)
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


@dataclass(frozen=True, slots=True)
class Window:
    """What to show.

    Attributes:
        at_lv0: centre of the window in level-0 pixels; None for the whole slide.
        size_px: of the window, in pixels at the working spacing.
        grid_lv0: step of the grid in level-0 pixels; None for a round number that suits.
    """

    at_lv0: tuple[float, float] | None = None
    size_px: Size = WINDOW
    grid_lv0: int | None = None

    def __post_init__(self) -> None:
        low, high = SIDES_PX
        if not all(low <= side <= high for side in (self.size_px.width_px, self.size_px.height_px)):
            raise UsageError(
                "the window's size is out of range", got=f"{self.size_px.width_px},{self.size_px.height_px}",
                expected=f"{low} to {high} px a side",
            )  # fmt: skip
        if self.grid_lv0 is not None and self.grid_lv0 < 1:
            raise UsageError("the grid's step must be at least 1 level-0 pixel", got=self.grid_lv0)


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """An open slide with its labels, as ``overlay_subjects`` puts them together.

    Attributes:
        name: of the slide, for the title.
        slide: open.
        pixels: where the pixels of patches come from.
        scale: level-0 pixels per pixel at the working spacing.
        spacing: um/px of level 0 that counts; None where nobody knows.
        labels: None where there is no annotation.
        regions: outlines; none for rasters.
        names: label -> what to call it.
        annotation: the file and its format, or what there is instead.
        counts: of rules that fired.
    """

    name: str
    slide: Slide
    pixels: Pixels
    scale: CellScale
    spacing: Spacing | None
    labels: LabelSource | None = None
    regions: tuple[Region, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    annotation: str = "none"
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """Pixels and where they lie."""

    image: RGB
    grid: PixelGrid
    zoom: int
    source: str
    damaged: float = 0.0


def write_overlay(subject: Subject, out: Path, window: Window) -> dict[str, Any]:
    """Draw and publish the picture; returns the facts that it shows.

    Raises:
        UsageError: no picture's suffix, a window off the slide, or a grid of too many lines.
        SlideError: the pixels cannot be decoded.
        StorageError: the picture cannot be written.
    """
    require_picture(out)
    view = _whole(subject) if window.at_lv0 is None else _window(subject, window)
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


def window_grid(at_lv0: tuple[float, float], size_px: Size, scale: CellScale, slide: Size) -> PixelGrid:
    """The pixels around a place at a scale.

    At an integer scale the corner is a multiple of it, so that the pixels are those of the patches. At another
    the sides are rounded up to a whole number of level-0 pixels, as those of patches are.

    Raises:
        UsageError: the place is off the slide.
    """
    x, y = at_lv0
    if not (0 <= x <= slide.width_px and 0 <= y <= slide.height_px):
        raise UsageError(
            "the place lies off the slide", got=f"{x:g},{y:g}",
            expected=f"level-0 pixels from 0,0 to {slide.width_px},{slide.height_px}",
        )  # fmt: skip
    width, height = (
        -(-side // f.denominator) * f.denominator
        for side, f in ((size_px.width_px, scale.x), (size_px.height_px, scale.y))
    )
    corner = []
    for place, side, f in ((x, width, scale.x), (y, height, scale.y)):
        step = int(f) if f.denominator == 1 else 1
        corner.append(int((Fraction(place) - side * f / 2) // step) * step)
    return PixelGrid(Box(corner[0], corner[1], int(width * scale.x), int(height * scale.y)), width, height)


def _window(subject: Subject, window: Window) -> _View:
    assert window.at_lv0 is not None  # the caller's choice
    grid = window_grid(window.at_lv0, window.size_px, subject.scale, subject.slide.info.size)
    if max(grid.width_px, grid.height_px) > 2 * SIDES_PX[1]:
        raise UsageError("the window is too large at this scale", got=f"{grid.width_px} x {grid.height_px} px")
    reader = PatchReader(subject.slide, subject.pixels)
    source = reader.source_of(grid)
    level = f"level {source.source_level} as stored" if source.from_stored else "level 0, averaged"
    if grid.downsample == 1:
        level = "level 0"
    zoom = max(1, min(16, SCREEN_PX // max(grid.width_px, grid.height_px)))
    return _View(reader.read(grid), grid, zoom, level)


def overview_downsample(info_factors: Sequence[int | None], size: Size, longest_px: int, least: int = 1) -> int:
    """The least integer downsample that shows the slide within ``longest_px`` and that overviews come at."""
    n = max(least, -(-max(size.width_px, size.height_px) // longest_px))
    wanted = n
    known = [factor for factor in info_factors if factor]
    # An overview comes at a multiple of the coarsest level that is not coarser: sometimes finer than asked for.
    while (coarsest := max(f for f in known if f <= n)) * (n // coarsest) < wanted:
        n += 1
    return n


def _whole(subject: Subject) -> _View:
    info = subject.slide.info
    least = max(1, int(min(subject.scale.x, subject.scale.y)))
    n = overview_downsample([level.factor for level in info.levels], info.size, WHOLE_PX, least)
    found = read_damaged_overview(subject.slide, n)
    height, width = found.image.shape[:2]
    grid = PixelGrid.of_plane(Box(0, 0, width, height), found.downsample)
    factor, index = max(
        (v.factor, v.index) for v in info.levels if v.factor is not None and v.factor <= found.downsample
    )
    level = f"level {index}" + ("" if factor == found.downsample else f", averaged {found.downsample // factor}:1")
    return _View(found.image, grid, 1, level, float(found.damaged.mean()))


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


def off_slide(grid: PixelGrid, size: Size) -> npt.NDArray[np.bool_]:
    """bool (H, W): pixels that lie off the slide, by the rule of masks."""
    outside = np.zeros((grid.height_px, grid.width_px), np.uint8)
    blank_outside(outside, grid, size, 1)
    return outside.astype(np.bool_)


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


def _facts(subject: Subject, view: _View, step: int) -> dict[str, Any]:
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


def _title(subject: Subject, view: _View) -> list[str]:
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
    n = overview_downsample([level.factor for level in info.levels], info.size, INSET_PX)
    coarsest = max((v for v in info.levels if v.factor is not None and v.factor <= n), key=lambda v: v.factor or 0)
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
