"""Shard files that stay open for reading, so that a patch costs one ``pread`` and no ``open``."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from wsiprep.errors import StoreError

LIMIT = 64
"""Descriptors that one dataset keeps open at most; a process may usually have 1024."""


class _Handle:
    """A descriptor that is closed with its last reference, so never under a thread that still reads from it."""

    __slots__ = ("fd",)

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        # Opening may have failed, and then there is nothing to close.
        if (fd := getattr(self, "fd", None)) is not None:
            os.close(fd)


class OpenFiles:
    """The files of one dataset that were read last, at most ``limit`` of them open.

    Any number of threads may read at once. There is no lock: every step on the table is one operation of
    a ``dict`` of strings, which no other thread can interrupt, so a fork at any moment finds it whole, and no
    lock held by a thread that the child has not. (Keys that are compared in Python, as paths are, and an
    ``OrderedDict``, which runs Python between its own steps, end in a crash.) A child reads on through the
    descriptors that it inherits (``preadv`` has no position that processes could share) and closes its own
    copies. Pickles as an empty table.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        # In the order of their last use.
        self._handles: dict[str, _Handle] = {}
        self._scratch = threading.local()

    def __reduce__(self) -> tuple[type[OpenFiles], tuple[int]]:
        return OpenFiles, (self.limit,)

    def __len__(self) -> int:
        return len(self._handles)

    def close(self) -> None:
        """Close all; reading opens them again."""
        self._handles.clear()

    def read(self, path: Path, offset: int, length: int) -> memoryview:
        """``length`` bytes of a file from ``offset`` on, in a buffer that this thread's next read overwrites.

        A buffer that is used again stays in the processor's cache and costs no page faults.

        Raises:
            StoreError: missing, unreadable or shorter.
        """
        view = self._buffer(length)
        try:
            handle = self._handle(path)
            done = os.preadv(handle.fd, [view], offset)
            while 0 < done < length and (more := os.preadv(handle.fd, [view[done:]], offset + done)):
                done += more
        except OSError as error:
            raise unreadable(path, error) from error
        if done != length:
            raise truncated(path, done, offset, length)
        return view

    def _buffer(self, length: int) -> memoryview:
        buffer: memoryview | None = getattr(self._scratch, "buffer", None)
        if buffer is None or len(buffer) < length:
            # A quarter more: chunks of one array are of about one length, and few readings make it grow.
            buffer = self._scratch.buffer = memoryview(bytearray(length + length // 4))
        return buffer[:length]

    def _handle(self, path: Path) -> _Handle:
        name = str(path)
        handle = self._handles.pop(name, None)
        if handle is None:
            handle = _Handle(path)
        self._handles[name] = handle
        while len(self._handles) > self.limit:
            try:
                self._handles.pop(next(iter(self._handles)), None)
            except (StopIteration, RuntimeError):  # other threads changed it meanwhile, and see to its size
                break
        return handle


def unreadable(path: Path, error: OSError) -> StoreError:
    """The error of a shard file that cannot be opened or read."""
    if isinstance(error, FileNotFoundError):
        return StoreError("a shard file is missing", file=path, fix="run the workflow again: its slide is packed anew")
    return StoreError("a shard file cannot be read", got=error.strerror or str(error), file=path)


def truncated(path: Path, got: int, offset: int, expected: int) -> StoreError:
    """The error of a shard file that ends too early."""
    return StoreError("a shard file is truncated", got=f"{got} bytes at {offset}", expected=expected, file=path)
