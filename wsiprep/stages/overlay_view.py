"""What ``inspect --overlay`` shows: a slide with its labels, and which pixels of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from wsiprep.annotations import LabelSource, Region
from wsiprep.annotations.labelmap import blank_outside
from wsiprep.errors import UsageError
from wsiprep.geometry import Box, PixelGrid, Size, Spacing
from wsiprep.patches import CellScale
from wsiprep.slides import PatchReader, Slide
from wsiprep.slides.overview import overview_level, read_damaged_overview
from wsiprep.slides.plane import Pixels
from wsiprep.stages.pictures import RGB

WHOLE_PX = 2048
"""Longest side of the picture of a whole slide."""

WINDOW = Size(512, 512)
SCREEN_PX = 1024
"""Smaller windows are enlarged to about this side, by whole pixels."""

SIDES_PX = (8, 4096)


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
class View:
    """Pixels and where they lie."""

    image: RGB
    grid: PixelGrid
    zoom: int
    source: str
    damaged: float = 0.0


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


def window_view(subject: Subject, at_lv0: tuple[float, float], size_px: Size) -> View:
    """The pixels around a place, at the working spacing.

    Raises:
        UsageError: the place is off the slide, or the window is too large at this scale.
        SlideError: the pixels cannot be decoded.
    """
    grid = window_grid(at_lv0, size_px, subject.scale, subject.slide.info.size)
    if max(grid.width_px, grid.height_px) > 2 * SIDES_PX[1]:
        raise UsageError("the window is too large at this scale", got=f"{grid.width_px} x {grid.height_px} px")
    reader = PatchReader(subject.slide, subject.pixels)
    source = reader.source_of(grid)
    level = f"level {source.source_level} as stored" if source.from_stored else "level 0, averaged"
    if grid.downsample == 1:
        level = "level 0"
    zoom = max(1, min(16, SCREEN_PX // max(grid.width_px, grid.height_px)))
    return View(reader.read(grid), grid, zoom, level)


def overview_downsample(info_factors: Sequence[int | None], size: Size, longest_px: int, least: int = 1) -> int:
    """The least integer downsample that shows the slide within ``longest_px`` and that overviews come at."""
    n = max(least, -(-max(size.width_px, size.height_px) // longest_px))
    wanted = n
    known = [factor for factor in info_factors if factor]
    # An overview comes at a multiple of the coarsest level that is not coarser: sometimes finer than asked for.
    while (coarsest := max(f for f in known if f <= n)) * (n // coarsest) < wanted:
        n += 1
    return n


def whole_view(subject: Subject) -> View:
    """The whole slide within ``WHOLE_PX``, not finer than the working spacing; white where it cannot be decoded."""
    info = subject.slide.info
    least = max(1, int(min(subject.scale.x, subject.scale.y)))
    n = overview_downsample([level.factor or level.shown_factor for level in info.levels], info.size, WHOLE_PX, least)
    found = read_damaged_overview(subject.slide, n)
    height, width = found.image.shape[:2]
    grid = PixelGrid.of_plane(Box(0, 0, width, height), found.downsample)
    source, _ = overview_level(info, n)
    times = found.downsample // (source.factor or source.shown_factor or 1)
    level = f"level {source.index}" + ("" if times == 1 else f", averaged {times}:1")
    return View(found.image, grid, 1, level, float(found.damaged.mean()))


def off_slide(grid: PixelGrid, size: Size) -> npt.NDArray[np.bool_]:
    """bool (H, W): pixels that lie off the slide, by the rule of masks."""
    outside = np.zeros((grid.height_px, grid.width_px), np.uint8)
    blank_outside(outside, grid, size, 1)
    return outside.astype(np.bool_)
