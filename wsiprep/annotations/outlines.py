"""Outlines of pixel masks along the edges of their pixels, so that rasterising them gives the mask again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from wsiprep.annotations.edges import Floats, Ints
from wsiprep.annotations.shapes import Polygon

MAX_MASK_PX = 1 << 24
"""Of one object, cropped; larger ones belong into a label raster."""


def mask_polygons(mask: npt.NDArray[np.bool_], x_px: int, y_px: int) -> tuple[Polygon, ...]:
    """The polygons of a mask, one for each of its pieces (pixels that share a side), with holes.

    Args:
        mask: bool (H, W).
        x_px, y_px: where its first pixel lies.

    Returns:
        valid polygons that touch in points at most, each a shell and its holes, float64 (n, 2).
    """
    import cv2

    framed = np.pad(mask, 1)
    _, pieces = cv2.connectedComponents(framed.astype(np.uint8), connectivity=4)
    offset = np.array([x_px - 1, y_px - 1], dtype=np.float64)
    shells: dict[int, Floats] = {}
    holes: dict[int, list[Floats]] = {}
    for ring in _rings(framed):
        y, x = min(ring)
        # The highest corner of a ring, the left one of these, has its inside below and to the right.
        points = np.array(ring, dtype=np.float64)[:, ::-1] + offset
        if framed[y, x]:
            shells[int(pieces[y, x])] = points
        else:
            holes.setdefault(int(pieces[y - 1, x]), []).append(points)
    return tuple((shell, *holes.get(piece, ())) for piece, shell in shells.items())


def _rings(framed: npt.NDArray[np.bool_]) -> Iterator[list[tuple[int, int]]]:
    """Closed walks along the boundary, as corners (y, x), that pass no corner twice."""
    y, x, right, down = _corners(framed)
    # In a row of corners each one from which the boundary goes right is followed by the one that it comes to.
    by_row, by_column = np.lexsort((right, x, y)), np.lexsort((down, y, x))
    level_mate, upright_mate = np.empty_like(by_row), np.empty_like(by_row)
    for mate, order in ((level_mate, by_row), (upright_mate, by_column)):
        mate[order[::2]], mate[order[1::2]] = order[1::2], order[::2]
    places = list(zip(y.tolist(), x.tolist(), strict=True))
    level, upright = level_mate.tolist(), upright_mate.tolist()
    walked = bytearray(len(places))
    for first in range(len(places)):
        at, ring = first, []
        while not walked[at]:
            other = level[at]
            walked[at] = walked[other] = 1
            ring += [places[at], places[other]]
            at = upright[other]
        if ring:
            yield from _simple(ring)


def _corners(framed: npt.NDArray[np.bool_]) -> tuple[Ints, Ints, Ints, Ints]:
    """Corners of the boundary: y, x, and whether it goes on to the right and downwards from there (0 or 1).

    Where two pixels touch at a corner only, it is a corner of each.
    """
    upper_left, upper_right = framed[:-1, :-1], framed[:-1, 1:]
    lower_left, lower_right = framed[1:, :-1], framed[1:, 1:]
    odd = upper_left ^ upper_right ^ lower_left ^ lower_right
    crossed = (upper_left == lower_right) & (upper_right == lower_left) & (upper_left != upper_right)
    # One pixel of four, or one missing of four: the corner is that of the odd one out.
    most = (upper_left & upper_right) | (lower_left & lower_right)
    found = []
    for pixel, right, down in ((upper_left, 0, 0), (upper_right, 1, 0), (lower_left, 0, 1), (lower_right, 1, 1)):
        alone = odd & (pixel != most)
        y, x = np.nonzero(alone | (crossed & pixel))
        found.append((y + 1, x + 1, np.full(len(y), right), np.full(len(y), down)))
    y, x, right_all, down_all = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return y, x, right_all, down_all


def _simple(ring: list[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """Cut a walk that passes a corner twice there."""
    if len(set(ring)) == len(ring):
        yield ring
        return
    path: list[tuple[int, int]] = []
    place: dict[tuple[int, int], int] = {}
    for corner in ring:
        if corner in place:
            start = place[corner]
            yield path[start:]
            for left in path[start + 1 :]:
                del place[left]
            del path[start + 1 :]
        else:
            place[corner] = len(path)
            path.append(corner)
    yield path


def runs_mask(counts: Ints, height: int) -> tuple[npt.NDArray[np.bool_], int, int] | None:
    """The mask of column-major runs (COCO), cropped to what is set; None where nothing is.

    Args:
        counts: int64 (n,), lengths of runs of 0 and 1 in turn, beginning with 0.
        height: of the image.

    Returns:
        bool (h, w), and the x and y of its first pixel.

    Raises:
        ValueError: the cropped mask has more than MAX_MASK_PX pixels.
    """
    ends = np.cumsum(counts)
    start, stop = (ends - counts)[1::2], ends[1::2]
    start, stop = start[stop > start], stop[stop > start]
    if len(start) == 0:
        return None
    left, right = int(start[0]) // height, (int(stop[-1]) - 1) // height + 1
    one_column = start // height == (stop - 1) // height
    top, bottom = 0, height
    if one_column.all():
        top, bottom = int((start % height).min()), int(((stop - 1) % height).max()) + 1
    if (right - left) * height > MAX_MASK_PX and (right - left) * (bottom - top) > MAX_MASK_PX:
        raise ValueError(f"{right - left} x {bottom - top} px")
    return _filled(start - left * height, stop - left * height, right - left, height, top, bottom), left, top


def _filled(start: Ints, stop: Ints, width: int, height: int, top: int, bottom: int) -> npt.NDArray[np.bool_]:
    """Pixels of the runs in rows top to bottom of ``width`` columns."""
    if top > 0 or bottom < height:
        # No run goes on in the next column, so rows can be cut off each.
        column = start // height
        start, stop = start - column * height - top, stop - column * height - top
        height = bottom - top
        start, stop = start + column * height, stop + column * height
    change = np.zeros(width * height + 1, dtype=np.int8)
    np.add.at(change, start, 1)
    np.add.at(change, stop, -1)
    filled: npt.NDArray[np.bool_] = (np.cumsum(change[:-1], dtype=np.int8) != 0).reshape(width, height).T
    return filled
