"""What the readers of XML share: a streaming parser that knows a format's elements and refuses the rest.

expat rather than a tree: lines are right beyond 65,535 (libxml2 stores 16 bits and guesses above), a
DOCTYPE is refused before any of it is read, and memory holds the numbers only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, ClassVar
from xml.parsers import expat

from wsiprep.errors import AnnotationError

MAX_FILE_BYTES = 256 * 1024 * 1024
MAX_DEPTH = 64
MAX_VERTICES = 2_000_000
MAX_ANNOTATIONS = 300_000
MAX_COORDINATE_PX = 1e7
"""Beyond any slide; keeps areas and pixel indices far from overflow."""

ROOTS = {
    "ASAP_Annotations": "ASAP",
    "Annotations": "Aperio ImageScope",
    "annotations": "Hamamatsu NDPA",
    "OME": "OME-XML",
}
"""Root elements that a user may meet, and whose they are."""

NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
"""A plain number: no decimal comma, underscore, nan, inf, hexadecimal or digits of other scripts."""

_CHUNK_BYTES = 1 << 16
_LONGEST_TAG = 64
"""Bytes of a start tag up to the end of its name, in UTF-16."""


class XmlReader:
    """expat callbacks that check the structure; a format says what it has and takes what it needs.

    A subclass sets the tables below and overrides :meth:`started`, :meth:`ended` and :meth:`completed`.
    """

    program: ClassVar[str]
    """Whose format it is, for messages."""
    root: ClassVar[str]
    children: ClassVar[Mapping[str, tuple[str, ...]]]
    """Element -> the elements that it may have; "" -> the root."""
    free: ClassVar[frozenset[str]] = frozenset()
    """Elements that may hold anything, because it bears on no pixel."""
    texts: ClassVar[frozenset[str]] = frozenset()
    """Elements that hold text."""
    tolerant: ClassVar[frozenset[str]] = frozenset()
    """Elements that may have unknown children, as long as these have none themselves."""
    vertex: ClassVar[str]
    """The element of a vertex."""
    annotation: ClassVar[str]
    """The element of an annotation."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stack: list[str] = []
        self.unknown_elements = 0
        self._free_depth = 0
        self._foreign = False
        self._vertices = 0
        self._annotations = 0
        self._text: list[str] = []
        self._parser = parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters

    def started(self, tag: str, attributes: dict[str, str]) -> None:
        """A known element begins; ``self.stack[-1]`` is itself."""

    def ended(self, tag: str, text: str) -> None:
        """A known element ends; ``text`` is what stood in it, for elements of ``texts``."""

    def completed(self) -> None:
        """The file is over."""

    @property
    def line(self) -> int:
        return int(self._parser.CurrentLineNumber)

    def run(self) -> None:
        """Read the file.

        Raises:
            AnnotationError: with file and line: missing, too large, not XML, another format, a DOCTYPE, an
                unknown element, stray text, a missing attribute, a number that is none.
        """
        with open_annotations(self.path, f"XML with the root <{self.root}>") as stream:
            try:
                self._refuse_masses(stream)
                stream.seek(0)
                while chunk := stream.read(_CHUNK_BYTES):
                    self._feed(chunk)
            except OSError as error:
                raise _unreadable(self.path, error) from error
        self._feed(b"", final=True)
        self.completed()

    def _refuse_masses(self, stream: BinaryIO) -> None:
        """Refuse too many vertices or annotations by counting their tags, far faster than the parser comes to it."""
        limits = (("vertices", self.vertex, MAX_VERTICES), ("annotations", self.annotation, MAX_ANNOTATIONS))
        patterns = [_start_tags(tag, stream.peek(4)[:4]) for _, tag, _ in limits]  # type: ignore[attr-defined]
        counts, carried = [0] * len(limits), b""
        while chunk := stream.read(_CHUNK_BYTES):
            block = carried + chunk
            for k, pattern in enumerate(patterns):
                counts[k] += len(pattern.findall(block))
            # A tag that is cut by the end of the block is counted in the next one, a whole one is not.
            carried = block[max(0, block.rfind(b"<") - 1, len(block) - _LONGEST_TAG) :]
            if any(pattern.search(carried) for pattern in patterns):
                carried = b""
        for (what, _, limit), count in zip(limits, counts, strict=True):
            if count > limit:
                raise AnnotationError(f"too many {what}", got=count, expected=f"at most {limit}", file=self.path)

    def _feed(self, data: bytes, final: bool = False) -> None:
        try:
            self._parser.Parse(data, final)
        except expat.ExpatError as error:
            raise _malformed(self.path, error, f"XML with the root <{self.root}>") from error
        except (ValueError, LookupError) as error:
            raise _bad_encoding(self.path, error) from error

    def error(self, message: str, *, line: int | None = None, **details: object) -> AnnotationError:
        """An error at ``line``, by default the current one."""
        return AnnotationError(message, file=self.path, line=line or self.line, **details)  # type: ignore[arg-type]

    def _doctype(self, name: str, *_: object) -> None:
        raise _has_doctype(self.path, self.line, name)

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        stack = self.stack
        if len(stack) >= MAX_DEPTH:
            raise self.error("elements are nested too deeply", expected=f"at most {MAX_DEPTH} levels")
        parent = stack[-1] if stack else ""
        known = self.children.get(parent, ())
        if tag in known and not self._free_depth and not self._foreign and tag not in self.free:
            # Nearly always: every vertex comes here.
            stack.append(tag)
            self._text.clear()
            self.started(tag, attributes)
            return
        if self._free_depth or (tag in self.free and tag in known):
            self._free_depth += 1
            self.stack.append(tag)
            return
        if self._foreign:
            raise self._unknown(parent, self.stack[-2])
        if parent not in self.tolerant:
            raise self._unknown(tag, parent)
        self._foreign = True
        self.unknown_elements += 1
        self.stack.append(tag)

    def _unknown(self, tag: str, parent: str) -> AnnotationError:
        if not parent:
            other = ROOTS.get(tag)
            return self.error(
                f"this XML is not an annotation file of {self.program}",
                got=f"<{tag[:80]}>" + (f" ({other})" if other else ""), expected=f"the root <{self.root}>",
                fix="set annotations.format to the format that it is, or to auto",
            )  # fmt: skip
        allowed = ", ".join(f"<{name}>" for name in self.children[parent]) or "nothing"
        return self.error(
            f"an element that <{parent}> does not have", got=f"<{tag[:80]}>", expected=allowed,
            fix="repair the file; dropping what is not understood could lose a region",
        )  # fmt: skip

    def _end(self, tag: str) -> None:
        if self._free_depth:
            self._free_depth -= 1
        elif self._foreign:
            self._foreign = False
        else:
            self.ended(tag, "".join(self._text).strip() if tag in self.texts else "")
        self._text.clear()
        self.stack.pop()

    def _characters(self, text: str) -> None:
        if self._free_depth or self._foreign or (text.isspace() and not self.texts):
            return
        if self.stack and self.stack[-1] in self.texts:
            self._text.append(text)
        elif text.strip():
            # The parser hands text over when it is at its end.
            line = self.line - text.lstrip().count("\n")
            got = repr(text.strip()[:60])
            raise self.error(f"text where {self.program} has none", got=got, fix="repair the file", line=line)

    def attribute(self, attributes: Mapping[str, str], name: str, tag: str) -> str:
        """The value of an attribute that must be there."""
        value = attributes.get(name)
        if value is None:
            got = ", ".join(attributes)[:200] or "no attributes"
            raise self.error(f"<{tag}> has no {name}", got=got, expected=name)
        return value

    def count_annotation(self) -> None:
        self._annotations += 1
        if self._annotations > MAX_ANNOTATIONS:
            raise self.error("too many annotations", expected=f"at most {MAX_ANNOTATIONS}")

    def count_vertices(self, count: int = 1, line: int | None = None) -> None:
        self._vertices += count
        if self._vertices > MAX_VERTICES:
            raise self.error("too many vertices", expected=f"at most {MAX_VERTICES}", line=line)

    def number(self, text: str, name: str, limit: float = MAX_COORDINATE_PX, unit: str = "pixels") -> float:
        """A plain number with an absolute value of at most ``limit``."""
        value = plain_number(text)
        if abs(value) <= limit:
            return value
        fix = "repair the file"
        if "," in text:
            fix = "export with a decimal point: the program's language setting wrote a decimal comma"
        raise self.error(
            f"{name} is no coordinate", got=repr(text[:40]), expected=f"a plain number of {unit} up to {limit:g}",
            fix=fix,
        )  # fmt: skip


