"""MIRAX: an .mrxs beside a folder with Slidedat.ini, Index.dat and data files; gaps where nothing was scanned."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from slide_files import mean_of_blocks

from vendor_slides.made import Image, Made, jpeg, on_plane, png, scan, unjpeg

SPACING_UM = (0.2325, 0.2401)
GRID = (10, 8)
TILE = 32
SLIDE_ID = "0123456789ABCDEF0123456789ABCDEF"
VERSION = b"01.02"
LEVELS = 3

Cell = tuple[int, int]


def write(folder: Path, name: str = "a.mrxs", *, image_format: str = "PNG", overlap_px: int = 0) -> Made:
    """A scan of 6 x 4 camera images in a grid of 10 x 8, with one image missing inside.

    Args:
        image_format: PNG (lossless: the image itself must come out) or JPEG.
        overlap_px: neighbours share so many pixels (a multiple of 4); their places are then recorded one by one.
    """
    step = TILE - overlap_px
    size = (GRID[0] * step + overlap_px, GRID[1] * step + overlap_px)
    marker_xy = (4 * step + 3, 3 * step + 2)
    plane = scan(*size, marker_xy)
    taken = {(x, y) for x in range(2, 8) for y in range(2, 6)} - {(5, 4)}
    cells = {(x, y): plane[y * step : y * step + TILE, x * step : x * step + TILE] for x, y in taken}
    body = bytearray(VERSION + SLIDE_ID.encode() + b"padding")
    records: list[list[tuple[int, int, int]]] = []
    planes = []
    for level in range(LEVELS):
        concat = 1 << level
        images = {cell: _concatenated(cells, cell, concat) for cell in _corners(cells, concat)}
        blobs = {cell: (png if image_format == "PNG" else jpeg)(image) for cell, image in images.items()}
        records.append([])
        for (x, y), blob in sorted(blobs.items(), key=lambda item: (item[0][1], item[0][0])):
            records[-1].append((y * GRID[0] + x, len(body), len(blob)))
            body += blob
        decoded = {c: images[c] if image_format == "PNG" else unjpeg(blobs[c]) for c in images}
        planes.append(_plane(size, step, concat, cells, decoded))
    positions = (len(body), b"".join(_position(i, step, cells) for i in range(GRID[0] * GRID[1])))
    body += positions[1]
    path = folder / name
    path.write_bytes(jpeg(scan(64, 48, (5, 5))))
    inside = path.with_suffix("")
    inside.mkdir()
    (inside / "Slidedat.ini").write_text(_slidedat(image_format, overlap_px), encoding="utf-8")
    (inside / "Index.dat").write_bytes(_index(records, (positions[0], len(positions[1])) if overlap_px else None))
    (inside / "Data0000.dat").write_bytes(body)
    bounds = (2 * step, 2 * step, 6 * step + overlap_px, 4 * step + overlap_px)
    # Where places are recorded OpenSlide may interpolate lower levels, and says not when: none is used.
    factors = tuple(None if overlap_px and n else 1 << n for n in range(LEVELS))
    return Made(path, "mirax", tuple(planes), SPACING_UM, factors, marker_xy, bounds)


def _corners(cells: Mapping[Cell, Image], concat: int) -> set[Cell]:
    return {(x // concat * concat, y // concat * concat) for x, y in cells}


def _concatenated(cells: Mapping[Cell, Image], corner: Cell, concat: int) -> Image:
    """The images of concat x concat cells, each shrunk by ``concat``, edge to edge; the fill colour where none is."""
    side = TILE // concat
    out = np.full((TILE, TILE, 3), 255, np.uint8)
    for dy in range(concat):
        for dx in range(concat):
            cell = cells.get((corner[0] + dx, corner[1] + dy))
            if cell is not None:
                out[dy * side : (dy + 1) * side, dx * side : (dx + 1) * side] = mean_of_blocks(cell, concat)
    return out


def _plane(
    size: tuple[int, int], step: int, concat: int, cells: Mapping[Cell, Image], decoded: Mapping[Cell, Image]
) -> Image:
    """The level as it must be read.

    Without recorded places whole images are shown, the fill colour in them too; with them only cells
    that were scanned, each at its own place, and they agree where they share pixels (lossless only).
    """
    if step == TILE:
        corners = [(x * step // concat, y * step // concat, image) for (x, y), image in decoded.items()]
        return on_plane((size[0] // concat, size[1] // concat), corners)
    side = TILE // concat
    parts = []
    for x, y in cells:
        corner = (x // concat * concat, y // concat * concat)
        dx, dy = (x - corner[0]) * side, (y - corner[1]) * side
        parts.append((x * step // concat, y * step // concat, decoded[corner][dy : dy + side, dx : dx + side]))
    return on_plane((size[0] // concat, size[1] // concat), parts)


def _position(index: int, step: int, cells: Mapping[Cell, Image]) -> bytes:
    y, x = divmod(index, GRID[0])
    return struct.pack("<Bii", (x, y) in cells, x * step, y * step)


def _index(records: Sequence[Sequence[tuple[int, int, int]]], positions: tuple[int, int] | None) -> bytes:
    """Version, id, then pointers: to the levels' chains of pages, and to the records outside the levels."""
    root = len(VERSION) + len(SLIDE_ID)
    out = bytearray(VERSION + SLIDE_ID.encode() + bytes(8))
    struct.pack_into("<i", out, root, len(out))
    table_at = len(out)
    out += bytes(4 * len(records))
    for level, pages in enumerate(records):
        struct.pack_into("<i", out, table_at + 4 * level, len(out))
        out += struct.pack("<ii", 0, len(out) + 8)
        out += struct.pack("<ii", len(pages), 0)
        for index, offset, length in pages:
            out += struct.pack("<iiii", index, offset, length, 0)
    struct.pack_into("<i", out, root + 4, len(out))
    if positions is not None:
        out += struct.pack("<i", len(out) + 4)
        out += struct.pack("<ii", 0, len(out) + 8)
        out += struct.pack("<iiiiiiii", 1, 0, 0, 0, positions[0], positions[1], 0, 0)
    return bytes(out)


