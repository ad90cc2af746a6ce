"""What must be known of a DICOM file before OpenSlide reads it: which slide it is part of, and whole frames."""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsiprep.errors import SlideError

_INSTANCE, _SERIES = (0x0008, 0x0018), (0x0020, 0x000E)
_SYNTAX = (0x0002, 0x0010)
_IMPLICIT, _BIG_ENDIAN, _DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
_LONG_FORM = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
_ITEM, _ITEM_END, _SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
_UNDEFINED = 0xFFFFFFFF
_PIXEL_DATA = (0x7FE0, 0x0010)
_FIRST_ELEMENT = 132
_MAX_DEPTH = 16

Tag = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Instance:
    """Attributes:
    series: SeriesInstanceUID; the levels, label and macro image of one slide share it.
    uid: SOPInstanceUID, of this file alone.
    """

    series: str
    uid: str


@dataclass(frozen=True, slots=True)
class _Element:
    """``length`` is None where the value ends with a delimiter."""

    tag: Tag
    value_at: int
    length: int | None


def instance_of(head: bytes) -> Instance | None:
    """The UIDs of a DICOM file (part 10), None where they are not within ``head`` or cannot be parsed.

    Args:
        head: the first bytes of the file, with the preamble.
    """
    if head[128:132] != b"DICM":
        return None
    try:
        return _parse(head)
    except (struct.error, ValueError):
        return None


def check_offsets(path: Path) -> None:
    """Refuse a DICOM file whose table of frames leads out of the file: OpenSlide's library would end the process.

    Explicit little-endian files with encapsulated frames and a basic offset table are checked; others pass.

    Raises:
        SlideError: damaged or truncated.
    """
    size = path.stat().st_size
    if size < _FIRST_ELEMENT:
        return
    with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            table_at, length = _offset_table(data)
        except (struct.error, ValueError):
            return
        offsets = np.frombuffer(data[table_at : table_at + length // 4 * 4], "<u4").astype(np.int64)
    frames_at = table_at + length
    if offsets.size and (offsets[0] != 0 or (np.diff(offsets) < 8).any() or frames_at + offsets[-1] + 8 > size):
        raise SlideError(
            "the table of frames is damaged, or the file is truncated",
            got=f"{size} bytes",
            expected=f"{offsets.size} frames one after the other",
            fix="fetch the file again or leave the slide out",
            file=path,
        )


def _offset_table(data: mmap.mmap) -> tuple[int, int]:
    """Place and length of the basic offset table."""
    if data[128:132] != b"DICM":
        raise ValueError("no DICOM")
    at = _FIRST_ELEMENT
    while True:
        element = _element(data, at, "<", True)
        if element.tag == _PIXEL_DATA:
            table = _element(data, element.value_at, "<", True)
            if element.length is not None or table.tag != _ITEM or table.length is None:
                raise ValueError("no frames")
            return table.value_at, table.length
        at = _end(data, element, "<", True, 0)


def _parse(head: bytes) -> Instance | None:
    at, order, explicit = _FIRST_ELEMENT, "<", True
    found: dict[Tag, str] = {}
    in_meta = True
    while len(found) < 2:
        if in_meta and struct.unpack_from("<H", head, at)[0] != 2:
            # The file's own group is always explicit and little-endian; what follows is as it says.
            in_meta = False
            syntax = found.pop(_SYNTAX, "")
            if syntax == _DEFLATED:
                return None
            order, explicit = (">" if syntax == _BIG_ENDIAN else "<"), syntax != _IMPLICIT
        element = _element(head, at, order, explicit)
        if not in_meta and element.tag > _SERIES:
            return None
        end = _end(head, element, order, explicit, 0)
        wanted = (_SYNTAX,) if in_meta else (_INSTANCE, _SERIES)
        if element.tag in wanted:
            if end > len(head):
                return None
            found[element.tag] = head[element.value_at : end].decode("ascii").strip("\0 ")
        at = end
    if not all(found.get(tag) for tag in (_INSTANCE, _SERIES)):
        return None
    return Instance(found[_SERIES], found[_INSTANCE])


def _element(head: bytes | mmap.mmap, at: int, order: str, explicit: bool) -> _Element:
    group, number = struct.unpack_from(order + "HH", head, at)
    tag = (group, number)
    delimiter = group == _ITEM[0]
    if not explicit or delimiter:
        length, value_at = struct.unpack_from(order + "I", head, at + 4)[0], at + 8
    elif head[at + 4 : at + 6] in _LONG_FORM:
        length, value_at = struct.unpack_from(order + "I", head, at + 8)[0], at + 12
    else:
        length, value_at = struct.unpack_from(order + "H", head, at + 6)[0], at + 8
    return _Element(tag, value_at, None if length == _UNDEFINED else length)


def _end(head: bytes | mmap.mmap, element: _Element, order: str, explicit: bool, depth: int) -> int:
    """Where the next element begins; the items of a sequence of undefined length are walked through."""
    if element.length is not None:
        return element.value_at + element.length
    if depth > _MAX_DEPTH:
        raise ValueError("sequences nested too deep")
    at = element.value_at
    closing = _ITEM_END if element.tag == _ITEM else _SEQUENCE_END
    while True:
        inner = _element(head, at, order, explicit)
        if inner.tag == closing:
            return inner.value_at
        at = _end(head, inner, order, explicit, depth + 1)
