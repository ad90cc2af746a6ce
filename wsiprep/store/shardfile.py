"""One Zarr v3 shard file: chunks one after the other, then an index of their places with a CRC-32C.

    chunk 0 | chunk 1 | ... | (offset, length) uint64 little-endian per chunk | crc32c

The file is written front to back in one go, never read and modified: chunks go out as they come, so
a writer holds two blocks in memory and not a whole file. (zarr-python rewrites the file for every
chunk that is assigned on its own, and holds all of it for a whole-file assignment.) Readers of
patches keep a bounded number of files open (``openfiles``).
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import crc32c
import numpy as np
import numpy.typing as npt

from wsiprep.errors import StoreError, UsageError
from wsiprep.store.appendfile import AppendFile, Buffer
from wsiprep.store.openfiles import truncated, unreadable

DIRECT_IO = "WSIPREP_DIRECT_IO"
"""Environment variable: 0 writes through the page cache."""

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
        self._file = AppendFile(path, direct=os.environ.get(DIRECT_IO, "1") != "0")

    def close(self) -> None:
        """Give the file up where it is not finished; without an index it is no shard file."""
        self._file.close()

    @property
    def is_full(self) -> bool:
        return len(self._index) == self._capacity

    def add(self, *pieces: Buffer) -> None:
        """Append one encoded chunk, given in one piece or more."""
        if self.is_full:
            raise UsageError(
                "the shard file is full", got=f"chunk {len(self._index)}", expected=f"{self._capacity} chunks"
            )
        start = self._file.size
        for piece in pieces:
            self._file.append(piece)
        self._index.append((start, self._file.size - start))

    def finish(self) -> tuple[int, str]:
        """Write the index, flush to the disk and close. Returns size in bytes and xxh3-128 (hex) of the file.

        Raises:
            OSError: the disk is full or fails.
        """
        index = np.full((self._capacity, 2), _ABSENT, dtype="<u8")
        index[: len(self._index)] = np.array(self._index, dtype="<u8").reshape(-1, 2)
        raw = index.tobytes()
        self._file.append(raw + struct.pack("<I", crc32c.crc32c(raw)))
        digest = self._file.finish()
        return self._file.size, digest


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
    """The encoded bytes of one chunk, by a file that is opened for it and closed.

    Raises:
        StoreError: the chunk was never written, or the file is missing or truncated.
    """
    return read_range(path, *chunk_place(path, index, number))


def chunk_place(path: Path, index: Index, number: int) -> tuple[int, int]:
    """Offset and length in bytes of one chunk.

    Raises:
        StoreError: it was never written.
    """
    offset, length = index[number].tolist()
    if offset == _ABSENT:
        raise StoreError("a patch is missing in its shard file", got=f"chunk {number}", file=path)
    return offset, length


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
        raise unreadable(path, error) from error
    if len(data) != length:
        raise truncated(path, len(data), offset, length)
    return data


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise unreadable(path, error) from error