def _slidedat(image_format: str, overlap_px: int) -> str:
    rows = ["[GENERAL]", "SLIDE_VERSION = 01.02", f"SLIDE_ID = {SLIDE_ID}"]
    rows += [f"IMAGENUMBER_X = {GRID[0]}", f"IMAGENUMBER_Y = {GRID[1]}", "OBJECTIVE_MAGNIFICATION = 20"]
    rows += ["CameraImageDivisionsPerSide = 1", "[HIERARCHICAL]", "HIER_COUNT = 1"]
    rows += [f"NONHIER_COUNT = {1 if overlap_px else 0}", "INDEXFILE = Index.dat", "HIER_0_NAME = Slide zoom level"]
    rows += [f"HIER_0_COUNT = {LEVELS}"]
    for level in range(LEVELS):
        rows += [f"HIER_0_VAL_{level} = ZoomLevel_{level}", f"HIER_0_VAL_{level}_SECTION = LEVEL_{level}"]
    if overlap_px:
        rows += ["NONHIER_0_NAME = VIMSLIDE_POSITION_BUFFER", "NONHIER_0_COUNT = 1", "NONHIER_0_VAL_0 = default"]
        rows += ["NONHIER_0_VAL_0_SECTION = POSITIONS", "[POSITIONS]", "VIMSLIDE_POSITION_DATA_FORMAT_VERSION = 257"]
    rows += ["[DATAFILE]", "FILE_COUNT = 1", "FILE_0 = Data0000.dat"]
    for level in range(LEVELS):
        rows += [f"[LEVEL_{level}]", f"IMAGE_CONCAT_FACTOR = {0 if level == 0 else 1}"]
        rows += [f"OVERLAP_X = {overlap_px / (1 << level)}", f"OVERLAP_Y = {overlap_px / (1 << level)}"]
        rows += [f"MICROMETER_PER_PIXEL_X = {SPACING_UM[0]}", f"MICROMETER_PER_PIXEL_Y = {SPACING_UM[1]}"]
        rows += [f"IMAGE_FORMAT = {image_format}", "IMAGE_FILL_COLOR_BGR = 16777215"]
        rows += [f"DIGITIZER_WIDTH = {TILE}", f"DIGITIZER_HEIGHT = {TILE}"]
    return "\n".join(rows) + "\n"
