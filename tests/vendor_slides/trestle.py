"""Trestle: a TIFF by MedScan whose tiles overlap by the pixels that the description names for each level."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vendor_slides import tiff
from vendor_slides.made import Made, reduced, scan

SPACING_UM = (0.465, 0.4652)
TILE = 64
SIZE = (344, 232)
FACTORS = (1, 2)
OVERLAP_PX = ((8, 8), (4, 6))


def write(folder: Path, name: str = "a.tif") -> Made:
    """Uncompressed tiles, so that the image itself must come out; the stored mosaic is larger than the level."""
    marker_xy = (200, 101)
    pages, planes = [], []
    for n, (factor, level) in enumerate(zip(FACTORS, reduced(scan(*SIZE, marker_xy), FACTORS), strict=True)):
        height, width = level.shape[:2]
        steps = [TILE - o for o in OVERLAP_PX[n]]
        counts = [-(-(side - o) // step) for side, o, step in zip((width, height), OVERLAP_PX[n], steps, strict=True)]
        whole = np.pad(level, ((0, TILE), (0, TILE), (0, 0)), constant_values=255)
        codes = [
            whole[row * steps[1] : row * steps[1] + TILE, column * steps[0] : column * steps[0] + TILE].tobytes()
            for row in range(counts[1])
            for column in range(counts[0])
        ]
        stored = [side + (k - 1) * o for side, k, o in zip((width, height), counts, OVERLAP_PX[n], strict=True)]
        tags = tiff.image_tags(stored[0], stored[1], tile=TILE, compression=1, photometric=2)
        # Not a resolution but um/px, as these scanners write it.
        tags += [(c, tiff.RATIONAL, (round(um * 10_000), 10_000)) for c, um in zip((282, 283), SPACING_UM, strict=True)]
        tags.append((296, tiff.SHORT, 1))
        if factor == 1:
            overlaps = " ".join(str(o) for pair in OVERLAP_PX for o in pair)
            words = f"Background Color=FFFFFF;Objective Power=20;OverlapsXY= {overlaps};Image Format=RAW"
            tags += [tiff.text(270, words), tiff.text(305, "MedScan 1.0")]
        pages.append(tiff.Page(tags, codes))
        planes.append(level)
    path = tiff.write_tiff(folder / name, pages)
    return Made(path, "trestle", tuple(planes), SPACING_UM, FACTORS, marker_xy)
