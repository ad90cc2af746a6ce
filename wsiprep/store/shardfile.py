"""One Zarr v3 shard file: chunks one after the other, then an index of their places with a CRC-32C.

    chunk 0 | chunk 1 | ... | (offset, length) uint64 little-endian per chunk | crc32c

The file is written front to back in one go, never read and modified: chunks go out as they come, so
a writer holds one patch in memory and not a whole file. (zarr-python rewrites the file for every
chunk that is assigned on its own, and holds all of it for a whole-file assignment.) Readers open the
file for one ``pread`` at a time and keep nothing open, so they fork, pickle and never run out of
descriptors.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import struct
from pathlib import Path

import crc32c
import numpy as np
import numpy.typing as npt
import xxhash

from wsiprep.errors import StoreError, UsageError
from wsiprep.store.digest import file_digest

_ENTRY_BYTES = 16
_CRC_BYTES = 4
_ABSENT = np.uint64(2**64 - 1)

Index = npt.NDArray[np.uint64]
"""(n, 2): offset and length in bytes of each chunk."""


class ShardFileWriter:
    """Writes one shard file of at most ``capacity`` chunks."""

    def __init__(self, path: Path, capacity: int) -> None:
        self.path = path
        self._capacity = capacity
        self._index: list[tuple[int, int]] = []
        self._size = 0
        self._digest = xxhash.xxh3_128()
        self._stream: io.BufferedWriter = path.open("xb")

    def close(self) -> None:
        """Give the file up where it is not finished; without an index it is no shard file."""
        # A full disk makes closing fail as well; the error that led here is the one to show.
        with contextlib.suppress(OSError):
            self._stream.close()

    @property
    def is_full(self) -> bool:
        return len(self._index) == self._capacity

    def add(self, chunk: bytes) -> None:
        """Append one encoded chunk."""
        if self.is_full:
            raise UsageError(
                "the shard file is full", got=f"chunk {len(self._index)}", expected=f"{self._capacity} chunks"
            )
        self._index.append((self._size, len(chunk)))
        self._put(chunk)

    def finish(self) -> tuple[int, str]:
        """Write the index and close. Returns size in bytes and xxh3-128 (hex) of the file, read back.

        Raises:
            OSError: also where the bytes that come back differ from those that went out.
        """
        index = np.full((self._capacity, 2), _ABSENT, dtype="<u8")
        index[: len(self._index)] = np.array(self._index, dtype="<u8").reshape(-1, 2)
        raw = index.tobytes()
        self._put(raw + struct.pack("<I", crc32c.crc32c(raw)))
        self._stream.close()
        if file_digest(self.path) != self._digest.hexdigest():
            raise OSError(errno.EIO, "the file does not read back as it was written", str(self.path))
        return self._size, self._digest.hexdigest()

    def _put(self, data: bytes) -> None:
        self._stream.write(data)
        self._digest.update(data)
        self._size += len(data)


def read_index(path: Path, capacity: int) -> Index:
    """The index of a shard file.

    Raises:
        StoreError: the file is missing, truncated or damaged.
    """
    length = capacity * _ENTRY_BYTES + _CRC_BYTES
    size = _size_of(path)
    if size < length:
        raise StoreError("a shard file is truncated", got=f"{size} bytes", expected=f"at least {length}", file=path)
    raw = read_range(path, size - length, length)
    body, tail = raw[:-_CRC_BYTES], raw[-_CRC_BYTES:]
    if struct.unpack("<I", tail)[0] != crc32c.crc32c(body):
        raise StoreError(
            "the index of a shard file is damaged", file=path, fix="wsiprep verify --deep, then pack again"
        )
    index: Index = np.frombuffer(body, dtype="<u8").reshape(capacity, 2)
    return index


def read_chunk(path: Path, index: Index, number: int) -> bytes:
    """The encoded bytes of one chunk.

    Raises:
        StoreError: the chunk was never written, or the file is missing or truncated.
    """
    offset, length = index[number]
    if offset == _ABSENT:
        raise StoreError("a patch is missing in its shard file", got=f"chunk {number}", file=path)
    return read_range(path, int(offset), int(length))


def read_range(path: Path, offset: int, length: int) -> bytes:
    """``length`` bytes of a file from ``offset`` on.

    Raises:
        StoreError: missing, unreadable or shorter.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            data = os.pread(handle, length, offset)
        finally:
            os.close(handle)
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(data) != length:
        raise StoreError("a shard file is truncated", got=f"{len(data)} bytes at {offset}", expected=length, file=path)
    return data


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> StoreError:
    if isinstance(error, FileNotFoundError):
        return StoreError("a shard file is missing", file=path, fix="run the workflow again: its slide is packed anew")
    return StoreError("a shard file cannot be read", got=error.strerror or str(error), file=path)
