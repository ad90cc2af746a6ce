"""Where the tissue and the tumours of a synthetic slide lie: polygons, and masks made from exactly those."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from shapely.geometry import Polygon, box

from wsiprep.errors import WsiprepError
from wsiprep.geometry import Size

Ring = tuple[tuple[float, float], ...]
Mask = npt.NDArray[np.uint8]

LOW = 16
"""Downsample of the maps that place tissues; they are smooth, so that is fine enough."""

GRID = 8
"""Cells a side of the grid on which the amount of tumour is judged."""


@dataclass(frozen=True, slots=True)
class Lesion:
    """One tumour: an outline and the holes that are cut out of it, vertices in level-0 px."""

    outline: Ring
    holes: tuple[Ring, ...]

    @property
    def area(self) -> Polygon:
        return Polygon(self.outline, self.holes)


@dataclass(frozen=True, slots=True)
class Layout:
    """The plan of one slide.

    Attributes:
        size: level-0 size.
        tissue: outlines of the pieces of tissue, level-0 px.
        lesions: the tumours, disjoint, inside the tissue; () on a normal slide.
    """

    size: Size
    tissue: tuple[Ring, ...]
    lesions: tuple[Lesion, ...]

    @property
    def rings(self) -> tuple[Ring, ...]:
        """Every ring of the tumours; a point is tumour where an odd number of them surrounds it."""
        return tuple(ring for lesion in self.lesions for ring in (lesion.outline, *lesion.holes))

    def partly_tumour(self) -> int:
        """Cells of an 8 x 8 grid whose share of tumour is from 0.05 to 0.995."""
        width, height = self.size.width_px / GRID, self.size.height_px / GRID
        areas = [lesion.area for lesion in self.lesions]
        found = 0
        for row in range(GRID):
            for column in range(GRID):
                cell = box(column * width, row * height, (column + 1) * width, (row + 1) * height)
                share = sum(cell.intersection(area).area for area in areas) / (width * height)
                found += 0.05 <= share <= 0.995
        return found


def draw_layout(rng: np.random.Generator, size: Size, *, lesions: int) -> Layout:
    """A random layout whose tumours leave 15 to 30 of 8 x 8 cells partly tumour (where there are any).

    Raises:
        WsiprepError: none was found in 400 attempts (a bug: the odds of one are about one in five).
    """
    for _ in range(400):
        layout = _attempt(rng, size, lesions)
        if layout is not None and (lesions == 0 or 15 <= layout.partly_tumour() <= 30):
            return layout
    raise WsiprepError("no layout of a synthetic slide was found", got=(size, lesions))


def _attempt(rng: np.random.Generator, size: Size, count: int) -> Layout | None:
    side = min(size.width_px, size.height_px)
    middle = (size.width_px / 2 + side * rng.uniform(-0.03, 0.03), size.height_px / 2 + side * rng.uniform(-0.03, 0.03))
    piece = ring(rng, middle, side * rng.uniform(0.39, 0.44), roughness=0.13)
    lesions: list[Lesion] = []
    turn = rng.uniform(0, 2 * math.pi)
    for index in range(count):
        angle = turn + 2 * math.pi * index / count + rng.uniform(-0.3, 0.3)
        distance = side * rng.uniform(0.16, 0.24) if count > 1 else side * rng.uniform(0, 0.1)
        reach = side * (rng.uniform(0.11, 0.17) if count > 1 else rng.uniform(0.20, 0.26))
        centre = (middle[0] + distance * math.cos(angle), middle[1] + distance * math.sin(angle))
        lesion = _lesion(rng, centre, reach)
        if lesion is None:
            return None
        lesions.append(lesion)
    return Layout(size, (piece,), tuple(lesions)) if _apart(piece, lesions, 0.01 * side) else None


def _lesion(rng: np.random.Generator, centre: tuple[float, float], reach: float) -> Lesion | None:
    outline = ring(rng, centre, reach, roughness=0.30)
    holes: list[Ring] = []
    for _ in range(int(rng.integers(1, 3))):
        angle, away = rng.uniform(0, 2 * math.pi), reach * rng.uniform(0.1, 0.5)
        place = (centre[0] + away * math.cos(angle), centre[1] + away * math.sin(angle))
        holes.append(ring(rng, place, reach * rng.uniform(0.16, 0.28), roughness=0.12, vertices=40))
    inner = Polygon(outline).buffer(-0.08 * reach)
    shapes = [Polygon(hole) for hole in holes]
    if not Polygon(outline).is_valid or not all(s.is_valid and inner.contains(s) for s in shapes):
        return None
    if any(a.distance(b) < 0.05 * reach for i, a in enumerate(shapes) for b in shapes[:i]):
        return None
    return Lesion(outline, tuple(holes))


def _apart(piece: Ring, lesions: Sequence[Lesion], gap_px: float) -> bool:
    areas = [Polygon(lesion.outline) for lesion in lesions]
    inner = Polygon(piece).buffer(-gap_px)
    if not all(inner.contains(area) for area in areas):
        return False
    return all(a.distance(b) > 2 * gap_px for i, a in enumerate(areas) for b in areas[:i])


def ring(
    rng: np.random.Generator, centre: tuple[float, float], reach: float, *, roughness: float, vertices: int = 96
) -> Ring:
    """A wavy closed outline about ``centre``, its vertices on half pixels (exact in binary and in decimals)."""
    angles = np.arange(vertices) * (2 * math.pi / vertices)
    radius = np.ones(vertices)
    for wave in range(2, 9):
        amplitude, phase = roughness * rng.uniform(0.2, 1) / (wave**0.8), rng.uniform(0, 2 * math.pi)
        radius += amplitude * np.cos(wave * angles + phase)
    x = np.round(2 * (centre[0] + reach * radius * np.cos(angles))) / 2
    y = np.round(2 * (centre[1] + reach * radius * np.sin(angles))) / 2
    return tuple((float(a), float(b)) for a, b in zip(x, y, strict=True))


def fill_rows(rings: Iterable[Ring], width_px: int, y: int, y_end: int) -> Mask:
    """Rows [y, y_end) of the even-odd fill: 1 where the pixel's centre is inside, uint8 (rows, width).

    A centre on an edge belongs to the area on its right and below, so that bands make up the whole.
    """
    toggles = np.zeros((y_end - y, width_px + 1), np.uint8)
    for points in rings:
        corners = np.array(points, np.float64)
        for (x_a, y_a), (x_b, y_b) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            (x_0, y_0), (x_1, y_1) = ((x_a, y_a), (x_b, y_b)) if y_a < y_b else ((x_b, y_b), (x_a, y_a))
            first, last = max(y, math.ceil(y_0 - 0.5)), min(y_end, math.ceil(y_1 - 0.5))
            if first >= last:
                continue
            centres = np.arange(first, last) + 0.5
            crossing = x_0 + (centres - y_0) * ((x_1 - x_0) / (y_1 - y_0))
            columns = np.clip(np.ceil(crossing - 0.5), 0, width_px).astype(np.int64)
            np.bitwise_xor.at(toggles, (np.arange(first - y, last - y), columns), 1)
    filled: Mask = np.bitwise_xor.accumulate(toggles, axis=1)[:, :width_px]
    return filled


def low_map(rings: Iterable[Ring], size: Size, soft_px: float) -> npt.NDArray[np.float32]:
    """Smooth share of the area inside any of ``rings`` on the plane at downsample 16, float32 0 to 1."""
    low = size.reduced(LOW)
    canvas = np.zeros((low.height_px, low.width_px), np.uint8)
    for points in rings:
        # OpenCV's integer coordinates are pixel centres, ours are corners; four fractional bits.
        corners = np.round((np.array(points) / LOW - 0.5) * 16).astype(np.int32)
        cv2.fillPoly(canvas, [corners], 255, cv2.LINE_8, 4)
    soft = cv2.GaussianBlur(canvas.astype(np.float32) / 255, (0, 0), max(0.5, soft_px / LOW))
    return np.asarray(soft, np.float32)
