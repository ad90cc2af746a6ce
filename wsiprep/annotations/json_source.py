"""JSON files of annotations: bounded before anything is built, and every error with its line.

Python's decoder says the place of a syntax error but nothing of the values that it returns. So the outer
layers of a file (the object, and the one array of annotations in it) are walked here, and only the elements
of that array go to the decoder, one at a time: each is known by the line that it starts on, and is turned into
arrays before the next one is decoded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from json.decoder import scanstring  # type: ignore[attr-defined]
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from wsiprep.annotations.edges import Floats
from wsiprep.annotations.json_text import MAX_VERTICES, json_text
from wsiprep.errors import AnnotationError

MAX_COORDINATE_PX = 1e7
"""Beyond any slide; keeps areas and pixel indices far from overflow."""

MAX_KEYS = 1000
"""Of an object on the way to a walked array, which has some ten of them."""

_BLANK = re.compile(r"[ \t\n\r]*")
Spot: TypeAlias = tuple[str, ...]
"""Keys from the top down, ``*`` for the elements of an array."""

Convert: TypeAlias = Callable[[Any, int], Any]
"""What becomes of an element: its value and its line in, whatever is to be kept of it out."""


@dataclass(slots=True)
class JsonFile:
    """A file on its way to shapes.

    Attributes:
        path: of the file.
        value: the file's value; in place of the elements of a walked array stand their converted forms.
        lines: spot -> line, for every key that was walked.
        vertices: how many were taken so far.
    """

    path: Path
    value: Any = None
    lines: dict[Spot, int] = field(default_factory=dict)
    vertices: int = 0

    def error(self, message: str, line: int | None, **details: Any) -> AnnotationError:
        return AnnotationError(message, file=self.path, line=line, **details)

    def number(self, value: Any, name: str, line: int | None, least: float = -MAX_COORDINATE_PX) -> float:
        """A finite number of pixels (or radians), neither a string nor a truth value."""
        if type(value) in (int, float) and least <= value <= MAX_COORDINATE_PX:
            return float(value)
        raise self._no_number(value, name, line, least)

    def text(self, value: Any, name: str, line: int | None) -> str:
        """A string; null or nothing is ""."""
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self.error(f"{name} is no text", line, got=shown(value), expected="a string")
        # JSON can spell half a character ("\\ud800"), which no file can hold.
        if not value.isascii() and any("\ud800" <= sign <= "\udfff" for sign in value):
            raise self.error(f"{name} is no text", line, got=shown(value), expected="whole characters")
        return value

    def object(self, value: Any, name: str, line: int | None) -> dict[str, Any]:
        """An object; null or nothing is an empty one."""
        if value is None:
            return {}
        if isinstance(value, dict):
            return value
        raise self.error(f"{name} is no object", line, got=shown(value), expected="{...}")

    def array(self, value: Any, name: str, line: int | None) -> list[Any]:
        if isinstance(value, list):
            return value
        raise self.error(f"{name} is no array", line, got=shown(value), expected="[...]")

    def take(self, count: int, line: int | None) -> None:
        """Count vertices; too many are refused."""
        self.vertices += count
        if self.vertices > MAX_VERTICES:
            raise self.error("too many vertices", line, expected=f"at most {MAX_VERTICES}")

    def points(self, value: Any, name: str, line: int | None) -> Floats:
        """float64 (n, 2) of [[x, y], ...]; a third coordinate, as GeoJSON and DSA have it, has to be 0.

        Otherwise x and y written with a decimal comma would be read as x, y and height.
        """
        rows = self.array(value, name, line)
        if not rows:
            return np.zeros((0, 2))
        self.take(len(rows), line)
        if set(map(type, rows)) != {list}:
            wrong = next(row for row in rows if type(row) is not list)
            raise self.error(f"{name}: a point is no pair of numbers", line, got=shown(wrong), expected="[x, y]")
        widths = set(map(len, rows))
        if widths not in ({2}, {3}):
            wrong = next(row for row in rows if len(row) != 2)
            raise self.error(f"{name}: a point has two coordinates", line, got=repr(wrong[:8])[:60], expected="[x, y]")
        found = self.numbers(list(chain.from_iterable(rows)), name, line).reshape(len(rows), -1)
        if (found[:, 2:] != 0).any():
            wrong = rows[int(np.flatnonzero(found[:, 2])[0])]
            raise self.error(f"{name}: a point with a third coordinate", line, got=repr(wrong)[:60], expected="[x, y]",
                             fix="check for decimal commas: 1,5 is two numbers in JSON")  # fmt: skip
        return found if found.shape[1] == 2 else found[:, :2].copy()

    def numbers(self, values: list[Any], name: str, line: int | None) -> Floats:
        """float64 (n,), each finite and a coordinate by size."""
        if set(map(type, values)) <= {int, float}:
            try:
                found: Floats = np.array(values, dtype=np.float64)
            except OverflowError:
                found = np.full(1, np.inf)
            # Written so that NaN is not within.
            if (np.abs(found) <= MAX_COORDINATE_PX).all():
                return found
        for value in values:
            self.number(value, name, line)
        raise AssertionError("unreachable: one of the values is no number")

    def _no_number(self, value: Any, name: str, line: int | None, least: float) -> AnnotationError:
        fix = "repair the file"
        if isinstance(value, str) and "," in value:
            fix = "export with a decimal point: the program's language setting wrote a decimal comma"
        elif isinstance(value, str):
            fix = "export numbers as numbers, without quotes"
        limits = f"from {least:g} to {MAX_COORDINATE_PX:g}"
        return self.error(f"{name} is no number that can be used", line, got=shown(value),
                          expected=f"a plain number {limits}", fix=fix)  # fmt: skip


def read_json(path: Path, arrays: Mapping[Spot, Callable[[JsonFile], Convert]]) -> JsonFile:
    """Read a file, one element of its large arrays at a time.

    Args:
        path: UTF-8, with or without a byte-order mark.
        arrays: spot of an array -> makes the function that its elements go through, in file order. Other
            values are kept as the decoder gives them.

    Raises:
        AnnotationError: missing, too large, compressed, not UTF-8, not JSON, nested more than 64 deep, more
            than 10,000,000 values or 2,000,000 points, a key twice in one object.
    """
    file = JsonFile(path)
    text = json_text(path)
    walk = _Walk(file, text, {spot: make(file) for spot, make in arrays.items()})
    file.value = walk.whole()
    return file


def shown(value: Any) -> str:
    """A value for a message, short."""
    if isinstance(value, list):
        return f"an array of {len(value)}"
    if isinstance(value, dict):
        return "an object with " + (", ".join(repr(key[:40]) for key in list(value)[:8]) or "no keys")
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**40:
        return f"a number of {value.bit_length()} bits"
    return json.dumps(value)[:60] if value is None or isinstance(value, bool) else repr(value)[:60]


class _TwiceError(Exception):
    """A key stands twice in one object."""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        raise _TwiceError(next(key for key, _ in pairs if key in seen or seen.add(key)))  # type: ignore[func-returns-value]
    return found


class _Walk:
    """One pass over the text: objects and arrays on the way to a walked array by hand, all else by the decoder."""

    def __init__(self, file: JsonFile, text: str, arrays: dict[Spot, Convert]) -> None:
        self._file = file
        self._text = text
        self._arrays = arrays
        self._ways = {spot[:length] for spot in arrays for length in range(len(spot) + 1)}
        self._decode = json.JSONDecoder(object_pairs_hook=_pairs).raw_decode
        self._at = 0
        self._counted = (0, 1)

    def whole(self) -> Any:
        self._blank()
        value = self._value(())
        self._blank()
        if self._at != len(self._text):
            raise self._syntax("something follows the end of the JSON")
        return value

    def _line(self) -> int:
        at, line = self._counted
        line += self._text.count("\n", at, self._at)
        self._counted = (self._at, line)
        return line

    def _blank(self) -> None:
        match = _BLANK.match(self._text, self._at)
        assert match is not None  # it matches nothing, too
        self._at = match.end()

    def _sign(self) -> str:
        return self._text[self._at : self._at + 1]

    def _syntax(self, message: str) -> AnnotationError:
        got = repr(self._text[self._at : self._at + 20]) if self._at < len(self._text) else "the end of the file"
        column = self._at - self._text.rfind("\n", 0, self._at)
        return self._file.error(f"not well-formed JSON: {message}", self._line(), got=got, column=column,
                                fix="export the annotations again")  # fmt: skip

    def _value(self, spot: Spot) -> Any:
        if spot in self._ways:
            if self._sign() == "{":
                return self._object(spot)
            if self._sign() == "[" and (spot in self._arrays or (*spot, "*") in self._ways):
                return self._array(spot)
        return self._decoded()

    def _object(self, spot: Spot) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self._at += 1
        self._blank()
        if self._sign() == "}":
            self._at += 1
            return found
        while True:
            key = self._key(found)
            place = (*spot, key)
            self._file.lines[place] = self._line()
            if len(found) >= MAX_KEYS:
                raise self._file.error("too many keys in one object", self._line(), expected=f"at most {MAX_KEYS}")
            found[key] = self._value(place)
            if not self._more("}"):
                return found

    def _key(self, found: dict[str, Any]) -> str:
        if self._sign() != '"':
            raise self._syntax("a key was expected")
        line = self._line()
        try:
            key, self._at = scanstring(self._text, self._at + 1, True)
        except ValueError as error:
            raise self._refused(error, line) from error
        if key in found:
            raise self._twice(key, line)
        self._blank()
        if self._sign() != ":":
            raise self._syntax("':' was expected")
        self._at += 1
        self._blank()
        return str(key)

    def _array(self, spot: Spot) -> list[Any]:
        found: list[Any] = []
        convert = self._arrays.get(spot)
        self._at += 1
        self._blank()
        if self._sign() == "]":
            self._at += 1
            return found
        while True:
            line = self._line()
            self._file.lines[(*spot, "*")] = line
            value = self._value((*spot, "*"))
            if convert is None and len(found) >= MAX_KEYS:
                raise self._file.error("too many documents in one file", line, expected=f"at most {MAX_KEYS}")
            found.append(value if convert is None else convert(value, line))
            if not self._more("]"):
                return found

    def _more(self, end: str) -> bool:
        """Past the comma to the next item, or past the end."""
        self._blank()
        sign = self._sign()
        if sign not in (",", end):
            raise self._syntax(f"',' or '{end}' was expected")
        self._at += 1
        self._blank()
        return sign == ","

    def _decoded(self) -> Any:
        line = self._line()
        try:
            value, self._at = self._decode(self._text, self._at)
        except _TwiceError as error:
            raise self._twice(str(error), line) from error
        except (ValueError, RecursionError) as error:
            raise self._refused(error, line) from error
        return value

    def _twice(self, key: str, line: int) -> AnnotationError:
        return self._file.error("a key stands twice in one object", line, got=repr(key[:80]), fix="repair the file")

    def _refused(self, error: Exception, line: int) -> AnnotationError:
        if isinstance(error, json.JSONDecodeError):
            self._at = error.pos
            self._counted = (0, 1)
            return self._syntax(error.msg)
        got = "a number of thousands of digits" if isinstance(error, ValueError) else "values nested too deeply"
        return self._file.error("JSON that cannot be read", line, got=got, fix="repair the file")
