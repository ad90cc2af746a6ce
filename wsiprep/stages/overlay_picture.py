"""Drawing of ``inspect --overlay``: pixels with labels, outlines and a grid of level-0 coordinates around them.

Everything is placed by one rule: level-0 corner v of a picture of ``grid`` with ``zoom`` screen pixels a pixel lies
at screen coordinate (v - x) zoom / scale, counted from the picture's corner, and OpenCV, which counts from the
centre of the first pixel, gets half a pixel less. Lines are drawn at fractions of a pixel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import shapely

from wsiprep.errors import UsageError
from wsiprep.geometry import PixelGrid
from wsiprep.stages.pictures import IGNORE_COLOUR, LABEL_COLOURS, RGB

Colour = tuple[int, int, int]
Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]
S = TypeVar("S", np.uint8, np.bool_)

SPECIAL_COLOURS: Mapping[str, Colour] = {"background": (0, 0, 0), "ignore": (90, 90, 90), "roi": (255, 0, 255)}
IGNORE = 255
MAX_LINES = 400
"""Grid lines along one axis that are drawn."""

_SHIFT = 8
_MARGIN_PX = 16
_TINT, _EDGE_TINT = 0.22, 0.65
_STAIRS_ZOOM = 4
"""From so many screen pixels a pixel on, the mask's edge is a line between pixels."""

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_INK: Colour = (25, 25, 25)
_LINE_PX = 19


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """The rings of one label, as they are in the file: float64 (n, 2) each, closed, level-0 pixels."""

    colour: Colour
    rings: tuple[Floats, ...]


@dataclass(frozen=True, slots=True)
class LegendRow:
    """One line of the legend; a swatch before it where there is a colour."""

    text: str
    colour: Colour | None = None
    strong: bool = False
    line_only: bool = False


