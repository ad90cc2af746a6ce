"""Pictures for people: thumbnails and contact sheets, as deterministic bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

RGB = npt.NDArray[np.uint8]

# Okabe-Ito colours: told apart by colour-blind readers too.
LABEL_COLOURS = ((213, 94, 0), (0, 114, 178), (0, 158, 115), (204, 121, 167), (240, 228, 66), (86, 180, 233))
IGNORE_COLOUR = (128, 128, 128)


SHEET_TILE_PX = 160
"""Side of a patch on a contact sheet."""


@dataclass(frozen=True, slots=True)
class SheetItem:
    """One patch of a contact sheet, made small: pixels as stored with the mask's outlines, and as read."""

    stored: RGB
    raw: RGB

    @classmethod
    def of(cls, stored: RGB, raw: RGB, mask: npt.NDArray[np.uint8]) -> SheetItem:
        """The item of a patch of any size."""
        small = thumbnail(outlined(stored, mask), SHEET_TILE_PX)
        return cls(small, small if raw is stored else thumbnail(raw, SHEET_TILE_PX))


def thumbnail(image: RGB, side_px: int) -> RGB:
    """A square picture made smaller, or larger: whole halvings first, for which OpenCV has a faster way."""
    while min(image.shape[:2]) >= 2 * side_px:
        image = cv2.resize(image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    return np.asarray(cv2.resize(image, (side_px, side_px), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def jpeg_bytes(image: RGB, quality: int = 85) -> bytes:
    """The image as a JPEG file."""
    ok, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:
        raise ValueError("the picture cannot be encoded as JPEG")
    return data.tobytes()


def png_bytes(image: RGB) -> bytes:
    """The image as a PNG file."""
    ok, data = cv2.imencode(".png", image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 6])
    if not ok:
        raise ValueError("the picture cannot be encoded as PNG")
    return data.tobytes()


def outlined(image: RGB, mask: npt.NDArray[np.uint8]) -> RGB:
    """The image with each label's outline drawn, and ignored pixels greyed where they are not all of it."""
    low, high, *_ = cv2.minMaxLoc(mask)
    if low == high and int(low) in (0, 255):
        return image
    result = image.copy()
    ignored = mask == 255
    if ignored.any():
        result[ignored] = (result[ignored] // 2 + np.array(IGNORE_COLOUR, np.uint8) // 2).astype(np.uint8)
    for value in np.flatnonzero(np.bincount(mask.ravel(), minlength=256)[1:255]) + 1:
        colour = LABEL_COLOURS[(int(value) - 1) % len(LABEL_COLOURS)]
        contours, _ = cv2.findContours((mask == value).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(result, contours, -1, colour, max(1, image.shape[0] // 128))
    return result


def contact_sheet(items: Sequence[SheetItem], *, normalised: bool, columns: int = 8) -> RGB:
    """Rows of patches: with mask outlines, and above them the pixels before normalisation where there is one."""
    gap, tile_px = 4, SHEET_TILE_PX
    strips = []
    for start in range(0, len(items), columns):
        part = items[start : start + columns]
        rows = [[item.stored for item in part]]
        if normalised:
            rows.insert(0, [item.raw for item in part])
        for row in rows:
            strip = np.full((tile_px + gap, columns * (tile_px + gap), 3), 255, np.uint8)
            for k, picture in enumerate(row):
                strip[:tile_px, k * (tile_px + gap) : k * (tile_px + gap) + tile_px] = picture
            strips.append(strip)
        strips.append(np.full((2 * gap, columns * (tile_px + gap), 3), 255, np.uint8))
    return np.concatenate(strips, axis=0) if strips else np.full((tile_px, tile_px, 3), 255, np.uint8)


def sheet_of(pictures: Sequence[RGB], tile_px: int = 128, columns: int = 8) -> RGB:
    """Square pictures side by side on white, in rows."""
    rows = max(1, -(-len(pictures) // columns))
    sheet = np.full((rows * tile_px, min(columns, max(1, len(pictures))) * tile_px, 3), 255, np.uint8)
    for k, picture in enumerate(pictures):
        y, x = divmod(k, columns)
        small = cv2.resize(picture, (tile_px, tile_px), interpolation=cv2.INTER_AREA)
        sheet[y * tile_px : (y + 1) * tile_px, x * tile_px : (x + 1) * tile_px] = small
    return sheet