def _start_tags(tag: str, first: bytes) -> re.Pattern[bytes]:
    """What every start of an element matches, in an encoding told from the first bytes of its file."""
    text = f"<{tag}"
    if b"\x00" not in first and first[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        return re.compile(re.escape(text.encode()) + rb"[\s/>]")
    if first[:2] == b"\xfe\xff" or first[:1] == b"\x00":
        # Without its first zero: a search is fast where the pattern begins with what is rare.
        return re.compile(re.escape(text.encode("utf-16-be")[1:]) + rb"\x00[\s/>]")
    return re.compile(re.escape(text.encode("utf-16-le")) + rb"[\s/>]\x00")


def plain_number(text: str) -> float:
    """The finite number that a text is, or nan."""
    value = float(text) if NUMBER.fullmatch(text) else math.nan
    return value if math.isfinite(value) else math.nan


def open_annotations(path: Path, expected: str) -> BinaryIO:
    """The file, opened for reading bytes.

    Raises:
        AnnotationError: missing, unreadable, empty or larger than MAX_FILE_BYTES.
    """
    try:
        size = path.stat().st_size
        stream = path.open("rb")
    except FileNotFoundError as error:
        raise AnnotationError(
            "there is no such annotation file", got=str(path), fix="correct the manifest's column annotation"
        ) from error
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if size == 0:
        stream.close()
        raise AnnotationError(
            "the annotation file is empty", file=path, line=1, expected=expected,
            fix="export it again; for a slide without tumour leave the file out and say annotation_state normal",
        )  # fmt: skip
    if size > MAX_FILE_BYTES:
        stream.close()
        most = f"at most {MAX_FILE_BYTES} bytes"
        raise AnnotationError("the file is too large", got=f"{size} bytes", expected=most, file=path)
    return stream


def root_element(head: bytes, path: Path, whole: bool, expected: str) -> str:
    """The name of the first element of an XML file, from its first bytes.

    Args:
        head: the first bytes.
        path: for messages.
        whole: ``head`` is all of the file.
        expected: what would have been accepted, for messages.

    Raises:
        AnnotationError: not well-formed before the first element, or a DOCTYPE.
    """
    found: list[str] = []
    parser = expat.ParserCreate()

    def start(tag: str, _: dict[str, str]) -> None:
        # What follows the root is its reader's business, errors included.
        if not found:
            found.append(tag)

    def doctype(name: str, *_: object) -> None:
        raise _has_doctype(path, int(parser.CurrentLineNumber), name)

    parser.StartElementHandler = start
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(head, whole)
    except expat.ExpatError as error:
        if not found:
            raise _malformed(path, error, expected) from error
    except (ValueError, LookupError) as error:
        if not found:
            raise _bad_encoding(path, error) from error
    if not found:
        raise AnnotationError(
            f"no element begins in the first {len(head)} bytes of this XML", file=path, line=1, expected=expected
        )
    return found[0]


def _malformed(path: Path, error: expat.ExpatError, expected: str) -> AnnotationError:
    return AnnotationError(
        f"not well-formed XML: {expat.ErrorString(error.code)}", file=path, line=error.lineno,
        column=error.offset + 1, expected=expected, fix="export the annotations again",
    )  # fmt: skip


def _bad_encoding(path: Path, error: Exception) -> AnnotationError:
    # pyexpat raises ValueError and LookupError for encodings that it, or Python, does not know.
    return AnnotationError(
        "the XML is in an encoding that cannot be read", got=str(error), file=path, line=1,
        expected="UTF-8 or UTF-16", fix="save it as UTF-8",
    )  # fmt: skip


def _has_doctype(path: Path, line: int, name: str) -> AnnotationError:
    return AnnotationError(
        "the XML has a DOCTYPE, which can pull in or blow up data", got=f"<!DOCTYPE {name[:40]}", file=path, line=line,
        expected="no DOCTYPE (annotation programs write none)", fix="remove the declaration if you trust the file",
    )  # fmt: skip


def _unreadable(path: Path, error: Exception) -> AnnotationError:
    got = error.strerror if isinstance(error, OSError) else str(error)
    return AnnotationError("the annotation file cannot be read", got=got, file=path)
