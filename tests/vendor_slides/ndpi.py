"""Hamamatsu NDPI: a TIFF with 64-bit links, one JPEG strip per level, its place in nm from the slide's centre.

The runs of blocks between two restart markers are listed by their beginnings (McuStarts), counted from that of the
strip; the smallest levels of real slides have neither markers nor list.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vendor_slides import tiff
from vendor_slides.made import Image, Made, jpeg, reduced, scan, unjpeg

SPACING_UM = (0.2275, 0.2301)
OFFSET_NM = (-1_234_567, 7_654_321)
FACTORS = (1, 2, 4)
MCU_PX = {"444": (8, 8), "422": (16, 8), "440": (8, 16), "420": (16, 16)}

Listing = Callable[[int, list[int]], Sequence[int] | None]
"""From a level and where its runs begin to what the tag says; None for no tag."""


def listed(level: int, starts: list[int]) -> Sequence[int] | None:
    """As Hamamatsu does it."""
    return starts if len(starts) > 1 else None


def unlisted(level: int, starts: list[int]) -> Sequence[int] | None:
    """Older slides: the markers have to be looked for."""
    return None


def write(
    folder: Path,
    name: str = "a.ndpi",
    *,
    restart_px: int = 64,
    size: tuple[int, int] = (512, 320),
    sampling: str = "444",
    whole: Sequence[int] = (),
    listing: Listing = listed,
    edit: Callable[[bytes], bytes] = bytes,
    focal_planes: Sequence[int] = (0,),
    high: bool = False,
    hole_bytes: int = 0,
) -> Made:
    """A slide whose JPEGs have restart markers every ``restart_px`` pixels of a row (0: none).

    Args:
        size: of level 0; its marker is at (211, 37).
        sampling: of chroma.
        whole: numbers of the levels that have no markers.
        listing: what McuStarts says.
        edit: of the stream of level 0, after its runs were found.
        focal_planes: of every level, in nm.
        high: McuStarts has its upper halves beside it.
        hole_bytes: see ``tiff.write_tiff``.
    """
    marker_xy = (211, 37)
    image = scan(*size, marker_xy)
    pages, planes = [], []
    for number, (factor, level) in enumerate(zip(FACTORS, reduced(image, FACTORS), strict=True)):
        data = jpeg(level, 0 if number in whole else restart_px // MCU_PX[sampling][0], sampling)
        planes.append(unjpeg(data))
        starts = listing(number, run_starts(data))
        height, width = level.shape[:2]
        pages += [
            page(
                width,
                height,
                edit(data) if number == 0 else data,
                lens=20 / factor,
                starts=starts,
                high=high,
                focal_plane=plane,
            )
            for plane in focal_planes
        ]
    pages.append(page(120, 60, jpeg(scan(120, 60, (5, 5))), lens=-1))
    pages.append(page(60, 30, jpeg(scan(60, 30, (5, 5))), lens=-2))
    path = tiff.write_tiff(folder / name, pages, "ndpi", hole_bytes=hole_bytes)
    return Made(
        path,
        "hamamatsu",
        tuple(planes),
        SPACING_UM,
        FACTORS,
        marker_xy,
        properties={
            "hamamatsu.XOffsetFromSlideCentre": str(OFFSET_NM[0]),
            "hamamatsu.YOffsetFromSlideCentre": str(OFFSET_NM[1]),
        },
    )


def write_unlisted(folder: Path, name: str = "a.ndpi", **more: Any) -> Made:
    """A slide that only OpenSlide reads."""
    return write(folder, name, listing=unlisted, **more)


def header_length(data: bytes) -> int:
    """Bytes of a JPEG up to its first coded block."""
    place = 2
    while data[place + 1] != 0xDA:
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")


def run_starts(data: bytes) -> list[int]:
    """Where the runs of a JPEG begin: after its header, and after every restart marker."""
    codes = np.frombuffer(data, np.uint8)
    first = header_length(data)
    after = np.flatnonzero((codes[first:-1] == 0xFF) & (codes[first + 1 :] >= 0xD0) & (codes[first + 1 :] <= 0xD7))
    return [first, *(first + 2 + after).tolist()]


def with_stated_size(data: bytes, width: int, height: int) -> bytes:
    """The stream with another size in its JPEG header."""
    place = data.index(b"\xff\xc0") + 5
    return data[:place] + height.to_bytes(2, "big") + width.to_bytes(2, "big") + data[place + 4 :]


def side_by_side(image: Image, columns: int, restart_mcus: int) -> bytes:
    """A JPEG of rows below one another, read as so many columns: how a stream can be wider than a JPEG may be."""
    assert (image.shape[0] // 8) % columns == 0
    return with_stated_size(jpeg(image, restart_mcus), 0, 0)


def page(
    width: int,
    height: int,
    data: bytes,
    *,
    lens: float,
    starts: Sequence[int] | None = None,
    high: bool = False,
    focal_plane: int = 0,
) -> tiff.Page:
    tags = tiff.image_tags(width, height, tile=None) + tiff.resolution_tags(SPACING_UM)
    tags += [tiff.text(271, "Hamamatsu"), tiff.text(272, "NanoZoomer")]
    tags += [(65420, tiff.LONG, 1), (65421, tiff.FLOAT, lens)]
    tags += [(code, tiff.SLONG, nm) for code, nm in zip((65422, 65423), OFFSET_NM, strict=True)]
    tags += [(65424, tiff.SLONG, focal_plane), tiff.text(65427, "reference")]
    if starts is not None:
        tags.append((65426, tiff.LONG, [v & 0xFFFFFFFF for v in starts]))
        if high:
            tags.append((65432, tiff.LONG, [v >> 32 for v in starts]))
    return tiff.Page(tags, [data], is_tiled=False)
