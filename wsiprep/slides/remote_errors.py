"""What the errors of fsspec and of the libraries below it mean for a slide behind a URL."""

from __future__ import annotations

from urllib.parse import urlsplit

from wsiprep.errors import SlideError, StorageError, UsageError, WsiprepError

_TRY_AGAIN = (408, 425, 429)
_GONE, _REFUSED, _BEYOND_THE_END = (404, 410), (401, 403, 407), 416
_NETWORK_LIBRARIES = ("aiohttp", "botocore", "urllib3", "requests", "google", "azure")
_EXTRAS = {
    "http": "http", "https": "http", "s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "az": "abfs", "abfs": "abfs",
    "abfss": "abfs", "ssh": "ssh", "sftp": "sftp", "smb": "smb", "hdfs": "hdfs", "github": "github",
}  # fmt: skip

COPY = "copy the slide to a disk first, or let --stage DIR do it"


def is_worth_a_retry(error: Exception) -> bool:
    """Whether the same request may succeed in a moment: lost connections, timeouts, a server that is busy."""
    error = _first(error)
    status = _status(error)
    if status is not None:
        return status in _TRY_AGAIN or status >= 500
    if isinstance(error, (FileNotFoundError, PermissionError, IsADirectoryError)):
        return False
    return isinstance(error, OSError) or _is_of_a_network_library(error)


def remote_error(error: Exception, url: str) -> WsiprepError:
    """The error that tells the user."""
    error = _first(error)
    status = _status(error)
    got = f"{type(error).__name__}: {error}"
    if isinstance(error, ImportError):
        extra = _EXTRAS.get(urlsplit(url).scheme)
        fix = f"pip install 'fsspec[{extra}]'" if extra else "install the package that the message names"
        return UsageError("a package for slides behind such URLs is not installed", got=error, fix=fix, file=url)
    if status in _GONE or (status is None and isinstance(error, FileNotFoundError)):
        return SlideError("there is no such slide", got=got, expected="a file", fix="check the URL", file=url)
    if status == _BEYOND_THE_END:
        return SlideError("the file became shorter while it was read", got=got, file=url)
    if status in _REFUSED or isinstance(error, PermissionError):
        fix = "give fsspec what it signs in with (its configuration or the environment), or sign the URL anew"
        return StorageError("the server refuses access to the slide", got=got, fix=fix, file=url)
    if status is None and isinstance(error, (ValueError, IsADirectoryError)):
        return SlideError("the slide's URL cannot be opened", got=got, fix="check the URL", file=url)
    return StorageError("the slide cannot be read", got=got, fix="check the network and the server", file=url)


def no_parts(url: str, got: str) -> SlideError:
    """The error of a server that gives files as a whole alone."""
    return SlideError(
        "the server does not give parts of a file", got=got, expected="answers to HTTP Range requests", fix=COPY,
        file=url,
    )  # fmt: skip


def _first(error: Exception) -> Exception:
    """fsspec says "not found" also where a server failed; that stands in the cause."""
    cause = error.__cause__
    if not isinstance(error, FileNotFoundError) or not isinstance(cause, Exception):
        return error
    network = isinstance(cause, OSError) or _status(cause) is not None or _is_of_a_network_library(cause)
    return cause if network else error


def _status(error: Exception) -> int | None:
    """The HTTP status, None where there is none."""
    status = getattr(error, "status", None)
    return status if isinstance(status, int) and status >= 100 else None


def _is_of_a_network_library(error: Exception) -> bool:
    return any(kind.__module__.partition(".")[0] in _NETWORK_LIBRARIES for kind in type(error).__mro__)
