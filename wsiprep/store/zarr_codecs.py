"""``wsiprep.jpegxl`` and ``wsiprep.jpeg`` for zarr-python: array-to-bytes codecs of one RGB patch a chunk.

zarr-python finds them by itself where wsiprep is installed (entry points in the group ``zarr.codecs``). Nothing on
the way of ``pack`` imports this module: zarr is slow to import.
"""

from __future__ import annotations

import asyncio
import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from zarr.abc.codec import ArrayBytesCodec
from zarr.registry import register_codec

from wsiprep.store.image_codecs import (
    JPEG,
    JPEGXL,
    decode_jpeg,
    decode_jpegxl,
    encode_jpeg,
    encode_jpegxl,
    jpeg_configuration,
    jpegxl_configuration,
)

if TYPE_CHECKING:
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer, NDBuffer


class _PatchCodec(ArrayBytesCodec):
    """What both have in common: a chunk is (1, H, W, 3) in uint8."""

    is_fixed_size = False
    name: str

    @abstractmethod
    def configuration(self) -> dict[str, Any]:
        """As it stands in ``zarr.json``."""

    @abstractmethod
    def pack(self, image: npt.NDArray[np.uint8]) -> bytes:
        """The bytes of uint8 (H, W, 3)."""

    @abstractmethod
    def unpack(self, data: memoryview, out: npt.NDArray[np.uint8]) -> None:
        """The pixels of ``data`` into uint8 (H, W, 3)."""

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "configuration": self.configuration()}

    def validate(self, *, shape: tuple[int, ...], dtype: Any, chunk_grid: Any) -> None:
        """Raises: ValueError where chunks are no RGB images in uint8."""
        if dtype.to_native_dtype() != np.uint8 or len(shape) < 3 or shape[-1] != 3:
            raise ValueError(f"{self.name} holds uint8 arrays (patch, H, W, 3), not {dtype} {shape}")

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        # What zarr asks codecs of fixed size; it takes this as the answer of one whose size depends on the pixels.
        raise NotImplementedError(f"the size of a {self.name} chunk depends on its pixels")

    def _encode_sync(self, chunk_array: NDBuffer, chunk_spec: ArraySpec) -> Buffer | None:
        image = np.asarray(chunk_array.as_numpy_array()).reshape(_one_image(chunk_spec.shape))
        return chunk_spec.prototype.buffer.from_bytes(self.pack(image))

    def _decode_sync(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        out = np.empty(_one_image(chunk_spec.shape), np.uint8)
        self.unpack(memoryview(chunk_bytes.to_bytes()), out)
        return chunk_spec.prototype.nd_buffer.from_numpy_array(out.reshape(chunk_spec.shape))

    async def _encode_single(self, chunk_array: NDBuffer, chunk_spec: ArraySpec) -> Buffer | None:
        return await asyncio.to_thread(self._encode_sync, chunk_array, chunk_spec)

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        return await asyncio.to_thread(self._decode_sync, chunk_bytes, chunk_spec)


@dataclass(frozen=True)
class JpegXlCodec(_PatchCodec):
    """``wsiprep.jpegxl``: a lossless JPEG XL codestream."""

    name = JPEGXL

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Raises: ValueError for another configuration than wsiprep writes."""
        _require(data, jpegxl_configuration())
        return cls()

    def configuration(self) -> dict[str, Any]:
        return jpegxl_configuration()

    def pack(self, image: npt.NDArray[np.uint8]) -> bytes:
        return encode_jpegxl(image)

    def unpack(self, data: memoryview, out: npt.NDArray[np.uint8]) -> None:
        decode_jpegxl(data, out)


@dataclass(frozen=True)
class JpegCodec(_PatchCodec):
    """``wsiprep.jpeg``: a baseline JPEG with 4:4:4 chroma.

    Attributes:
        quality: 0 to 100; of the encoder only.
    """

    name = JPEG
    quality: int = 95

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Raises: ValueError for another configuration than wsiprep writes."""
        quality = int(data.get("configuration", {}).get("quality", -1))
        _require(data, jpeg_configuration(quality))
        return cls(quality)

    def configuration(self) -> dict[str, Any]:
        return jpeg_configuration(self.quality)

    def pack(self, image: npt.NDArray[np.uint8]) -> bytes:
        return encode_jpeg(image, self.quality)

    def unpack(self, data: memoryview, out: npt.NDArray[np.uint8]) -> None:
        decode_jpeg(data, out)


def register() -> None:
    """Make both known to zarr-python in this process, also where the package was never installed."""
    register_codec(JPEGXL, JpegXlCodec)
    register_codec(JPEG, JpegCodec)


def _one_image(shape: tuple[int, ...]) -> tuple[int, ...]:
    if math.prod(shape[:-3]) != 1:
        raise ValueError(f"a chunk holds one image, not {shape}")
    return shape[-3:]


def _require(data: dict[str, Any], configuration: dict[str, Any]) -> None:
    if data.get("configuration") != configuration:
        raise ValueError(f"a codec of another kind: {data}")
