"""DICOM whole-slide microscopy: one instance per level in a folder, tiles as encapsulated JPEG frames."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

from vendor_slides.made import Made, reduced, scan, tiled

SPACING_UM = (0.2275, 0.2501)
SIZE = (400, 272)
FACTORS = (1, 2, 4)
TILE = 64
ROOT = "1.2.826.0.1.3680043.10.99999"
WSI_STORAGE = "1.2.840.10008.5.1.4.1.1.77.1.6"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
_LONG_FORM = ("OB", "OW", "SQ", "UN", "UT")


def write(folder: Path, name: str = "a.dcm") -> Made:
    """Levels ``a.dcm``, ``a-2.dcm``, ``a-4.dcm``, TILED_FULL; any of them opens the slide."""
    marker_xy = (301, 99)
    planes = []
    for factor, level in zip(FACTORS, reduced(scan(*SIZE, marker_xy), FACTORS), strict=True):
        codes, decoded = tiled(level, TILE)
        stem, dot, suffix = name.rpartition(".")
        place = folder / (name if factor == 1 else f"{stem}-{factor}{dot}{suffix}")
        place.write_bytes(_instance(factor, (level.shape[1], level.shape[0]), codes))
        planes.append(decoded)
    return Made(folder / name, "dicom", tuple(planes), SPACING_UM, FACTORS, marker_xy)


def _instance(factor: int, size: tuple[int, int], frames: Sequence[bytes]) -> bytes:
    uid = f"{ROOT}.1.{factor}"
    syntax = _element(0x0002, 0x0001, "OB", b"\0\1") + _text(0x0002, 0x0002, "UI", WSI_STORAGE)
    syntax += _text(0x0002, 0x0003, "UI", uid) + _text(0x0002, 0x0010, "UI", JPEG_BASELINE)
    syntax += _text(0x0002, 0x0012, "UI", f"{ROOT}.9")
    measures = _text(0x0018, 0x0050, "DS", "0.001")
    # Rows first, then columns, in mm.
    measures += _text(0x0028, 0x0030, "DS", "\\".join(f"{um * factor / 1000:.7f}" for um in reversed(SPACING_UM)))
    kind = "ORIGINAL\\PRIMARY\\VOLUME\\NONE" if factor == 1 else "DERIVED\\PRIMARY\\VOLUME\\RESAMPLED"
    elements = [
        _text(0x0008, 0x0008, "CS", kind),
        _text(0x0008, 0x0016, "UI", WSI_STORAGE),
        _text(0x0008, 0x0018, "UI", uid),
        _text(0x0008, 0x0060, "CS", "SM"),
        _text(0x0020, 0x000D, "UI", f"{ROOT}.2"),
        _text(0x0020, 0x000E, "UI", f"{ROOT}.3"),
        _text(0x0020, 0x9311, "CS", "TILED_FULL"),
        _number(0x0028, 0x0002, "US", 3),
        _text(0x0028, 0x0004, "CS", "YBR_FULL_422"),
        _number(0x0028, 0x0006, "US", 0),
        _text(0x0028, 0x0008, "IS", str(len(frames))),
        _number(0x0028, 0x0010, "US", TILE),
        _number(0x0028, 0x0011, "US", TILE),
        _number(0x0028, 0x0100, "US", 8),
        _number(0x0028, 0x0101, "US", 8),
        _number(0x0028, 0x0102, "US", 7),
        _number(0x0028, 0x0103, "US", 0),
        _number(0x0048, 0x0006, "UL", size[0]),
        _number(0x0048, 0x0007, "UL", size[1]),
        _sequence(0x0048, 0x0105, _text(0x0048, 0x0112, "DS", "20")),
        _number(0x0048, 0x0302, "UL", 1),
        _number(0x0048, 0x0303, "UL", 1),
        _sequence(0x5200, 0x9229, _sequence(0x0028, 0x9110, measures)),
    ]
    meta = _number(0x0002, 0x0000, "UL", len(syntax)) + syntax
    return bytes(128) + b"DICM" + meta + b"".join(elements) + _pixel_data(frames)


def _element(group: int, number: int, vr: str, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    head = struct.pack("<HH", group, number) + vr.encode()
    if vr in _LONG_FORM:
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def _text(group: int, number: int, vr: str, value: str) -> bytes:
    pad = ("\0" if vr == "UI" else " ") * (len(value) % 2)
    return _element(group, number, vr, (value + pad).encode())


def _number(group: int, number: int, vr: str, value: int) -> bytes:
    return _element(group, number, vr, struct.pack("<H" if vr == "US" else "<I", value))


def _sequence(group: int, number: int, item: bytes) -> bytes:
    return _element(group, number, "SQ", struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item)


def _pixel_data(frames: Sequence[bytes]) -> bytes:
    """Encapsulated frames after a basic offset table; every fragment of even length."""
    whole = [frame + b"\0" * (len(frame) % 2) for frame in frames]
    offsets, at = [], 0
    for frame in whole:
        offsets.append(at)
        at += 8 + len(frame)
    out = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
    out += struct.pack("<HHI", 0xFFFE, 0xE000, 4 * len(offsets)) + struct.pack(f"<{len(offsets)}I", *offsets)
    for frame in whole:
        out += struct.pack("<HHI", 0xFFFE, 0xE000, len(frame)) + frame
    return out + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
