"""How the bytes of one patch are packed, with a checksum that any Zarr v3 reader verifies.

The settings of ``recipe.store.codec`` as Zarr v3 codec chains:

    zstd        bytes, zstd with its own content checksum
    blosc-lz4   bytes, blosc (lz4), crc32c
    none        bytes, crc32c
    jpegxl      wsiprep.jpegxl, crc32c      lossless; images only, masks are zstd
    jpeg        wsiprep.jpeg, crc32c        lossy; images only, masks are zstd

The first three are in the Zarr specification. Encoding is single-threaded on purpose: Blosc's threads append
blocks in the order in which they finish, so the same pixels would give other bytes from run to run. The work
is done without the GIL, so that patches are packed on several threads.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import crc32c
import imagecodecs
import numpy as np
import numpy.typing as npt

from wsiprep.errors import StoreError, UsageError
from wsiprep.store.chunk_memory import ChunkMemory
from wsiprep.store.image_codecs import (
    JPEG,
    JPEGXL,
    Buffer,
    decode_jpeg,
    decode_jpegxl,
    encode_jpeg,
    encode_jpegxl,
    jpeg_configuration,
    jpegxl_configuration,
)

CodecName = Literal["zstd", "blosc-lz4", "none", "jpegxl", "jpeg"]

_IMAGE_CODECS = frozenset({"jpegxl", "jpeg"})
# Level 3 packs to the same size as 5 and in less time (benchmarks/chunk_codecs.py).
_BLOSC = {"typesize": 1, "cname": "lz4", "clevel": 3, "shuffle": "noshuffle", "blocksize": 0}
_BLOSC_HEADER = struct.Struct("<4BIII")
_CRC_BYTES = 4
_ZSTD_MAGIC = 0xFD2FB528

_memory = ChunkMemory()
_library: Any = imagecodecs  # its annotations know bytes, its functions any buffer


def crc_bytes(data: Buffer) -> bytes:
    """The little-endian CRC-32C of ``data``, as Zarr's ``crc32c`` codec stores it behind them."""
    return struct.pack("<I", crc32c.crc32c(data))


