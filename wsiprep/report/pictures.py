"""Pictures inside the page: data URIs of bounded size."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

JPEG_QUALITY = 82


@dataclass(frozen=True, slots=True)
class Picture:
    """An embedded picture: a data URI and its size in pixels."""

    uri: str
    width_px: int
    height_px: int


def embed(path: Path, side_px: int) -> Picture | None:
    """The picture in a file as JPEG, its longer side at most ``side_px``; None where it cannot be read."""
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError:
        return None
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if image is None:
        return None
    height, width = image.shape[:2]
    scale = min(1.0, side_px / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = image if scale == 1.0 else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    # PNG or JPEG in, JPEG out: a sheet of patches is a tenth of its size as PNG.
    _, encoded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    text = base64.b64encode(encoded.tobytes()).decode("ascii")
    return Picture(f"data:image/jpeg;base64,{text}", size[0], size[1])
