"""A tiled TIFF of no vendor, in JPEG (padded ones are in ``slide_files``)."""

from __future__ import annotations

from pathlib import Path

from vendor_slides import tiff
from vendor_slides.made import Made, reduced, scan, tiled

SPACING_UM = (0.243, 0.2451)
FACTORS = (1, 2, 4)
TILE = 64


def write(folder: Path, name: str = "a.tif") -> Made:
    """Levels in the ratio of their factors, in SubfileType's reduced pages."""
    marker_xy = (97, 149)
    pages, planes = [], []
    for factor, level in zip(FACTORS, reduced(scan(393, 267, marker_xy), FACTORS), strict=True):
        codes, decoded = tiled(level, TILE)
        tags = tiff.image_tags(level.shape[1], level.shape[0], tile=TILE)
        tags += [*tiff.resolution_tags(SPACING_UM), (254, tiff.LONG, 0 if factor == 1 else 1)]
        pages.append(tiff.Page(tags, codes))
        planes.append(decoded)
    path = tiff.write_tiff(folder / name, pages)
    return Made(path, "generic-tiff", tuple(planes), SPACING_UM, FACTORS, marker_xy, objective_power=None)
