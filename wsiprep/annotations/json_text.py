"""From the bytes of a JSON file to its text, if it is within limits that hold before anything is built of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from wsiprep.errors import AnnotationError

MAX_FILE_BYTES = 256 * 1024 * 1024
MAX_DEPTH = 64
MAX_VERTICES = 2_000_000
MAX_VALUES = 10_000_000
"""Values of any kind in a file: some 60 bytes of memory each while they are Python objects."""

_CHUNK = 1 << 20
_SIGN = np.zeros(256, dtype=bool)
_SIGN[list(b"[]{},")] = True
_STEP = np.zeros(256, dtype=np.int8)
_STEP[list(b"[{")] = 1
_STEP[list(b"]}")] = -1
_COMPRESSED = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"BZh": "bzip2", b"(\xb5/\xfd": "zstandard"}
_OTHER_UNICODE = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}


def json_text(path: Path) -> str:
    """The text of a file that is within all limits.

    Raises:
        AnnotationError: missing, too large, compressed, empty, not UTF-8, nested too deeply, too many values
            or points.
    """
    data = _bytes(path)
    for mark, name in _COMPRESSED.items():
        if data.startswith(mark):
            raise _error(path, "the file is compressed", 1, got=name, expected="JSON", fix="unpack it")
    for mark, name in _OTHER_UNICODE.items():
        if data.startswith(mark):
            raise _encoding(path, 1, name)
    if b"\x00" in data[:64]:
        raise _encoding(path, 1, "NUL bytes (UTF-16 or UTF-32?)")
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data.strip():
        raise _error(path, "the annotation file is empty", 1, expected="JSON", fix="export it again")
    _refuse_masses(path, data)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _encoding(path, line, f"the byte 0x{data[error.start]:02x}") from error


def _bytes(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise AnnotationError("the file is too large", got=f"{size} bytes",
                                  expected=f"at most {MAX_FILE_BYTES} bytes", file=path)  # fmt: skip
        return path.read_bytes()
    except FileNotFoundError as error:
        raise AnnotationError(
            "there is no such annotation file", got=str(path), fix="correct the manifest's column annotation"
        ) from error
    except OSError as error:
        raise AnnotationError("the annotation file cannot be read", got=error.strerror, file=path) from error


def _encoding(path: Path, line: int, got: str) -> AnnotationError:
    return _error(path, "the file is not in UTF-8", line, got=got, expected="UTF-8", fix="save it as UTF-8")


def _refuse_masses(path: Path, data: bytes) -> None:
    """Refuse what is too deep or too much by its signs alone, before anything is built of it."""
    values = leaves = objects = depth = 0
    last = b""
    for start, signs in _signs(data):
        values += signs.count(b",")
        brackets = last + signs.replace(b",", b"")
        # Arrays without an array in them: the points, and a few more an object (colours, boxes).
        leaves += brackets.count(b"[]")
        objects += brackets.count(b"{") - last.count(b"{")
        depths = np.cumsum(_STEP[np.frombuffer(brackets, dtype=np.uint8)[len(last) :]], dtype=np.int64) + depth
        last = brackets[-1:]
        if len(depths) == 0:
            continue
        if int(depths.max()) > MAX_DEPTH:
            raise _error(path, "values are nested too deeply", data.count(b"\n", 0, start) + 1,
                             expected=f"at most {MAX_DEPTH}")  # fmt: skip
        depth = int(depths[-1])
    if values > MAX_VALUES:
        raise _error(path, "too many values", 1, got=values, expected=f"at most {MAX_VALUES}")
    if leaves > MAX_VERTICES + 8 * objects:
        raise _error(path, "too many vertices", 1, got=leaves, expected=f"at most {MAX_VERTICES}")


def _signs(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Brackets and commas that stand outside of strings, chunk by chunk, each with where the chunk begins."""
    codes = np.frombuffer(data, dtype=np.uint8)
    in_string, slashes = False, 0
    for start in range(0, len(codes), _CHUNK):
        chunk = codes[start : start + _CHUNK]
        quotes = chunk == ord('"')
        slash = chunk == ord("\\")
        if slashes or slash.any():
            # A quote after an odd number of backslashes is a part of its string.
            place = np.arange(len(chunk))
            other = np.maximum.accumulate(np.where(slash, -1 - slashes, place))
            before = np.concatenate([[slashes], place - other])
            quotes &= before[:-1] % 2 == 0
            slashes = int(before[-1])
        inside = np.logical_xor.accumulate(quotes) ^ in_string
        in_string = bool(inside[-1])
        yield start, chunk[_SIGN[chunk] & ~inside].tobytes()


def _error(path: Path, message: str, line: int, **details: object) -> AnnotationError:
    return AnnotationError(message, file=path, line=line, **details)  # type: ignore[arg-type]
