"""Uncompressed BMP of 8 and 24 bits, read here: imagecodecs' decoder ends the process on damaged headers."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_HEADER_BYTES = 54


@dataclass(frozen=True, slots=True, eq=False)
class Bmp:
    """What a BMP stores.

    Attributes:
        values: uint8 (H, W) indices of the palette, or (H, W, 3) RGB.
        palette: uint8 (n, 3) RGB, None for 24 bits.
    """

    values: npt.NDArray[np.uint8]
    palette: npt.NDArray[np.uint8] | None

    @property
    def rgb(self) -> npt.NDArray[np.uint8]:
        """uint8 (H, W, 3).

        Raises:
            ValueError: an index that the palette does not have.
        """
        if self.palette is None:
            return self.values
        if int(self.values.max(initial=0)) >= len(self.palette):
            raise ValueError(f"index {int(self.values.max())} is not in a palette of {len(self.palette)}")
        return self.palette[self.values]


def bmp_size(data: bytes) -> tuple[int, int, int, int]:
    """(width, height, bits, compression) as the header says, height without its sign.

    Raises:
        ValueError: no BMP, or a header of another kind.
    """
    if len(data) < _HEADER_BYTES or data[:2] != b"BM" or struct.unpack_from("<I", data, 14)[0] < 40:
        raise ValueError(f"its header is no BMP's ({len(data)} bytes)")
    width, height, planes, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    if width < 1 or height == 0 or planes != 1:
        raise ValueError(f"its header is damaged ({width} x {height} px, {planes} planes)")
    return width, abs(height), bits, compression


def read_bmp(data: bytes) -> Bmp:
    """The stored values; the caller has looked at the size before.

    Raises:
        ValueError: damaged, truncated, or not 8 or 24 bits without compression.
    """
    width, height, bits, compression = bmp_size(data)
    if bits not in (8, 24) or compression:
        raise ValueError(f"{bits} bits, compression {compression}")
    start, header = struct.unpack_from("<I", data, 10)[0], struct.unpack_from("<I", data, 14)[0]
    stride = -(-width * bits // 32) * 4
    if start < 14 + header or start + stride * height > len(data):
        raise ValueError(f"it ends early: {len(data)} bytes, {start + stride * height} needed")
    rows = np.frombuffer(data, np.uint8, stride * height, start).reshape(height, stride)
    if struct.unpack_from("<i", data, 22)[0] > 0:
        # Rows are stored from the lowest up, unless the height is negative.
        rows = rows[::-1]
    if bits == 24:
        return Bmp(np.ascontiguousarray(rows[:, : 3 * width].reshape(height, width, 3)[..., ::-1]), None)
    count = struct.unpack_from("<I", data, 46)[0] or 256
    table = data[14 + header : 14 + header + 4 * count]
    if count > 256 or len(table) != 4 * count or 14 + header + 4 * count > start:
        raise ValueError(f"its palette of {count} colours does not fit")
    palette = np.frombuffer(table, np.uint8).reshape(count, 4)[:, 2::-1]
    return Bmp(np.ascontiguousarray(rows[:, :width]), np.ascontiguousarray(palette))
