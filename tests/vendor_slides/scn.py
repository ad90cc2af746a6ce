"""Leica SCN: a BigTIFF whose XML places each scanned region, in nm, on the slide."""

from __future__ import annotations

from pathlib import Path

from vendor_slides import tiff
from vendor_slides.made import Image, Made, on_plane, reduced, scan, tiled

NM = 250
PLANE_PX = (800, 480)
FACTORS = (1, 2, 4)
TILE = 64
NAMESPACE = "http://www.leica-microsystems.com/scn/2010/10/01"

Region = tuple[int, int, Image]


def write(folder: Path, name: str = "a.scn", *, two_regions: bool = False, corner: tuple[int, int] = (128, 96)) -> Made:
    """One region with its upper left at ``corner``, and a second one with a gap of glass between if asked for."""
    marker_inside = (45, 131)
    regions: list[Region] = [(*corner, scan(320, 256, marker_inside))]
    if two_regions:
        regions.append((512, 64, scan(192, 224, (60, 60), seed=1)))
    pages = [_page(scan(PLANE_PX[0] // 8, PLANE_PX[1] // 8, (5, 5)), 8)[0]]
    images: list[str] = []
    parts: list[list[Region]] = [[] for _ in FACTORS]
    for x, y, image in regions:
        dimensions = []
        for r, (factor, level) in enumerate(zip(FACTORS, reduced(image, FACTORS), strict=True)):
            page, decoded = _page(level, factor)
            dimensions.append(_dimension(len(pages), r, level))
            pages.append(page)
            parts[r].append((x // factor, y // factor, decoded))
        images.append(_image((x, y), image, dimensions))
    macro = _dimension(0, 0, _empty(PLANE_PX, 8))
    images.append(_image((0, 0), _empty(PLANE_PX, 1), [macro]))
    pages[0] = tiff.Page([*pages[0].tags, tiff.text(270, _xml(images))], pages[0].data)
    path = tiff.write_tiff(folder / name, pages, "big")
    planes = [on_plane((PLANE_PX[0] // f, PLANE_PX[1] // f), placed) for f, placed in zip(FACTORS, parts, strict=True)]
    left, top = min(x for x, _, _ in regions), min(y for _, y, _ in regions)
    right, bottom = max(x + i.shape[1] for x, _, i in regions), max(y + i.shape[0] for _, y, i in regions)
    return Made(
        path,
        "leica",
        tuple(planes),
        (NM / 1000, NM / 1000),
        FACTORS,
        (corner[0] + marker_inside[0], corner[1] + marker_inside[1]),
        bounds=(left, top, right - left, bottom - top),
    )


def _empty(size: tuple[int, int], factor: int) -> Image:
    """An empty image of a size, for the XML alone."""
    return on_plane((size[0] // factor, size[1] // factor), [])


def _page(level: Image, factor: int) -> tuple[tiff.Page, Image]:
    codes, decoded = tiled(level, TILE)
    tags = tiff.image_tags(level.shape[1], level.shape[0], tile=TILE)
    tags += tiff.resolution_tags((NM * factor / 1000, NM * factor / 1000))
    return tiff.Page(tags, codes), decoded


def _dimension(ifd: int, r: int, level: Image) -> str:
    return f'<dimension r="{r}" ifd="{ifd}" sizeX="{level.shape[1]}" sizeY="{level.shape[0]}"/>'


def _image(corner: tuple[int, int], image: Image, dimensions: list[str]) -> str:
    height, width = image.shape[:2]
    return (
        '<image><creationDate>2026-01-01T00:00:00Z</creationDate><device model="Leica SCN400" version="1"/>'
        f'<pixels sizeX="{width}" sizeY="{height}">{"".join(dimensions)}</pixels>'
        f'<view sizeX="{width * NM}" sizeY="{height * NM}" offsetX="{corner[0] * NM}" offsetY="{corner[1] * NM}"/>'
        "<scanSettings><objectiveSettings><objective>20</objective></objectiveSettings><illuminationSettings>"
        "<numericalAperture>0.5</numericalAperture>"
        "<illuminationSource>brightfield</illuminationSource></illuminationSettings></scanSettings></image>"
    )


def _xml(images: list[str]) -> str:
    return (
        f'<?xml version="1.0"?><scn xmlns="{NAMESPACE}"><collection name="a" sizeX="{PLANE_PX[0] * NM}" '
        f'sizeY="{PLANE_PX[1] * NM}">{"".join(images)}</collection></scn>'
    )
