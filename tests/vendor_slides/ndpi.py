"""Hamamatsu NDPI: a TIFF with 64-bit links, one JPEG strip per level, its place in nm from the slide's centre."""

from __future__ import annotations

from pathlib import Path

from vendor_slides import tiff
from vendor_slides.made import Made, jpeg, reduced, scan, unjpeg

SPACING_UM = (0.2275, 0.2301)
OFFSET_NM = (-1_234_567, 7_654_321)
FACTORS = (1, 2, 4)


def write(folder: Path, name: str = "a.ndpi", *, restart_px: int = 64) -> Made:
    """A slide whose JPEGs have restart markers every ``restart_px`` pixels of a row (0: none)."""
    marker_xy = (211, 37)
    image = scan(512, 320, marker_xy)
    pages, planes = [], []
    for factor, level in zip(FACTORS, reduced(image, FACTORS), strict=True):
        data = jpeg(level, restart_px // 8)
        planes.append(unjpeg(data))
        pages.append(_page(level.shape[1], level.shape[0], data, lens=20 / factor))
    macro = jpeg(scan(120, 60, (5, 5)))
    pages.append(_page(120, 60, macro, lens=-1))
    path = tiff.write_tiff(folder / name, pages, "ndpi")
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


def _page(width: int, height: int, data: bytes, *, lens: float) -> tiff.Page:
    tags = tiff.image_tags(width, height, tile=None) + tiff.resolution_tags(SPACING_UM)
    tags += [tiff.text(271, "Hamamatsu"), tiff.text(272, "NanoZoomer")]
    tags += [(65420, tiff.LONG, 1), (65421, tiff.FLOAT, lens)]
    tags += [(code, tiff.SLONG, nm) for code, nm in zip((65422, 65423), OFFSET_NM, strict=True)]
    tags += [(65424, tiff.SLONG, 0), tiff.text(65427, "reference")]
    return tiff.Page(tags, [data], is_tiled=False)
