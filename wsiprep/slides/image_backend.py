"""A plain PNG or JPEG as a slide of one level: photographs, ready-cut tiles, exported regions.

The image is decoded whole when it is opened, so its size is limited before anything is allocated. It has
no spacing: the manifest or the recipe must give one.
"""

from __future__ import annotations

import struct
from pathlib import Path

import imagecodecs
import numpy as np
import simplejpeg

from wsiprep.errors import SlideError, StorageError, UsageError
from wsiprep.geometry import Box, Size
from wsiprep.guards.png import check_png
from wsiprep.slides.decode import DECODER_ERRORS, TileDamageError
from wsiprep.slides.identity import slide_identity
from wsiprep.slides.image_profile import exif_of, jpeg_profile, png_profile
from wsiprep.slides.opened import OpenedSlide, icc_digest
from wsiprep.slides.protocol import (
    RGB,
    BackendRefusalError,
    Level,
    SlideInfo,
    composite_on_white,
    level_for,
)

SUFFIXES = (".png", ".jpg", ".jpeg")
"""Names that ``auto`` gives to this backend (a MIRAX index is a JPEG too, under its own name)."""

MAX_IMAGE_PX = 2**27
"""Pixels of an image that is decoded at once (403 MB)."""

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_PNG_END = b"IEND\xaeB`\x82"
_EXIF_ORIENTATION = 0x0112
_ANCHORED = ("upright pixels", "rotate it losslessly (jpegtran, exiftran -ai) before anything is annotated on it")


class PlainImage(OpenedSlide):
    """A PNG or JPEG, decoded.

    Raises:
        BackendRefusalError: neither PNG nor JPEG.
        SlideError: too large, damaged, more than 8 bits, CMYK, or a JPEG whose EXIF says that it is turned.
    """

    def __init__(self, path: Path, *, requested: str = "image", note: str = "") -> None:
        data = _bytes_of(path)
        kind = "png" if data.startswith(_PNG) else "jpeg" if data.startswith(_JPEG) else None
        if kind is None:
            raise BackendRefusalError(
                "it is neither a PNG nor a JPEG", got=data[:8].hex(" "), expected="an image", file=path
            )
        self._path = path
        try:
            self._image: RGB | None = _png(data, path) if kind == "png" else _jpeg(data, path)
        except DECODER_ERRORS as error:
            raise SlideError(
                "the image cannot be decoded",
                got=f"{kind}: {error or type(error).__name__}",
                fix="fetch the file again or leave it out",
                file=path,
            ) from error
        self._icc = png_profile(data) if kind == "png" else jpeg_profile(data)
        size = Size(self._image.shape[1], self._image.shape[0])
        self.info = SlideInfo(
            size=size,
            levels=(Level(0, size, size, 1, None),),
            spacing=None,
            backend_requested=requested,
            backend="image",
            vendor=kind,
            objective_power=None,
            identity=slide_identity(path),
            compression=kind,
            backend_note=note,
            icc_digest=icc_digest(self._icc),
        )

    def icc_profile(self) -> bytes | None:
        """The profile in the file, None where there is none."""
        return self._icc

    def read_level(self, level: int, box: Box) -> RGB:
        """See ``Slide.read_level``."""
        level_for(self.info, level, box)
        image = self._image
        if image is None:
            raise UsageError("the slide is closed", file=self._path)
        return image[box.y : box.y_end, box.x : box.x_end].copy()

    def close(self) -> None:
        """Let the pixels go; closing twice is harmless."""
        self._image = None


def _bytes_of(path: Path) -> bytes:
    try:
        # A file much larger than any image that is believed is not read whole to find that out.
        with path.open("rb") as file:
            head = file.read(len(_PNG))
            if not head.startswith((_PNG, _JPEG)):
                return head
            return head + file.read(4 * MAX_IMAGE_PX)
    except OSError as error:
        raise StorageError("the image cannot be read", got=error.strerror, file=path) from error


def _check_size(width: int, height: int, path: Path) -> None:
    if min(width, height) < 1 or width * height > MAX_IMAGE_PX:
        raise SlideError(
            "the image is too large to be decoded whole",
            got=f"{width} x {height} px",
            expected=f"at most {MAX_IMAGE_PX} px",
            fix="convert it to a tiled TIFF: vips tiffsave --tile --pyramid --compression jpeg",
            file=path,
        )


def _png(data: bytes, path: Path) -> RGB:
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    _check_size(width, height, path)
    if depth == 16:
        raise SlideError("not an 8-bit image", got="16 bits a sample", expected="8 bits", file=path)
    if _PNG_END not in data:
        raise TileDamageError("has no end: the file is truncated")
    try:
        check_png(data)
    except ValueError as error:
        raise TileDamageError(str(error)) from error
    image = np.asarray(imagecodecs.png_decode(data))
    if image.dtype != np.uint8 or image.shape[:2] != (height, width):
        raise SlideError(
            "the image cannot be decoded exactly", got=f"{image.shape} {image.dtype}, colour type {colour}", file=path
        )
    if image.ndim == 2:
        image = image[..., np.newaxis]
    samples = image.shape[2]
    if samples in (1, 2):
        image = np.concatenate([np.repeat(image[..., :1], 3, axis=2), image[..., 1:]], axis=2)
    return composite_on_white(image) if image.shape[2] == 4 else np.ascontiguousarray(image)


def _jpeg(data: bytes, path: Path) -> RGB:
    height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    _check_size(width, height, path)
    if colours.upper() in ("CMYK", "YCCK"):
        raise SlideError("not an RGB image", got=colours, expected="RGB, YCbCr or grey", file=path)
    turned = _exif_orientation(exif_of(data))
    if turned != 1:
        expected, fix = _ANCHORED
        raise SlideError(
            "the image is to be shown turned or mirrored, so its coordinates are ambiguous",
            got=f"EXIF orientation {turned}", expected=expected, fix=fix, file=path,
        )  # fmt: skip
    grey = colours.upper() == "GRAY"
    image = simplejpeg.decode_jpeg(data, "GRAY" if grey else "RGB")
    return np.repeat(image, 3, axis=2) if grey else np.asarray(image)


def _exif_orientation(exif: bytes) -> int:
    """1 (upright) where it says nothing readable."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None or len(exif) < 8:
        return 1
    try:
        start = struct.unpack_from(f"{order}I", exif, 4)[0]
        for entry in range(struct.unpack_from(f"{order}H", exif, start)[0]):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", exif, start + 2 + 12 * entry)
            if tag == _EXIF_ORIENTATION:
                return int(value)
    except struct.error:
        return 1
    return 1
