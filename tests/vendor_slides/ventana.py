"""Ventana: BIF (a BigTIFF of overlapping camera tiles in scanned areas) and the plain TIFF of the same scanners."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from slide_files import mean_of_blocks

from vendor_slides import tiff
from vendor_slides.made import Image, Made, jpeg, on_plane, reduced, scan, tiled

SPACING_UM = 0.2325
TILE = 64
FACTORS = (1, 2)
COLUMNS, ROWS = 5, 4
AREA_XY = (2 * TILE, 2 * TILE)


def write(folder: Path, name: str = "a.bif", *, overlap_px: int = 0) -> Made:
    """One scanned area of 5 x 4 tiles, to the right of and below unscanned glass.

    Args:
        overlap_px: pixels that neighbouring tiles share; the level is then smaller than its stored tiles.
    """
    step = TILE - overlap_px
    size = (COLUMNS * step + overlap_px, ROWS * step + overlap_px)
    marker_inside = (3 * step + 3, 2 * step + 2)
    area = scan(*size, marker_inside)
    stored_columns, stored_rows = AREA_XY[0] // TILE + COLUMNS, AREA_XY[1] // TILE + ROWS
    # Rounded up to an even count, so that one tile of level 1 covers 2 x 2 whole tiles.
    stored_columns, stored_rows = stored_columns + stored_columns % 2, stored_rows + stored_rows % 2
    mosaic = on_plane((stored_columns * TILE, stored_rows * TILE), [])
    for row in range(ROWS):
        for column in range(COLUMNS):
            part = area[row * step : row * step + TILE, column * step : column * step + TILE]
            x, y = AREA_XY[0] + column * TILE, AREA_XY[1] + row * TILE
            mosaic[y : y + TILE, x : x + TILE] = part
    pages = [_macro()]
    planes = []
    place = (AREA_XY[0], 0)
    for n, factor in enumerate(FACTORS):
        stored = mean_of_blocks(mosaic, factor) if factor > 1 else mosaic
        codes, decoded = tiled(stored, TILE, _lossless, _from_lossless)
        tags = tiff.image_tags(stored.shape[1], stored.shape[0], tile=TILE, compression=1, photometric=2)
        tags.append(tiff.text(270, f"level={n} mag={20 / factor:g} quality=95"))
        if n == 0:
            tags.append((700, tiff.BYTE, _encode_info(overlap_px).encode()))
        pages.append(tiff.Page(tags, codes))
        planes.append(_composed(decoded, factor, step, place))
    path = tiff.write_tiff(folder / name, pages, "big")
    marker_xy = (place[0] + marker_inside[0], place[1] + marker_inside[1])
    factors = (1, None) if overlap_px else FACTORS
    return Made(path, "ventana", tuple(planes), (SPACING_UM, SPACING_UM), factors, marker_xy)


def write_plain(folder: Path, name: str = "a.tif") -> Made:
    """The TIFF export: JPEG tiles edge to edge, iScan's XML in the first directory."""
    marker_xy = (201, 33)
    pages, planes = [_macro()], []
    for n, (factor, level) in enumerate(zip((1, 2, 4), reduced(scan(320, 256, marker_xy), (1, 2, 4)), strict=True)):
        codes, decoded = tiled(level, TILE)
        tags = tiff.image_tags(level.shape[1], level.shape[0], tile=TILE)
        pages.append(tiff.Page([*tags, tiff.text(270, f"level={n} mag={20 / factor:g} quality=95")], codes))
        planes.append(decoded)
    path = tiff.write_tiff(folder / name, pages, "big")
    return Made(path, "ventana", tuple(planes), (SPACING_UM, SPACING_UM), (1, 2, 4), marker_xy)


def _lossless(image: Image) -> bytes:
    return image.tobytes()


def _from_lossless(data: bytes) -> Image:
    return np.frombuffer(data, np.uint8).reshape(TILE, TILE, 3)


def _composed(stored: Image, factor: int, step: int, place: tuple[int, int]) -> Image:
    """The area's tiles, shrunk by ``factor`` and ``step`` apart; neighbours agree where they overlap."""
    side, parts = TILE // factor, []
    for row in range(ROWS):
        for column in range(COLUMNS):
            x, y = (AREA_XY[0] + column * TILE) // factor, (AREA_XY[1] + row * TILE) // factor
            at = ((place[0] + column * step) // factor, (place[1] + row * step) // factor)
            parts.append((*at, stored[y : y + side, x : x + side]))
    width, height = place[0] + (COLUMNS - 1) * step + TILE, place[1] + (ROWS - 1) * step + TILE
    return on_plane((-(-width // factor), -(-height // factor)), parts)


def _macro() -> tiff.Page:
    tags = tiff.image_tags(64, 64, tile=None)
    xml = f'<iScan ScanRes="{SPACING_UM}" Magnification="20" Z-layers="1" UnitNumber="1"/>'
    tags += [tiff.text(270, "Label Image"), (700, tiff.BYTE, xml.encode())]
    return tiff.Page(tags, [jpeg(on_plane((64, 64), []))], is_tiled=False)


def _encode_info(overlap_px: int) -> str:
    """Tiles are numbered from the bottom row up, every second row from right to left."""

    def number(column: int, row: int) -> int:
        up = ROWS - 1 - row
        return up * COLUMNS + (COLUMNS - 1 - column if up % 2 else column) + 1

    joints = []
    for row in range(ROWS):
        for column in range(COLUMNS):
            here = number(column, row)
            if column + 1 < COLUMNS:
                joints.append(_joint("RIGHT", here, number(column + 1, row), overlap_px, 0))
            if row:
                joints.append(_joint("UP", here, number(column, row - 1), 0, overlap_px))
    return (
        '<EncodeInfo Ver="2"><SlideStitchInfo>'
        f'<ImageInfo AOIScanned="1" AOIIndex="0" NumRows="{ROWS}" NumCols="{COLUMNS}" Width="{TILE}" Height="{TILE}" '
        f'Pos-X="{AREA_XY[0]}" Pos-Y="{AREA_XY[1]}">{"".join(joints)}</ImageInfo></SlideStitchInfo>'
        f'<AoiOrigin><AOI0 OriginX="{AREA_XY[0]}" OriginY="{AREA_XY[1]}"/></AoiOrigin></EncodeInfo>'
    )


def _joint(direction: str, first: int, second: int, x: int, y: int) -> str:
    return (
        f'<TileJointInfo Direction="{direction}" Tile1="{first}" Tile2="{second}" OverlapX="{x}" OverlapY="{y}" '
        'FlagJoined="1" Confidence="99"/>'
    )