def colour_of(place: int) -> Colour:
    """The colour of the label at a place of the list: six that colour-blind readers tell apart, then darker ones."""
    turn, k = divmod(place, len(LABEL_COLOURS))
    red, green, blue = LABEL_COLOURS[k]
    return (red, green, blue) if turn % 2 == 0 else (red * 55 // 100, green * 55 // 100, blue * 55 // 100)


def screen_places(points_lv0: Floats, grid: PixelGrid, zoom: int) -> Floats:
    """Level-0 corners (n, 2) as OpenCV counts screen pixels: 0 is the centre of the first one."""
    box = grid.box_lv0
    scale = np.array([grid.width_px * zoom / box.width_px, grid.height_px * zoom / box.height_px])
    places: Floats = (points_lv0 - np.array([box.x, box.y], np.float64)) * scale - 0.5
    return places


def stroke(rings: Sequence[Floats], grid: PixelGrid, zoom: int, thickness: int) -> Bytes:
    """How much of each screen pixel the rings' lines cover, uint8 (H zoom, W zoom), 255 for all of it."""
    height, width = grid.height_px * zoom, grid.width_px * zoom
    alpha = np.zeros((height, width), np.uint8)
    for ring in rings:
        places = screen_places(ring, grid, zoom)
        low, high = places.min(axis=0), places.max(axis=0)
        if (high < -_MARGIN_PX).any() or low[0] > width + _MARGIN_PX or low[1] > height + _MARGIN_PX:
            continue
        for line, closed in _pieces(places, width, height):
            fixed = np.round(line * (1 << _SHIFT)).astype(np.int32)
            cv2.polylines(alpha, [fixed], closed, 255, thickness, cv2.LINE_AA, _SHIFT)
    return alpha


def _pieces(places: Floats, width: int, height: int) -> list[tuple[Floats, bool]]:
    """A ring as it is, or the parts of it near the picture where it reaches far beyond."""
    reach = (-_MARGIN_PX, -_MARGIN_PX, width + _MARGIN_PX, height + _MARGIN_PX)
    if (places >= reach[:2]).all() and (places <= reach[2:]).all():
        return [(places, True)]
    clipped = shapely.clip_by_rect(shapely.LineString(np.concatenate([places, places[:1]])), *reach)
    return [
        (shapely.get_coordinates(part), False)
        for part in shapely.get_parts(clipped)
        if isinstance(part, shapely.LineString)
    ]


def paint(image: RGB, alpha: Bytes, colour: Colour, share: float = 1.0) -> None:
    """Lay a colour over an image in place, ``alpha`` / 255 of it times ``share``."""
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    if len(rows) == 0:
        return
    part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    weight = alpha[part][..., None].astype(np.float32) * np.float32(share / 255)
    blended = image[part] * (1 - weight) + np.array(colour, np.float32) * weight
    image[part] = np.floor(blended + 0.5).astype(np.uint8)


def labelled(image: RGB, mask: Bytes, off_slide: Bools, colours: Mapping[int, Colour], zoom: int) -> RGB:
    """The pixels enlarged by ``zoom``, each tinted by its label, with the edge of every label made strong.

    What is not annotated (255) is greyed and hatched; what lies off the slide stays as it is.

    Args:
        image: uint8 (H, W, 3).
        mask: uint8 (H, W), as packed.
        off_slide: bool (H, W).
        colours: mask value -> colour; other values are not tinted.
        zoom: screen pixels a pixel.
    """
    picture = _enlarged(image, zoom)
    large = _enlarged(mask, zoom)
    for value, colour in colours.items():
        paint(picture, np.where(large == value, np.uint8(255), np.uint8(0)), colour, _TINT)
    ignored = (large == IGNORE) & ~_enlarged(off_slide, zoom)
    if ignored.any():
        paint(picture, np.where(ignored, np.uint8(255), np.uint8(0)), IGNORE_COLOUR, 0.45)
        y, x = np.indices(ignored.shape, dtype=np.int32)
        paint(picture, np.where(ignored & ((x + y) % 12 == 0), np.uint8(255), np.uint8(0)), SPECIAL_COLOURS["ignore"])
    for value, colour in colours.items():
        edge = _stairs(mask == value, zoom) if zoom >= _STAIRS_ZOOM else _enlarged(_rim(mask == value), zoom)
        paint(picture, np.where(edge, np.uint8(255), np.uint8(0)), colour, _EDGE_TINT)
    return picture


def _enlarged(plane: npt.NDArray[S], zoom: int) -> npt.NDArray[S]:
    return plane.repeat(zoom, axis=0).repeat(zoom, axis=1)


def _rim(inside: Bools) -> Bools:
    """Pixels of a label beside one that is not, the picture's border apart."""
    other = np.pad(~inside, 1, mode="edge")
    beside: Bools = other[:-2, 1:-1] | other[2:, 1:-1] | other[1:-1, :-2] | other[1:-1, 2:]
    return inside & beside


def _stairs(inside: Bools, zoom: int) -> Bools:
    """Two screen pixels along each edge between a pixel of the label and another, one on either side."""
    lines = np.zeros((inside.shape[0] * zoom, inside.shape[1] * zoom), np.bool_)
    across = (inside[:, 1:] != inside[:, :-1]).repeat(zoom, axis=0)
    down = (inside[1:] != inside[:-1]).repeat(zoom, axis=1)
    lines[:, zoom - 1 : -1 : zoom] |= across
    lines[:, zoom::zoom] |= across
    lines[zoom - 1 : -1 : zoom] |= down
    lines[zoom::zoom] |= down
    return lines


def draw_outlines(picture: RGB, outlines: Sequence[Outline], grid: PixelGrid, zoom: int) -> None:
    """The outlines on a picture in place: a line of about 1.4 px in the label's colour with a light rim."""
    for outline in outlines:
        paint(picture, stroke(outline.rings, grid, zoom, 2), (255, 255, 255), 0.7)
    for outline in outlines:
        paint(picture, stroke(outline.rings, grid, zoom, 1), outline.colour)


def nice_step(length: float, wanted: int = 8) -> int:
    """1, 2 or 5 times a power of ten, so that about ``wanted`` steps make ``length``."""
    raw = max(1.0, length / wanted)
    power = 10 ** int(np.floor(np.log10(raw)))
    return int(next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9)))


