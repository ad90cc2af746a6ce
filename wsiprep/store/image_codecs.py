"""RGB patches as JPEG XL (lossless) and JPEG (lossy): the pixels only, without a checksum.

Both are single-threaded and give the same bytes for the same pixels. ``zarr_codecs`` shows them to zarr-python.
"""

from __future__ import annotations

from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import simplejpeg

from wsiprep.errors import UsageError

JPEGXL, JPEG = "wsiprep.jpegxl", "wsiprep.jpeg"
"""Names of the codecs in ``zarr.json``. The package is in them: they are what a reader without it shows."""

Buffer = bytes | bytearray | memoryview

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
    """A lossless JPEG XL codestream of uint8 (H, W, 3), with the fast encoder (effort 1).

    Raises:
        UsageError: another shape or dtype.
    """
    image = _rgb(image)
    return bytes(_library.jpegxl_encode(image, lossless=True, effort=1, numthreads=1))


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
