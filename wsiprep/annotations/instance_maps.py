"""Instance maps: stacks of channels made one map, objects cut and numbered anew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from wsiprep.annotations.raster_values import integers
from wsiprep.annotations.regions import BACKGROUND_REGION
from wsiprep.errors import AnnotationError

Ids = npt.NDArray[np.int64]


def combine_channels(
    stack: npt.NDArray[Any],
    channels: Sequence[str],
    overlap: Literal["first", "last", "error"],
    *,
    file: str | Path | None = None,
    where: str = "",
) -> tuple[Ids, dict[str, int]]:
    """One map out of a stack with one channel a class, such as PanNuke's (256, 256, 6).

    A channel holds ids of objects (or 1 for "yes"), 0 is none. A pixel that several channels set goes to
    the first or last of them, in the order of ``channels``; with ``error`` it stops the tile. A channel for
    the background holds what no other channel has: under ``first`` and ``last`` every other one wins over it.

    Args:
        stack: (H, W, C) integers, or floats that are whole numbers.
        channels: the C labels, for messages.
        overlap: which channel wins.
        file: for messages.
        where: which tile, for messages.

    Returns:
        int64 (H, W): ``id * C + channel``, 0 where no channel is set; and how many pixels several channels
        set (``channel_overlap_px``) or none did (``channel_unset_px``), where there are any.

    Raises:
        AnnotationError: another number of channels, negative ids, fractions, or an overlap with ``error``.
    """
    count = len(channels)
    if stack.ndim != 3 or stack.shape[2] != count:
        raise AnnotationError(
            "the stack of masks has other channels than the recipe", got=f"shape {stack.shape}{where}",
            expected=f"(height, width, {count}): {', '.join(channels)}", fix="list them in annotations.raster.channels",
            file=file,
        )  # fmt: skip
    numbers = integers(stack, file).astype(np.int64)
    if numbers.size and int(numbers.min()) < 0:
        raise AnnotationError(f"an id is negative{where}", got=int(numbers.min()), expected="0 or more", file=file)
    if numbers.size and int(numbers.max()) > 2**53:
        raise AnnotationError(f"an id is not believable{where}", got=int(numbers.max()), file=file)
    set_in = numbers > 0
    depth = set_in.sum(axis=2)
    several = depth > 1
    if overlap == "error" and several.any():
        y, x = np.argwhere(several)[0].tolist()
        names = ", ".join(channels[c] for c in np.flatnonzero(set_in[y, x]).tolist())
        raise AnnotationError(
            f"several channels are set at one pixel{where}",
            got=f"{int(several.sum())} pixels, the first at x {x}, y {y}: {names}",
            expected="one class a pixel",
            fix="say which channel wins: annotations: {raster: {overlap: first}} or last",
            file=file,
        )
    claims = set_in
    behind = np.array([name == BACKGROUND_REGION for name in channels])
    if behind.any() and not behind.all():
        claims = set_in & (~behind | ~set_in[..., ~behind].any(axis=2, keepdims=True))
    channel = np.argmax(claims, axis=2) if overlap != "last" else count - 1 - np.argmax(claims[..., ::-1], axis=2)
    ids = np.take_along_axis(numbers, channel[..., np.newaxis], axis=2)[..., 0]
    values: Ids = np.where(depth > 0, ids * count + channel, 0)
    counts = {"channel_overlap_px": int(several.sum()), "channel_unset_px": int((depth == 0).sum())}
    return values, {rule: number for rule, number in counts.items() if number}


def connected_parts(ids: Ids) -> npt.NDArray[np.int32]:
    """Objects numbered 1, 2, ... in the order of their first pixel, row by row.

    An object that a cut has left in several pieces (4-connected) becomes as many objects; two objects
    that touch stay two.

    Args:
        ids: (H, W) integers, one number an object, 0 for none.

    Returns:
        int32 (H, W), 0 for none.
    """
    parts = np.zeros(ids.shape, dtype=np.int64)
    ys, xs = np.nonzero(ids)
    if not len(ys):
        return parts.astype(np.int32)
    values, member = np.unique(ids[ys, xs], return_inverse=True)
    # Boxes of all objects at once: each is then looked at in its own box only.
    low_y, high_y = (np.full(len(values), start) for start in (ids.shape[0], -1))
    low_x, high_x = (np.full(len(values), start) for start in (ids.shape[1], -1))
    np.minimum.at(low_y, member, ys)
    np.maximum.at(high_y, member, ys)
    np.minimum.at(low_x, member, xs)
    np.maximum.at(high_x, member, xs)
    total = 0
    for k, value in enumerate(values):
        place = (slice(low_y[k], high_y[k] + 1), slice(low_x[k], high_x[k] + 1))
        here = ids[place] == value
        count, labels = cv2.connectedComponents(here.astype(np.uint8), connectivity=4)
        np.copyto(parts[place], labels + np.int64(total), where=here)
        total += count - 1
    numbers, first = np.unique(parts[ys, xs], return_index=True)
    # np.nonzero goes row by row, so the first place of a number is its first pixel.
    renumber = np.zeros(total + 1, dtype=np.int32)
    renumber[numbers[np.argsort(first, kind="stable")]] = np.arange(1, len(numbers) + 1, dtype=np.int32)
    return renumber[parts]
