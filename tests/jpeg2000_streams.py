"""JPEG 2000 codestreams with sub-sampled components, which no Python library writes: OpenJPEG through ctypes.

The library is the one that the imagecodecs wheel brings. The structures are those of OpenJPEG 2.5's ``openjpeg.h``.
"""

from __future__ import annotations

import ctypes
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import imagecodecs
import numpy as np

_J2K_CODESTREAM, _YCC = 0, 3
_PARAMETER_BYTES = 65_536
"""More than ``opj_cparameters_t`` has; only its defaults are used (lossless, one tile, six resolutions)."""


def _fields(names: str) -> list[tuple[str, type]]:
    return [(name, ctypes.c_uint32) for name in names.split()]


class _Plan(ctypes.Structure):
    _fields_ = _fields("dx dy w h x0 y0 prec bpp sgnd")


class _Component(ctypes.Structure):
    _fields_ = [
        *_fields("dx dy w h x0 y0 prec bpp sgnd resno_decoded factor"),
        ("data", ctypes.POINTER(ctypes.c_int32)),
        ("alpha", ctypes.c_uint16),
    ]


class _Image(ctypes.Structure):
    _fields_ = [
        *_fields("x0 y0 x1 y1 numcomps"),
        ("color_space", ctypes.c_int),
        ("comps", ctypes.POINTER(_Component)),
    ]


@cache
def _library() -> ctypes.CDLL:
    (path,) = (Path(imagecodecs.__file__).parent.parent / "imagecodecs.libs").glob("libopenjp2*")
    library = ctypes.CDLL(str(path))
    library.opj_image_create.restype = ctypes.POINTER(_Image)
    for name in ("opj_create_compress", "opj_stream_create_default_file_stream"):
        getattr(library, name).restype = ctypes.c_void_p
    return library


def encode_subsampled(planes: Sequence[np.ndarray], steps: Sequence[tuple[int, int]]) -> bytes:
    """A lossless codestream of 8-bit components.

    Args:
        planes: (h, w) uint8 each; the first has a sample for every pixel.
        steps: pixels x, y from one sample of each component to the next.
    """
    library = _library()
    height, width = planes[0].shape
    plans = [_Plan(dx, dy, p.shape[1], p.shape[0], 0, 0, 8, 8, 0) for p, (dx, dy) in zip(planes, steps, strict=True)]
    image = library.opj_image_create(len(plans), (_Plan * len(plans))(*plans), _YCC)
    image.contents.x1, image.contents.y1 = width, height
    for component, plane in zip(image.contents.comps[: len(plans)], planes, strict=True):
        values = np.ascontiguousarray(plane, np.int32)
        ctypes.memmove(component.data, values.ctypes.data, values.nbytes)
    parameters = ctypes.create_string_buffer(_PARAMETER_BYTES)
    library.opj_set_default_encoder_parameters(parameters)
    codec = ctypes.c_void_p(library.opj_create_compress(_J2K_CODESTREAM))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.j2k"
        assert library.opj_setup_encoder(codec, parameters, image)
        out = ctypes.c_void_p(library.opj_stream_create_default_file_stream(str(path).encode(), 0))
        assert library.opj_start_compress(codec, image, out)
        assert library.opj_encode(codec, out)
        assert library.opj_end_compress(codec, out)
        library.opj_stream_destroy(out)
        library.opj_destroy_codec(codec)
        library.opj_image_destroy(image)
        return path.read_bytes()
