"""How the bytes of one patch are packed, with a checksum that any Zarr v3 reader verifies.

The three settings of ``recipe.store.codec`` as Zarr v3 codec chains:

    zstd        bytes, zstd with its own content checksum
    blosc-lz4   bytes, blosc (lz4), crc32c
    none        bytes, crc32c

Encoding is single-threaded on purpose: Blosc's threads append blocks in the order in which they
finish, so the same pixels would give other bytes from run to run.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import crc32c
import numpy as np
import numpy.typing as npt
from numcodecs import blosc, zstd

from wsiprep.errors import StoreError

blosc.use_threads = False

CodecName = Literal["zstd", "blosc-lz4", "none", "jpegxl", "jpeg"]
_IMAGE_CODECS = frozenset({"jpegxl", "jpeg"})
_BLOSC = {"typesize": 1, "cname": "lz4", "clevel": 5, "shuffle": "noshuffle", "blocksize": 0}
_CRC_BYTES = 4


def append_crc32c(data: bytes) -> bytes:
    """``data`` followed by its little-endian CRC-32C, as Zarr's ``crc32c`` codec stores it."""
    return data + struct.pack("<I", crc32c.crc32c(data))


def strip_crc32c(data: bytes) -> bytes:
    """``data`` without its trailing CRC-32C.

    Raises:
        ValueError: the checksum does not fit.
    """
    if len(data) < _CRC_BYTES or struct.unpack("<I", data[-_CRC_BYTES:])[0] != crc32c.crc32c(data[:-_CRC_BYTES]):
        raise ValueError("the CRC-32C does not fit")
    return data[:-_CRC_BYTES]


@dataclass(frozen=True, slots=True)
class ChunkCodec:
    """One of the codec chains.

    Attributes:
        name: as in the recipe.
        level: zstd level; without meaning for the others.
        quality: of codec jpeg, 0 to 100; without meaning for the others.
    """

    name: CodecName = "zstd"
    level: int = 1
    quality: int = 95

    def for_array(self, patch_shape: Sequence[int]) -> ChunkCodec:
        """The codec for one array of a shard: masks and instances are zstd where images are JPEG (XL).

        Args:
            patch_shape: shape of one patch, (H, W, 3) of an image.
        """
        return self if len(patch_shape) == 3 or self.name not in _IMAGE_CODECS else ChunkCodec("zstd", self.level)

    def metadata(self, dtype: np.dtype[Any]) -> list[dict[str, Any]]:
        """The chain as it stands in ``zarr.json``."""
        if self.name in _IMAGE_CODECS:
            raise NotImplementedError(self.name)
        first: dict[str, Any] = {"name": "bytes"}
        if dtype.itemsize > 1:
            first["configuration"] = {"endian": "little"}
        if self.name == "zstd":
            return [first, {"name": "zstd", "configuration": {"checksum": True, "level": self.level}}]
        check = {"name": "crc32c"}
        return (
            [first, {"name": "blosc", "configuration": dict(_BLOSC)}, check]
            if self.name == "blosc-lz4"
            else [first, check]
        )

    def encode(self, array: npt.NDArray[Any]) -> bytes:
        """One chunk as bytes, in C order and little-endian."""
        data = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        if self.name == "zstd":
            return bytes(zstd.Zstd(level=self.level, checksum=True).encode(data))
        if self.name == "blosc-lz4":
            packer = blosc.Blosc(cname="lz4", clevel=_BLOSC["clevel"], shuffle=blosc.NOSHUFFLE, blocksize=0)
            return append_crc32c(bytes(packer.encode(data.reshape(-1).view(np.uint8))))
        return append_crc32c(data.tobytes())

    def decode(self, data: bytes, shape: Sequence[int], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """The chunk back as a fresh array of ``shape`` and ``dtype``.

        Raises:
            ValueError: a checksum or the length does not fit.
        """
        try:
            if self.name == "zstd":
                raw = zstd.Zstd(level=self.level, checksum=True).decode(data)
            elif self.name == "blosc-lz4":
                raw = blosc.Blosc(cname="lz4").decode(strip_crc32c(data))
            else:
                raw = strip_crc32c(data)
        except RuntimeError as error:
            raise ValueError(f"the chunk does not decode ({error})") from error
        expected = math.prod(shape) * dtype.itemsize
        if len(raw) != expected:
            raise ValueError(f"the chunk has {len(raw)} bytes where {expected} belong")
        # The copy makes the array writable, which torch asks for; it costs a twentieth of the decoding.
        return np.frombuffer(raw, dtype=dtype.newbyteorder("<")).reshape(shape).copy()


def codec_of(chain: Sequence[Mapping[str, Any]]) -> ChunkCodec:
    """The codec that a chain in ``zarr.json`` stands for.

    Raises:
        StoreError: a chain that wsiprep does not write.
    """
    names = tuple(str(step.get("name")) for step in chain)
    if names == ("bytes", "zstd"):
        return ChunkCodec("zstd", int(chain[1]["configuration"]["level"]))
    if names == ("bytes", "blosc", "crc32c"):
        return ChunkCodec("blosc-lz4")
    if names == ("bytes", "crc32c"):
        return ChunkCodec("none")
    raise StoreError(
        "the chunks are packed in a way that wsiprep does not write", got=" > ".join(names),
        expected="bytes > zstd, bytes > blosc > crc32c, or bytes > crc32c", fix="read the shard with zarr-python",
    )  # fmt: skip