def strip_crc32c(data: Buffer) -> memoryview:
    """``data`` without its trailing CRC-32C, not copied.

    Raises:
        ValueError: the checksum does not fit.
    """
    view = memoryview(data)
    if len(view) < _CRC_BYTES or bytes(view[-_CRC_BYTES:]) != crc_bytes(view[:-_CRC_BYTES]):
        raise ValueError("the CRC-32C does not fit")
    return view[:-_CRC_BYTES]


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """One chunk, ready for its file.

    Attributes:
        parts: its bytes, piece after piece. They may lie in the array that was packed: write them before it changes.
        values: the array as readers will see it; the very one that was packed unless the codec is lossy.
            Digests and statistics are of this.
    """

    parts: tuple[Buffer, ...]
    values: npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class ChunkCodec:
    """One of the codec chains.

    Attributes:
        name: as in the recipe.
        level: zstd level; without meaning for blosc-lz4 and none.
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

    @property
    def lossy(self) -> bool:
        """Whether readers see other values than those that were packed."""
        return self.name == "jpeg"

    @property
    def plain(self) -> bool:
        """Whether every reader of Zarr v3 has the codec."""
        return self.name not in _IMAGE_CODECS

    def describe(self) -> dict[str, Any]:
        """What a record of the dataset says about how its images are packed; ready for JSON."""
        quality = jpeg_configuration(self.quality) if self.lossy else {}
        return {"codec": self.name, "lossy": self.lossy, "plain_zarr": self.plain} | quality

    def metadata(self, dtype: np.dtype[Any]) -> list[dict[str, Any]]:
        """The chain as it stands in ``zarr.json``."""
        check = {"name": "crc32c"}
        if self.name == "jpegxl":
            return [{"name": JPEGXL, "configuration": jpegxl_configuration()}, check]
        if self.name == "jpeg":
            return [{"name": JPEG, "configuration": jpeg_configuration(self.quality)}, check]
        first: dict[str, Any] = {"name": "bytes"}
        if dtype.itemsize > 1:
            first["configuration"] = {"endian": "little"}
        if self.name == "zstd":
            return [first, {"name": "zstd", "configuration": {"checksum": True, "level": self.level}}]
        if self.name == "blosc-lz4":
            return [first, {"name": "blosc", "configuration": dict(_BLOSC)}, check]
        return [first, check]

    def encode(self, array: npt.NDArray[Any]) -> bytes:
        """One chunk as bytes, in C order and little-endian."""
        return b"".join(self._parts(array))

    def pack(self, array: npt.NDArray[Any]) -> Packed:
        """One chunk in pieces, without a copy that can be spared, and the values that come back from it.

        Raises:
            UsageError: an array that is no RGB image where the codec takes only those.
        """
        parts = self._parts(array)
        if not self.lossy:
            return Packed(parts, array)
        # Readers decode with the same library: what it makes of the bytes is what the patch is from here on.
        seen = np.empty(array.shape, np.uint8)
        decode_jpeg(parts[0], seen)
        return Packed(parts, seen)

    def decode(
        self, data: Buffer, shape: Sequence[int], dtype: np.dtype[Any], out: npt.NDArray[Any] | None = None
    ) -> npt.NDArray[Any]:
        """The chunk as a writeable array of ``shape`` and ``dtype``.

        Args:
            data: what ``encode`` gave.
            shape: of one patch.
            dtype: of its values.
            out: where to decode to, C-contiguous; default a fresh array. Its content is undefined after an error.

        Raises:
            ValueError: a checksum or the length does not fit.
            UsageError: ``out`` is not such an array.
        """
        if out is None:
            out = np.empty(tuple(shape), dtype)
        elif out.shape != tuple(shape) or out.dtype != dtype or not out.flags.carray:
            raise UsageError("a patch cannot be decoded into this array", got=f"{out.dtype} {out.shape}",
                             expected=f"{dtype} {tuple(shape)}, C-contiguous and writeable")  # fmt: skip
        try:
            self._decode_into(data, out)
        except RuntimeError as error:
            raise ValueError(f"the chunk does not decode ({error})") from error
        if dtype.newbyteorder("<") != dtype:
            out.byteswap(inplace=True)
        return out

    def _parts(self, array: npt.NDArray[Any]) -> tuple[Buffer, ...]:
        data: Buffer
        if self.name == "jpegxl":
            data = encode_jpegxl(array)
        elif self.name == "jpeg":
            data = encode_jpeg(array, self.quality)
        else:
            raw = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8)
            if self.name == "zstd":
                from numcodecs import zstd  # half of its import is spared where images are blosc-lz4

                return (bytes(zstd.compress(raw, self.level, True)),)
            data = _blosc(raw) if self.name == "blosc-lz4" else raw.data
        return data, crc_bytes(data)

    def _decode_into(self, data: Buffer, out: npt.NDArray[Any]) -> None:
        body = data if self.name == "zstd" else strip_crc32c(data)
        if self.name == "jpegxl":
            return decode_jpegxl(body, out)
        if self.name == "jpeg":
            return decode_jpeg(body, out)
        raw = out.reshape(-1).view(np.uint8)
        if self.name == "zstd":
            from numcodecs import zstd

            _require_length(_zstd_length(body), raw)
            zstd.decompress(body, raw)
        elif self.name == "blosc-lz4":
            _require_length(_blosc_length(body), raw)
            _library.blosc_decode(body, numthreads=1, out=raw)
        else:
            _require_length(len(body), raw)
            raw[:] = np.frombuffer(body, np.uint8)
        return None


def _blosc(raw: npt.NDArray[np.uint8]) -> memoryview:
    """Blosc's frame of these bytes, in memory that is lent until the last view on it dies."""
    out = _memory.lend(raw.size + _BLOSC_HEADER.size)
    packed = _library.blosc_encode(
        raw, level=_BLOSC["clevel"], compressor=_BLOSC["cname"], shuffle=_BLOSC["shuffle"],
        typesize=_BLOSC["typesize"], blocksize=None, numthreads=1, out=out,
    )  # fmt: skip
    return memoryview(packed)


def _require_length(length: int, raw: npt.NDArray[np.uint8]) -> None:
    if length != raw.size:
        raise ValueError(f"the chunk has {length} bytes where {raw.size} belong")


def _blosc_length(body: Buffer) -> int:
    """Bytes that a Blosc frame unpacks to, by its header; -1 where there is none."""
    return int(_BLOSC_HEADER.unpack_from(body)[4]) if len(body) >= _BLOSC_HEADER.size else -1


def _zstd_length(data: Buffer) -> int:
    """Bytes that a Zstandard frame unpacks to, by its header (RFC 8878, 3.1.1.1); -1 where it does not say.

    Asked before anything is unpacked: a damaged length must not decide how much memory is taken.
    """
    if len(data) < 5 or int.from_bytes(data[:4], "little") != _ZSTD_MAGIC:
        return -1
    descriptor = data[4]
    single_segment = descriptor >> 5 & 1
    size = (single_segment, 2, 4, 8)[descriptor >> 6]
    start = 5 + (1 - single_segment) + (0, 1, 2, 4)[descriptor & 3]
    field = data[start : start + size]
    return int.from_bytes(field, "little") + 256 * (size == 2) if 0 < size == len(field) else -1


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
    if names == (JPEGXL, "crc32c"):
        return ChunkCodec("jpegxl")
    if names == (JPEG, "crc32c"):
        return ChunkCodec("jpeg", quality=int(chain[0]["configuration"]["quality"]))
    raise StoreError(
        "the chunks are packed in a way that wsiprep does not write", got=" > ".join(names),
        expected=f"bytes > zstd, bytes > blosc > crc32c, bytes > crc32c, {JPEGXL} > crc32c or {JPEG} > crc32c",
        fix="read the shard with zarr-python",
    )  # fmt: skip
