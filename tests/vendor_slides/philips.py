"""Philips TIFF: levels stored padded to whole tiles, their true scale in the XML of the description."""

from __future__ import annotations

from pathlib import Path

from vendor_slides import tiff
from vendor_slides.made import Made, on_plane, reduced, scan, tiled

SPACING_UM = (0.227, 0.25)
SIZE = (576, 320)
FACTORS = (1, 2, 4)
TILE = 64


def write(folder: Path, name: str = "a.tiff", *, missing: tuple[int, ...] = ()) -> Made:
    """Level 0 in whole tiles, the others padded; ``missing`` tiles of level 0 are not stored (outside the regions)."""
    marker_xy = (333, 130)
    image = scan(*SIZE, marker_xy)
    pages, planes = [], []
    for factor, level in zip(FACTORS, reduced(image, FACTORS), strict=True):
        codes, decoded = tiled(level, TILE)
        if factor == 1:
            for index in missing:
                codes[index] = b""
                row, column = divmod(index, SIZE[0] // TILE)
                decoded[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE] = 255
        # Stored sizes are whole tiles: width and height of the directory say nothing of the slide.
        width, height = -(-level.shape[1] // TILE) * TILE, -(-level.shape[0] // TILE) * TILE
        tags = tiff.image_tags(width, height, tile=TILE)
        tags += [(254, tiff.LONG, 0 if factor == 1 else 1)]
        if factor == 1:
            tags += [tiff.text(305, "Philips DP v1.0"), tiff.text(270, _xml())]
        pages.append(tiff.Page(tags, codes))
        planes.append(decoded)
    macro = tiled(on_plane((64, 64), []), 64)[0]
    pages.append(tiff.Page([*tiff.image_tags(64, 64, tile=None), tiff.text(270, "Macro")], macro, is_tiled=False))
    path = tiff.write_tiff(folder / name, pages, "big")
    properties = {"philips.DICOM_PIXEL_SPACING": "0.000250000 0.000227000"}
    return Made(path, "philips", tuple(planes), SPACING_UM, FACTORS, marker_xy, properties=properties)


def _attribute(name: str, value: str) -> str:
    return f'<Attribute Name="{name}">{value}</Attribute>'


def _spacing(factor: int) -> str:
    # Rows first, then columns, in mm.
    row, column = (um * factor / 1000 for um in reversed(SPACING_UM))
    return _attribute("DICOM_PIXEL_SPACING", f"&quot;{row:.9f}&quot; &quot;{column:.9f}&quot;")


def _xml() -> str:
    levels = "".join(
        f'<DataObject ObjectType="PixelDataRepresentation">{_spacing(f)}'
        f"{_attribute('PIIM_PIXEL_DATA_REPRESENTATION_NUMBER', str(n))}</DataObject>"
        for n, f in enumerate(FACTORS)
    )
    image = (
        _attribute("PIM_DP_IMAGE_TYPE", "WSI")
        + _attribute("DICOM_DERIVATION_DESCRIPTION", "tiff-useBigTIFF=1-levels=20,10,5")
        + _spacing(1)
        + _attribute("PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE", f"<Array>{levels}</Array>")
    )
    scanned = f'<Array><DataObject ObjectType="DPScannedImage">{image}</DataObject></Array>'
    return (
        '<?xml version="1.0" encoding="UTF-8" ?><DataObject ObjectType="DPUfsImport">'
        + _attribute("DICOM_MANUFACTURER", "PHILIPS")
        + _attribute("PIM_DP_SCANNED_IMAGES", scanned)
        + "</DataObject>"
    )
