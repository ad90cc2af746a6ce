"""Where the bytes of a slide come from: a local file, or a URL."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from wsiprep.errors import SlideError, StorageError, UsageError
from wsiprep.slides.identity import is_url

Ranges = npt.NDArray[np.int64]
"""int64 (n, 2): offset and number of bytes of each, in the order in which they will be read."""


class ByteSource(Protocol):
    """The bytes of one slide file. Reading is thread-safe; open one per process (never share across a fork).

    Attributes:
        name: the path or the URL, for messages.
        size: bytes of the file.
        is_remote: whether each access costs a round trip, so that it helps to ``announce`` what will be read.
    """

    @property
    def name(self) -> Path | str: ...

    @property
    def size(self) -> int: ...

    @property
    def is_remote(self) -> bool: ...

    def read(self, offset: int, count: int) -> bytes:
        """Exactly so many bytes.

        Raises:
            SlideError: the file is shorter.
            StorageError: the disk, the network or the server failed (exit 74).
            UsageError: the source is closed.
        """
        ...

    def announce(self, ranges: Ranges) -> None:
        """Say what will be read, so that it can be fetched together; what was said before is forgotten."""
        ...

    def open(self) -> BinaryIO:
        """A file for what parses headers; to be closed before the source."""
        ...

    def close(self) -> None:
        """Closing twice is harmless."""
        ...


class _OpenFile:
    """A descriptor that is closed with the last reference: one that is read from is no other file's meanwhile."""

    __slots__ = ("number",)

    def __init__(self, path: Path) -> None:
        self.number = -1
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if self.number >= 0:
            os.close(self.number)


class LocalBytes:
    """A local file: every read is one ``pread``.

    Raises:
        OSError: it cannot be opened.
    """

    is_remote = False

    def __init__(self, path: Path) -> None:
        self.name: Path | str = path
        self._file: _OpenFile | None = _OpenFile(path)
        self.size = os.fstat(self._file.number).st_size

    def read(self, offset: int, count: int) -> bytes:
        """See ``ByteSource.read``."""
        file = self._file  # held while it is read, whoever closes the source
        if file is None:
            raise UsageError("the slide is closed", file=self.name)
        try:
            data = os.pread(file.number, count, offset)
        except OSError as error:
            raise StorageError(
                "the slide cannot be read",
                got=error.strerror,
                fix="check the disk or the network share",
                file=self.name,
            ) from error
        if len(data) != count:
            raise SlideError(
                "the file became shorter while it was read", got=len(data), expected=f"{count} bytes", file=self.name
            )
        return data

    def announce(self, ranges: Ranges) -> None:
        """Nothing to do: the page cache of the kernel does it."""

    def open(self) -> BinaryIO:
        """See ``ByteSource.open``."""
        return Path(self.name).open("rb")

    def close(self) -> None:
        """See ``ByteSource.close``."""
        self._file = None


def byte_source(path: Path | str) -> ByteSource:
    """The bytes of a path, or of a URL.

    Raises:
        OSError: a path that cannot be opened.
        SlideError: a URL that leads nowhere, or to a server that does not give parts of a file.
        StorageError: the server fails.
        UsageError: a package for such URLs is not installed.
    """
    if is_url(path):
        # fsspec is imported for URLs alone.
        from wsiprep.slides.remote_bytes import RemoteBytes

        return RemoteBytes(str(path))
    return LocalBytes(Path(path))
