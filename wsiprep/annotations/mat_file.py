"""One numeric array out of a MATLAB 5 file (``save -v6`` and ``-v7``, scipy's ``savemat``).

Only what instance maps need: real, full arrays of numbers at the top level. Everything else in the file is
skipped by its length. Sizes are checked before anything is unpacked.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wsiprep.errors import AnnotationError

MAX_FILE_BYTES = 2**31
MAX_PX = 1 << 28
_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_NUMERIC_CLASSES = range(6, 16)  # double, single, (u)int8 to (u)int64
_COMPLEX = 0x08
_HEAD_BYTES = 1024
"""Flags, dimensions and name of a variable fit in here."""


def read_mat(path: Path, variable: str) -> npt.NDArray[Any]:
    """The array ``variable`` of a .mat file, with the shape that MATLAB shows.

    Raises:
        AnnotationError: no such variable (those in the file are listed), no real full array of numbers,
            damaged, too large, or of version 7.3 (HDF5).
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise AnnotationError("the .mat file is too large", got=f"{path.stat().st_size} bytes", file=path)
        data = path.read_bytes()
    except OSError as error:
        raise AnnotationError("the .mat file cannot be read", got=error.strerror, file=path) from error
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if len(data) < 128 or order is None:
        raise AnnotationError(
            "this is no MATLAB 5 file", got=repr(data[:20]), expected="a .mat file of version 5 to 7", file=path,
            fix="save it again: save('name.mat', 'inst_map', '-v7')",
        )  # fmt: skip
    names: list[str] = []
    try:
        for kind, body in _elements(memoryview(data), 128, order):
            name, matrix = _named(kind, body, order)
            if name == variable:
                return _array(matrix, order, path)
            names.append(name)
    except (struct.error, zlib.error, IndexError, KeyError, ValueError, UnicodeDecodeError) as error:
        raise AnnotationError(
            "the .mat file is damaged", got=f"{type(error).__name__}: {error}", fix="fetch it again", file=path
        ) from error
    raise AnnotationError(
        "the .mat file has no such variable", got=variable, expected=", ".join(filter(None, names)) or "any variable",
        fix="name it in annotations.raster.variable", file=path,
    )  # fmt: skip


def _elements(data: memoryview, start: int, order: str) -> Iterator[tuple[int, memoryview]]:
    """(type, body) of the data elements from ``start`` on, each padded to 8 bytes but for compressed ones."""
    place = start
    while place + 8 <= len(data):
        kind, length = struct.unpack_from(f"{order}II", data, place)
        if kind >> 16:
            # The small form: length and type share a word, the data follow in the next.
            kind, length = kind & 0xFFFF, kind >> 16
            if length > 4:
                raise ValueError(f"a small element of {length} bytes")
            yield kind, data[place + 4 : place + 4 + length]
            place += 8
            continue
        if place + 8 + length > len(data):
            raise ValueError("an element reaches beyond the end of the file")
        yield kind, data[place + 8 : place + 8 + length]
        place += 8 + (length if kind == _COMPRESSED else -(-length // 8) * 8)


class _Matrix:
    """A variable whose numbers are not unpacked yet."""

    def __init__(self, head: memoryview, order: str, packed: memoryview | None) -> None:
        self.packed = packed
        self.head = head
        parts = _elements_lenient(head, order)
        _, flags = next(parts)
        (word,) = struct.unpack_from(f"{order}I", flags)
        self.kind, self.flags = word & 0xFF, (word >> 8) & 0xFF
        kind, dims = next(parts)
        self.shape = tuple(int(v) for v in np.frombuffer(dims, f"{order}{_NUMBERS[kind]}"))
        _, name = next(parts)
        self.name = bytes(name).decode("latin-1")


def _elements_lenient(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """The first elements of a head that ends in the middle of a longer one."""
    try:
        yield from _elements(data, 0, order)
    except ValueError:
        return


def _named(kind: int, body: memoryview, order: str) -> tuple[str, _Matrix | None]:
    packed = None
    if kind == _COMPRESSED:
        packed = body
        start = zlib.decompressobj().decompress(body, _HEAD_BYTES)
        kind, _ = struct.unpack_from(f"{order}II", start)
        head = memoryview(start)[8:]
    else:
        head = body
    if kind != _MATRIX:
        return "", None
    try:
        matrix = _Matrix(head, order, packed)
    except StopIteration as error:
        raise ValueError("a variable without a name") from error
    return matrix.name, matrix


def _array(matrix: _Matrix | None, order: str, path: Path) -> npt.NDArray[Any]:
    if matrix is None or matrix.kind not in _NUMERIC_CLASSES or matrix.flags & _COMPLEX:
        raise AnnotationError(
            "the variable is no array of real numbers", got="a cell, struct, sparse, complex or text variable",
            expected="a full matrix of ids", file=path,
        )  # fmt: skip
    count = prod(matrix.shape)
    if len(matrix.shape) < 2 or min(matrix.shape) < 1 or count > MAX_PX:
        raise AnnotationError(
            "the size of the variable is not believable", got=" x ".join(map(str, matrix.shape)),
            expected=f"1 to {MAX_PX} values", file=path,
        )  # fmt: skip
    body = matrix.head
    if matrix.packed is not None:
        limit = _HEAD_BYTES + 8 * count
        unpacked = zlib.decompressobj().decompress(matrix.packed, limit)
        body = memoryview(unpacked)[8:]
    parts = list(_elements_lenient(body, order))
    if len(parts) < 4:
        raise ValueError("the numbers of the variable are cut short")
    kind, numbers = parts[3]
    values = np.frombuffer(numbers, f"{order}{_NUMBERS[kind]}")
    if len(values) != count:
        raise ValueError(f"{len(values)} numbers, not {count}")
    # MATLAB stores a double array in the smallest type that holds its values; columns come first.
    return values.astype(values.dtype.newbyteorder("=")).reshape(matrix.shape, order="F")
