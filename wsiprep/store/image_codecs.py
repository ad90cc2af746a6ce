"""RGB patches as JPEG XL (lossless) and JPEG (lossy): the pixels only, without a checksum.

Both are single-threaded and give the same bytes for the same pixels. ``zarr_codecs`` shows them to zarr-python.
"""

from __future__ import annotations

import contextlib
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import simplejpeg

from wsiprep.errors import StoreError, UsageError

JPEGXL, JPEG = "wsiprep.jpegxl", "wsiprep.jpeg"
"""Names of the codecs in ``zarr.json``. The package is in them: they are what a reader without it shows."""

Buffer = bytes | bytearray | memoryview

_JPEGXL_EFFORTS = (1, 2)
_JPEGXL_CONFIGURATION = {"effort": 1, "lossless": True}
_CHROMA = "4:4:4"
_library: Any = imagecodecs  # its annotations know bytes, its functions any buffer


def jpegxl_configuration() -> dict[str, Any]:
    """What stands beside ``JPEGXL`` in ``zarr.json``."""
    return dict(_JPEGXL_CONFIGURATION)


def jpeg_configuration(quality: int) -> dict[str, Any]:
    """What stands beside ``JPEG`` in ``zarr.json``."""
    return {"chroma": _CHROMA, "quality": quality}


def encode_jpegxl(image: npt.NDArray[np.uint8]) -> bytes:
    """A lossless JPEG XL codestream of uint8 (H, W, 3), by the fast encoder (effort 1) where it is one.

    The fast encoder of libjxl to 0.11.2 changes pixels of some images and says nothing (its issue 4287). So every
    stream is decoded and compared, and what comes back otherwise is encoded anew with the next effort.

    Raises:
        UsageError: another shape or dtype.
        StoreError: no effort gives the pixels back.
    """
    image = _rgb(image)
    seen = np.empty_like(image)
    for effort in _JPEGXL_EFFORTS:
        data = bytes(_library.jpegxl_encode(image, lossless=True, effort=effort, numthreads=1))
        with contextlib.suppress(ValueError):
            decode_jpegxl(data, seen)
            if np.array_equal(seen, image):
                return data
    raise StoreError(
        "JPEG XL does not give the pixels of a patch back", got=f"libjxl {imagecodecs.jpegxl_version()}",
        expected="a lossless codec", fix="take another store.codec",
    )  # fmt: skip


def decode_jpegxl(data: Buffer, out: npt.NDArray[np.uint8]) -> None:
    """Pixels into ``out``, uint8 (H, W, 3) and C-contiguous.

    Raises:
        ValueError: it does not decode, or to another shape.
    """
    try:
        _library.jpegxl_decode(data, numthreads=1, out=out)
    except RuntimeError as error:
        raise ValueError(str(error)) from error


def encode_jpeg(image: npt.NDArray[np.uint8], quality: int) -> bytes:
    """A baseline JPEG (JFIF) of uint8 (H, W, 3) without sub-sampled chroma.

    Raises:
        UsageError: another shape or dtype.
    """
    return bytes(simplejpeg.encode_jpeg(_rgb(image), quality, "RGB", "444"))


def decode_jpeg(data: Buffer, out: npt.NDArray[np.uint8]) -> None:
    """Pixels into ``out``, uint8 (H, W, 3) and C-contiguous, with libjpeg's accurate integer transform.

    Raises:
        ValueError: it does not decode, or to another shape.
    """
    height, width = simplejpeg.decode_jpeg_header(data)[:2]
    if (height, width, 3) != out.shape:
        raise ValueError(f"{height} x {width} pixels where {out.shape[0]} x {out.shape[1]} belong")
    simplejpeg.decode_jpeg(data, "RGB", buffer=out)


def _rgb(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise UsageError("only RGB images are stored as JPEG or JPEG XL", got=f"{image.dtype} {image.shape}",
                         expected="uint8 (H, W, 3)", fix="masks take the codec of ChunkCodec.for_array")  # fmt: skip
    return np.ascontiguousarray(image)
