"""A file behind a URL: how long it is, and parts of it, asked for again where the network failed."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from wsiprep.errors import SlideError, WsiprepError, from_os_error
from wsiprep.slides.remote_errors import is_worth_a_retry, no_parts, remote_error

RETRY_AFTER_S = (0.1, 0.4, 1.6)
"""Pauses before a request that failed is tried again."""

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""No network fails with these."""

_SMALL_BYTES = 64 * 2**10

_Result = TypeVar("_Result")


class RemoteFile:
    """A file that fsspec opens. Thread-safe.

    Args:
        url: any that fsspec opens.
        in_parts: whether parts of it will be fetched.

    Attributes:
        size: its bytes.
        requests: how often the server was asked, tries that failed included.
        fetched_bytes: that it gave.

    Raises:
        SlideError: it leads nowhere, or the server does not say how long the file is, or gives no parts where they will
            be fetched.
        StorageError: the server fails for good, or refuses access.
        UsageError: a package for such URLs is not installed.
    """

    def __init__(self, url: str, *, in_parts: bool = True) -> None:
        self.requests = self.fetched_bytes = 0
        self._url = url
        self._lock = threading.Lock()
        self._system, self._path, self.size = self._tried(self._found, RETRY_AFTER_S)
        if in_parts and self._is_http() and self.size > _SMALL_BYTES:
            self._tried(self._require_parts, RETRY_AFTER_S)

    def fetch(self, start: int, stop: int, *, persistent: bool = True) -> bytes:
        """The bytes from ``start`` to before ``stop``.

        Args:
            persistent: ask again where that may help.

        Raises:
            SlideError: the file is shorter, or gone.
            StorageError: the server fails for good.
        """
        data = self._tried(lambda: self._part(start, stop), RETRY_AFTER_S if persistent else ())
        if len(data) > stop - start:
            raise no_parts(self._url, f"{len(data)} bytes instead of {stop - start}")
        if len(data) < stop - start:
            raise SlideError(
                "the file became shorter while it was read", got=len(data), expected=f"{stop - start} bytes",
                file=self._url,
            )  # fmt: skip
        return data

    def copy(self, target: Path) -> None:
        """Write the whole file to a new one, in one request.

        Raises:
            OSError: it cannot be made, or there is one already.
            SlideError: the slide is gone.
            StorageError: the disk is full, or the server fails for good.
        """
        target.open("xb").close()
        self._tried(lambda: self._copied(target), RETRY_AFTER_S)

    def _copied(self, target: Path) -> None:
        self._count(requests=1)
        try:
            self._system.get_file(self._path, str(target))
        except OSError as error:
            if error.errno in _DISK_ERRORS:
                raise from_os_error(error, path=target) from error
            raise
        self._count(fetched_bytes=target.stat().st_size)

    def _part(self, start: int, stop: int) -> bytes:
        self._count(requests=1)
        data: bytes = self._system.cat_file(self._path, start=start, end=stop)
        self._count(fetched_bytes=len(data))
        return data

    def _found(self) -> tuple[Any, str, int]:
        """The file system, the path in it, and the number of bytes there."""
        import fsspec

        self._count(requests=1)
        system, path = fsspec.core.url_to_fs(self._url)
        info = system.info(path)
        if info.get("type") == "directory":
            raise SlideError("this is a folder, not a slide", expected="a slide file", file=self._url)
        if info.get("size") is None:
            raise SlideError(
                "the server does not say how long the slide is", got="no Content-Length",
                fix="copy it to a disk first", file=self._url,
            )  # fmt: skip
        return system, path, int(info["size"])

    def _is_http(self) -> bool:
        known = self._system.protocol
        return bool({"http", "https"} & ({known} if isinstance(known, str) else set(known)))

    def _require_parts(self) -> None:
        """A server that ignores which part is asked for would send it all: this notices by the head of the answer."""
        self._count(requests=1)
        with self._system.open(self._path, size=self.size, cache_type="none") as handle:
            handle.seek(self.size - 1)
            try:
                self._count(fetched_bytes=len(handle.read(1)))
            except ValueError as error:
                raise no_parts(self._url, str(error)) from error

    def _tried(self, ask: Callable[[], _Result], pauses_s: tuple[float, ...]) -> _Result:
        """What asking gives, asked again after each pause while that may help."""
        for pause_s in pauses_s:
            try:
                return ask()
            except WsiprepError:
                raise
            except Exception as error:
                if not is_worth_a_retry(error):
                    raise remote_error(error, self._url) from error
                time.sleep(pause_s)
        try:
            return ask()
        except WsiprepError:
            raise
        except Exception as error:
            raise remote_error(error, self._url) from error

    def _count(self, *, requests: int = 0, fetched_bytes: int = 0) -> None:
        with self._lock:
            self.requests += requests
            self.fetched_bytes += fetched_bytes
