"""Which of the JSON formats a file is, from its outermost keys."""

from __future__ import annotations

import re
from functools import lru_cache

_TOKEN = re.compile(rb'"([^"\\]*+(?:\\.[^"\\]*+)*+)"(\s*+:)?|[\[\]{}]', re.DOTALL)
_TYPE = re.compile(rb'\s*+"([A-Za-z]+)"')
_GEOJSON = (
    *(b"FeatureCollection", b"Feature", b"GeometryCollection", b"Polygon", b"MultiPolygon"),
    *(b"Point", b"MultiPoint", b"LineString", b"MultiLineString"),
)
_LABELME = {b"shapes", b"imageData", b"imagePath", b"imageHeight", b"imageWidth"}
_COCO = {b"images", b"annotations", b"categories"}
_DSA = {b"elements", b"annotation"}


@lru_cache(maxsize=4)
def json_kind(head: bytes) -> str:
    """``geojson``, ``labelme``, ``coco``, ``dsa``, or "" for none of them.

    Args:
        head: the beginning of the file, some 64 KiB, without a byte-order mark.
    """
    keys, kind = _outer_keys(head)
    if kind in _GEOJSON or b"features" in keys:
        return "geojson"
    for name, own in (("labelme", _LABELME), ("coco", _COCO), ("dsa", _DSA)):
        if keys & own:
            return name
    return ""


def _outer_keys(head: bytes) -> tuple[set[bytes], bytes]:
    """Keys of the outermost object (or of the objects of the outermost array), and the value of its ``type``."""
    start = head.lstrip()[:1]
    if start not in (b"{", b"["):
        return set(), b""
    outer = 1 if start == b"{" else 2
    keys: set[bytes] = set()
    kind, depth = b"", 0
    for match in _TOKEN.finditer(head):
        sign = match[0]
        if sign in (b"{", b"["):
            depth += 1
        elif sign in (b"}", b"]"):
            depth -= 1
        elif match[2] and depth == outer:
            keys.add(match[1])
            if match[1] == b"type" and not kind and (value := _TYPE.match(head, match.end())):
                kind = value[1]
    return keys, kind
