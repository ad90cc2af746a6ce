"""Tissue masks as PNG: one bit a pixel (white is tissue), their record in a text chunk, equal bytes."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from wsiprep.config import canonical_json
from wsiprep.errors import TissueError
from wsiprep.tissue.mask import TissueMask

SIGNATURE = b"\x89PNG\r\n\x1a\n"
KEYWORD = b"wsiprep-tissue"


def write_mask(mask: TissueMask) -> bytes:
    """The bytes of a PNG that any viewer shows and ``read_mask`` restores. Equal masks give equal bytes."""
    height, width = mask.mask.shape
    rows = np.packbits(mask.mask, axis=1)
    # Every PNG row starts with its filter; 0 is none, and bits need none.
    filtered = np.concatenate([np.zeros((height, 1), dtype=np.uint8), rows], axis=1)
    record = {"downsample": mask.downsample, "method": mask.method, "thresholds": mask.thresholds}
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)),
        (b"tEXt", KEYWORD + b"\0" + canonical_json(record)),
        (b"IDAT", zlib.compress(filtered.tobytes(), 9)),
        (b"IEND", b""),
    )
    return SIGNATURE + b"".join(_chunk(kind, body) for kind, body in chunks)


def read_mask(source: bytes | str | Path) -> TissueMask:
    """A mask that ``write_mask`` wrote, from its bytes or its path.

    Raises:
        TissueError: it is no PNG, or not one of ours.
    """
    file = None if isinstance(source, bytes) else str(source)
    try:
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
    except OSError as error:
        raise TissueError("the tissue mask cannot be read", got=error.strerror, file=file) from error
    record = _record(data, file)
    pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_GRAYSCALE)
    if pixels is None:
        raise TissueError("the tissue mask is damaged", file=file, fix="run the survey of this slide again")
    try:
        thresholds = {str(name): float(value) for name, value in record["thresholds"].items()}
        return TissueMask.of(pixels > 0, int(record["downsample"]), str(record["method"]), thresholds)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TissueError("the record in the tissue mask is incomplete", got=record, file=file) from error


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _record(data: bytes, file: str | None) -> dict[str, Any]:
    """The JSON object of our text chunk."""
    if not data.startswith(SIGNATURE):
        raise TissueError("the tissue mask is not a PNG", file=file)
    place = len(SIGNATURE)
    while place + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        kind, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        if kind == b"tEXt" and body.startswith(KEYWORD + b"\0"):
            return _parsed(body[len(KEYWORD) + 1 :], file)
        place += 12 + length
    raise TissueError(
        "the PNG has no record of a tissue mask", file=file, fix="a mask of your own is read with tissue: given"
    )


def _parsed(text: bytes, file: str | None) -> dict[str, Any]:
    try:
        record = json.loads(text)
    except ValueError as error:
        raise TissueError("the record in the tissue mask is damaged", file=file) from error
    if not isinstance(record, dict):
        raise TissueError("the record in the tissue mask is damaged", got=record, file=file)
    return record
