"""Aperio SVS: tiled levels with a striped thumbnail between, in JPEG or JPEG 2000."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import imagecodecs
import numpy as np

from vendor_slides import tiff
from vendor_slides.made import Image, Made, jpeg, on_plane, reduced, scan, tiled, unjpeg

SPACING_UM = 0.252
FACTORS = (1, 4)
TILE = 64
Codec = Literal["jpeg", "jp2k-rgb", "jp2k-ycbcr"]
_COMPRESSION: dict[Codec, int] = {"jpeg": 7, "jp2k-ycbcr": 33003, "jp2k-rgb": 33005}


def write(folder: Path, name: str = "a.svs", *, codec: Codec = "jpeg") -> Made:
    """Levels that keep their partial border tiles; label and macro as Aperio marks them."""
    marker_xy = (180, 200)
    pages, planes = [], []
    encode, decode = {"jpeg": (jpeg, unjpeg), "jp2k-rgb": (_jp2k, _unjp2k), "jp2k-ycbcr": (_jp2k_ycbcr, _unjp2k_ycbcr)}[
        codec
    ]
    for factor, level in zip(FACTORS, reduced(scan(392, 264, marker_xy), FACTORS), strict=True):
        codes, decoded = tiled(level, TILE, encode, decode)
        height, width = level.shape[:2]
        photometric = 6 if codec == "jpeg" else 2
        tags = tiff.image_tags(width, height, tile=TILE, compression=_COMPRESSION[codec], photometric=photometric)
        kind = "JPEG/RGB" if codec == "jpeg" else "J2K/KDU"
        words = f"Aperio Image Library v12.0.15\r\n392x264 [0,0 {width}x{height}] (64x64) {kind} Q=70"
        tags.append(tiff.text(270, f"{words}|AppMag = 20|MPP = {SPACING_UM}|Filename = a"))
        pages.append(tiff.Page(tags, codes))
        planes.append(decoded)
        if factor == 1:
            pages.append(_associated("Aperio Image Library v12.0.15\r\n98x66 -> 98x66 - |AppMag = 20", 0))
    pages.append(_associated("Aperio Image Library v12.0.15\r\nlabel 98x66", 1))
    pages.append(_associated("Aperio Image Library v12.0.15\r\nmacro 98x66", 9))
    path = tiff.write_tiff(folder / name, pages)
    return Made(path, "aperio", tuple(planes), (SPACING_UM, SPACING_UM), FACTORS, marker_xy)


def _associated(description: str, subfile: int) -> tiff.Page:
    tags = tiff.image_tags(98, 66, tile=None)
    tags += [(254, tiff.LONG, subfile), tiff.text(270, description)]
    return tiff.Page(tags, [jpeg(on_plane((98, 66), []))], is_tiled=False)


def _jp2k(image: Image) -> bytes:
    """A lossless codestream of the three channels as they are."""
    return bytes(imagecodecs.jpeg2k_encode(image, codecformat="j2k", reversible=True, level=0, mct=False))


def _unjp2k(data: bytes) -> Image:
    return np.asarray(imagecodecs.jpeg2k_decode(data))


_TO_YCBCR = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])


def _jp2k_ycbcr(image: Image) -> bytes:
    ycc = image @ _TO_YCBCR.T + (0, 128, 128)
    return _jp2k(np.clip(np.rint(ycc), 0, 255).astype(np.uint8))


def _unjp2k_ycbcr(data: bytes) -> Image:
    """JFIF's equations, rounded to nearest."""
    y, cb, cr = np.moveaxis(_unjp2k(data).astype(np.float64), 2, 0)
    cb, cr = cb - 128, cr - 128
    rgb = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], axis=2)
    image: Image = np.clip(np.rint(rgb), 0, 255).astype(np.uint8)
    return image
