"""Hamamatsu VMS: a key file that names JPEGs side by side, a low-resolution map and the scan's place in nm."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vendor_slides.made import Made, jpeg, reduced, scan, unjpeg

SPACING_UM = (0.46, 0.4601)
OFFSET_NM = (2_000_001, -3_000_002)
SIZE = (1024, 640)
COLUMNS = 2
MAP_FACTOR = 16


def write(folder: Path, name: str = "a.vms") -> Made:
    """Two JPEGs side by side; the levels between them and the map are OpenSlide's own (JPEG at 1/2, 1/4, 1/8)."""
    marker_xy = (SIZE[0] // COLUMNS - 10, 333)
    image = scan(*SIZE, marker_xy)
    stem, width = name.removesuffix(".vms"), SIZE[0] // COLUMNS
    rows = ["[Virtual Microscope Specimen]", "NoLayers=1", f"NoJpegColumns={COLUMNS}", "NoJpegRows=1"]
    parts = []
    for column in range(COLUMNS):
        place = f"{stem}_{column}.jpg"
        data = jpeg(np.ascontiguousarray(image[:, column * width : (column + 1) * width]), 8)
        (folder / place).write_bytes(data)
        parts.append(unjpeg(data))
        rows.append(f"ImageFile={place}" if column == 0 else f"ImageFile({column},0)={place}")
    small = jpeg(reduced(image, (MAP_FACTOR,))[0], 8)
    (folder / f"{stem}_map.jpg").write_bytes(small)
    rows += [f"MapFile={stem}_map.jpg", f"PhysicalWidth={SIZE[0] * SPACING_UM[0] * 1000:.0f}"]
    rows += [f"PhysicalHeight={SIZE[1] * SPACING_UM[1] * 1000:.0f}", "SourceLens=20"]
    rows += [f"XOffsetFromSlideCentre={OFFSET_NM[0]}", f"YOffsetFromSlideCentre={OFFSET_NM[1]}"]
    (folder / name).write_text("\n".join(rows) + "\n", encoding="utf-8")
    return Made(
        folder / name,
        "hamamatsu",
        (np.concatenate(parts, axis=1),),
        SPACING_UM,
        (1,),
        marker_xy,
        properties={
            "hamamatsu.XOffsetFromSlideCentre": str(OFFSET_NM[0]),
            "hamamatsu.YOffsetFromSlideCentre": str(OFFSET_NM[1]),
        },
    )
