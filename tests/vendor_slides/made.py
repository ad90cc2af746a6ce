"""What a writer of a vendor's slide says about the file that it wrote: the oracle of the tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg
from slide_files import mean_of_blocks, texture

Image = npt.NDArray[np.uint8]

MARKER_SIDE_PX = 24
"""Side of the planted square: red in its upper left quarter, black and blue beside, green below."""


@dataclass(frozen=True)
class Made:
    """A vendor's slide as it must be read.

    Attributes:
        path: the file to open.
        vendor: as OpenSlide names it.
        planes: the whole plane of each level, what was not scanned in white.
        spacing_um: x, y at level 0.
        factors: integer downsample of each level, None where no read gives the stored pixels.
        bounds: x, y, width, height of what was scanned, where the format tells.
        marker_xy: upper left corner of the planted marker in level-0 pixels of the plane.
        properties: header facts that must come out under these names.
        objective_power: as the header says.
    """

    path: Path
    vendor: str
    planes: tuple[Image, ...]
    spacing_um: tuple[float, float]
    factors: tuple[int | None, ...]
    marker_xy: tuple[int, int]
    bounds: tuple[int, int, int, int] | None = None
    properties: dict[str, str] = field(default_factory=dict)
    objective_power: float | None = 20.0


def marker() -> Image:
    """A square like no texture: its four quarters tell a flip, a turn and a swap of channels."""
    half = MARKER_SIDE_PX // 2
    square = np.zeros((MARKER_SIDE_PX, MARKER_SIDE_PX, 3), np.uint8)
    square[:half, :half] = (250, 10, 10)
    square[half:, :half] = (10, 250, 10)
    square[half:, half:] = (10, 10, 250)
    return square


def scan(width: int, height: int, marker_xy: tuple[int, int], seed: int = 0) -> Image:
    """A texture with the marker at ``marker_xy``."""
    image = texture(width, height, seed)
    x, y = marker_xy
    image[y : y + MARKER_SIDE_PX, x : x + MARKER_SIDE_PX] = marker()
    return image


def reduced(image: Image, factors: Sequence[int]) -> list[Image]:
    """The levels of a scanner: area means of level 0."""
    return [image if f == 1 else mean_of_blocks(image, f) for f in factors]


def jpeg(image: Image, restart_mcus: int = 0, sampling: str = "444", quality: int = 100) -> bytes:
    """A baseline JPEG, YCbCr, with a restart marker after so many blocks (8 x 8 pixels where 4:4:4)."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_RST_INTERVAL, restart_mcus]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{sampling}")]
    ok, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    assert ok
    return data.tobytes()


def unjpeg(data: bytes) -> Image:
    """The independent decode: libjpeg-turbo on the stream alone, with no slide library in between."""
    image: Image = simplejpeg.decode_jpeg(data, colorspace="RGB", fastdct=False, fastupsample=False)
    return image


def png(image: Image) -> bytes:
    ok, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    assert ok
    return data.tobytes()


def tiled(
    image: Image, tile: int, encode: Callable[[Image], bytes] = jpeg, decode: Callable[[bytes], Image] = unjpeg
) -> tuple[list[bytes], Image]:
    """The encoded tiles, row by row, padded with white, and the image that they decode to (cropped)."""
    height, width = image.shape[:2]
    whole = np.pad(image, ((0, -height % tile), (0, -width % tile), (0, 0)), constant_values=255)
    out = np.empty_like(whole)
    codes = []
    for y in range(0, whole.shape[0], tile):
        for x in range(0, whole.shape[1], tile):
            codes.append(encode(np.ascontiguousarray(whole[y : y + tile, x : x + tile])))
            out[y : y + tile, x : x + tile] = decode(codes[-1])
    return codes, out[:height, :width]


def on_plane(plane_size: tuple[int, int], parts: Sequence[tuple[int, int, Image]]) -> Image:
    """Images at x, y on a white plane of width, height."""
    plane = np.full((plane_size[1], plane_size[0], 3), 255, np.uint8)
    for x, y, image in parts:
        plane[y : y + image.shape[0], x : x + image.shape[1]] = image
    return plane