def ticks(start_lv0: int, length_lv0: int, step_lv0: int) -> list[int]:
    """Multiples of the step within [start, start + length].

    Raises:
        UsageError: more than MAX_LINES.
    """
    if length_lv0 // step_lv0 > MAX_LINES:
        raise UsageError(
            "too many grid lines", got=f"a step of {step_lv0} level-0 px on {length_lv0}",
            expected=f"at most {MAX_LINES} lines", fix="choose a larger --grid-lv0, or a smaller window",
        )  # fmt: skip
    first = -(-start_lv0 // step_lv0) * step_lv0
    return list(range(first, start_lv0 + length_lv0 + 1, step_lv0))


def draw_grid(picture: RGB, grid: PixelGrid, zoom: int, step_lv0: int) -> None:
    """Thin lines at the multiples of the step, in place."""
    box, (height, width) = grid.box_lv0, picture.shape[:2]
    alpha = np.zeros((height, width), np.uint8)
    for x in ticks(box.x, box.width_px, step_lv0):
        place = screen_places(np.array([[x, box.y], [x, box.y + box.height_px]], np.float64), grid, zoom)
        cv2.polylines(alpha, [np.round(place * (1 << _SHIFT)).astype(np.int32)], False, 255, 1, cv2.LINE_AA, _SHIFT)
    for y in ticks(box.y, box.height_px, step_lv0):
        place = screen_places(np.array([[box.x, y], [box.x + box.width_px, y]], np.float64), grid, zoom)
        cv2.polylines(alpha, [np.round(place * (1 << _SHIFT)).astype(np.int32)], False, 255, 1, cv2.LINE_AA, _SHIFT)
    paint(picture, alpha, (0, 0, 0), 0.35)


def framed(
    picture: RGB, grid: PixelGrid, zoom: int, step_lv0: int, title: Sequence[str], bar_um: tuple[float, float] | None
) -> RGB:
    """The picture in a white frame: title above, ticks with level-0 numbers on all sides, scale bar below.

    Args:
        picture: uint8 (H zoom, W zoom, 3), drawn.
        bar_um: um per level-0 pixel along x and y, None where nobody knows: then there is no bar.
    """
    box, (height, width) = grid.box_lv0, picture.shape[:2]
    rows = ticks(box.y, box.height_px, step_lv0)
    left = 22 + max((_text_width(f"{y:,}") for y in rows), default=20)
    top = 16 + _LINE_PX * len(title) + 26
    canvas = np.full((top + height + 66, left + width + 40, 3), 255, np.uint8)
    for i, line in enumerate(title):
        put_text(canvas, line, (left, 22 + _LINE_PX * i), strong=i == 0)
    canvas[top : top + height, left : left + width] = picture
    cv2.rectangle(canvas, (left - 1, top - 1), (left + width, top + height), _INK, 1)
    last = -1e9
    for x in ticks(box.x, box.width_px, step_lv0):
        place = left + round((x - box.x) * zoom / grid.scale_x - 0.5)
        cv2.line(canvas, (place, top - 6), (place, top - 2), _INK, 1)
        cv2.line(canvas, (place, top + height + 1), (place, top + height + 5), _INK, 1)
        if place - last >= _text_width(f"{x:,}") + 14:
            put_text(canvas, f"{x:,}", (place - _text_width(f"{x:,}") // 2, top - 10))
            last = place
    last = -1e9
    for y in rows:
        place = top + round((y - box.y) * zoom / grid.scale_y - 0.5)
        cv2.line(canvas, (left - 6, place), (left - 2, place), _INK, 1)
        cv2.line(canvas, (left + width + 1, place), (left + width + 5, place), _INK, 1)
        if place - last >= _LINE_PX:
            put_text(canvas, f"{y:,}", (left - 10 - _text_width(f"{y:,}"), place + 5))
            last = place
    below = top + height + 30
    if bar_um is not None:
        um_a_px = bar_um[0] * grid.scale_x / zoom
        length_um = nice_step(width * um_a_px * 1000, 6) / 1000
        end = left + round(length_um / um_a_px)
        cv2.rectangle(canvas, (left, below - 8), (end, below - 3), _INK, -1)
        level_0 = f"{length_um / bar_um[0]:,.1f}".removesuffix(".0")
        name = f"{length_um / 1000:g} mm" if length_um >= 1000 else f"{length_um:g} um"
        put_text(canvas, f"{name} = {level_0} level-0 px", (end + 12, below))
    else:
        put_text(canvas, "the spacing is not known: no scale bar", (left, below))
    put_text(canvas, "numbers: level-0 pixels", (left, below + _LINE_PX))
    return canvas


def legend_panel(rows: Sequence[LegendRow], height: int, width: int, inset: RGB | None) -> RGB:
    """A column of text with swatches, at least ``height`` high, the inset picture below it."""
    used = 16 + _LINE_PX * len(rows) + (0 if inset is None else inset.shape[0] + 16)
    panel = np.full((max(height, used), width, 3), 255, np.uint8)
    y = 22
    for row in rows:
        indent = 8
        if row.colour is not None:
            if row.line_only:
                cv2.line(panel, (8, y - 5), (26, y - 5), row.colour, 2)
            else:
                fill = np.full((12, 18, 3), 255, np.uint8)
                paint(fill, np.full((12, 18), 255, np.uint8), row.colour, 2 * _TINT)
                panel[y - 11 : y + 1, 8:26] = fill
                cv2.rectangle(panel, (8, y - 11), (26, y + 1), row.colour, 2)
            indent = 34
        put_text(panel, row.text, (indent, y), strong=row.strong, limit_px=width - indent - 4)
        y += _LINE_PX
    if inset is not None:
        panel[y : y + inset.shape[0], 8 : 8 + inset.shape[1]] = inset
    return panel


def put_text(canvas: RGB, text: str, at: tuple[int, int], *, strong: bool = False, limit_px: int | None = None) -> None:
    """One line of text with its baseline's beginning at ``at``; shortened to ``limit_px``.

    OpenCV's fonts have ASCII alone: other characters are written as their code points.
    """
    plain = text.encode("ascii", "backslashreplace").decode()
    while limit_px is not None and len(plain) > 1 and _text_width(plain, strong=strong) > limit_px:
        plain = plain[:-4] + "..." if len(plain) > 4 else plain[:-1]
    cv2.putText(canvas, plain, at, _FONT, 0.45, _INK, 2 if strong else 1, cv2.LINE_AA)


def _text_width(text: str, *, strong: bool = False) -> int:
    return int(cv2.getTextSize(text, _FONT, 0.45, 2 if strong else 1)[0][0])
