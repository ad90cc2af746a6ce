"""Digests of a dataset's files against the release's list, remembered by size, time and inode."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsiprep.artifacts import write_json
from wsiprep.config.dataset import Checksums
from wsiprep.datasets.findings import Finding
from wsiprep.datasets.listing import Entry, Listing
from wsiprep.datasets.patterns import composed
from wsiprep.errors import SlideError
from wsiprep.guards.tiff_chain import check_chain
from wsiprep.progress import Reporter

BLOCK_BYTES = 1 << 22

GNU_LINE = re.compile(r"\\?(?P<digest>[0-9a-fA-F]{32,128}) [ *](?P<path>.+)")
BSD_LINE = re.compile(r"[A-Z0-9-]+ \((?P<path>.+)\) = (?P<digest>[0-9a-fA-F]{32,128})")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A digest that a file should have."""

    path: str
    algorithm: str
    digest: str


class DigestCache:
    """Digests by path, size, mtime and inode, in one JSON file; a lost or broken file only costs time."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known: dict[str, Any] = {}
        if path is not None:
            with contextlib.suppress(OSError, ValueError):
                loaded = json.loads(path.read_text(encoding="utf-8"))
                self._known = loaded if isinstance(loaded, dict) else {}
        self.n_hits = 0

    def digest(self, root: Path, entry: Entry, algorithm: str) -> str:
        """The digest of a file, remembered or computed."""
        key = f"{algorithm}:{root / entry.path}"
        kept = self._known.get(key)
        if isinstance(kept, list) and kept[:3] == list(entry.identity) and len(kept) == 4:
            self.n_hits += 1
            return str(kept[3])
        digest = file_digest(root / entry.path, algorithm)
        self._known[key] = [*entry.identity, digest]
        return digest

    def save(self) -> None:
        """Write the file; where that is not possible, nothing is remembered."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                write_json(self._path, self._known)


def file_digest(path: Path, algorithm: str) -> str:
    """Hexadecimal digest of a file, read in blocks."""
    state = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            state.update(block)
    return state.hexdigest()


def verify(
    specs: Sequence[Checksums], listing: Listing, cache: DigestCache, reporter: Reporter
) -> tuple[list[Finding], int]:
    """Compare every listed file that is here; returns findings and the number of files that agree."""
    wanted: list[Wanted] = []
    findings: list[Finding] = []
    lists = [s for s in specs if s.file is not None]
    here = [s for s in lists if composed(str(s.file)) in listing.files]
    # Releases changed the name of their list: one that is not here is worth a word only where none is.
    for spec in (*(here or lists), *(s for s in specs if s.file is None)):
        if spec.file is not None:
            more, problems = _listed(spec, listing)
            wanted += more
            findings += problems
        elif composed(str(spec.path)) in listing.files:
            wanted.append(Wanted(composed(str(spec.path)), spec.algorithm, str(spec.digest)))
    agree = 0
    with reporter.task("checksums", len(wanted)) as task:
        for item in wanted:
            problem = _compare(item, listing, cache)
            agree += problem is None
            findings += [] if problem is None else [problem]
            task.advance()
    cache.save()
    return findings, agree


def _compare(item: Wanted, listing: Listing, cache: DigestCache) -> Finding | None:
    entry = listing.files[item.path]
    try:
        digest = cache.digest(listing.root, entry, item.algorithm)
    except OSError as error:
        return Finding("unreadable", "error", entry.path, error.strerror or str(error))
    if digest == item.digest:
        return None
    end = truncation(listing.root / entry.path)
    if end is not None:
        return Finding("truncated", "error", entry.path, f"half downloaded: {end}; fetch it again")
    message = f"its {item.algorithm} is {digest}, the release says {item.digest}: damaged, or another version"
    return Finding("checksum", "error", entry.path, message)


def _listed(spec: Checksums, listing: Listing) -> tuple[list[Wanted], list[Finding]]:
    path = str(spec.file)
    entry = listing.files.get(composed(path))
    if entry is None:
        return [], [Finding("no-checksums", "warning", path, "the release's list of checksums is not here")]
    try:
        text = (listing.root / entry.path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return [], [Finding("bad-checksums", "error", entry.path, f"cannot be read: {error}")]
    by_name = _by_name(listing.files)
    wanted: list[Wanted] = []
    findings: list[Finding] = []
    absent = 0
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        found = GNU_LINE.fullmatch(line) or BSD_LINE.fullmatch(line)
        if found is None or len(found["digest"]) != hashlib.new(spec.algorithm, usedforsecurity=False).digest_size * 2:
            message = f"line {number} is no {spec.algorithm} line: {line[:80]!r}"
            findings.append(Finding("bad-checksums", "error", entry.path, message))
            continue
        key = _find(found["path"], path, listing, by_name)
        if key is None:
            absent += 1
        else:
            wanted.append(Wanted(key, spec.algorithm, found["digest"].lower()))
    if absent:
        findings.append(Finding("not-here", "note", entry.path, f"lists {absent} files that are not here"))
    return wanted, findings


def _by_name(files: Mapping[str, Entry]) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for key in files:
        names.setdefault(key.rsplit("/", 1)[-1], []).append(key)
    return names


def _find(listed: str, list_path: str, listing: Listing, by_name: Mapping[str, list[str]]) -> str | None:
    """The file that a line means: relative to the list, to the folder, or by the end of its path if only one fits."""
    name = composed(listed.replace("\\", "/").removeprefix("./"))
    folder = list_path.rpartition("/")[0]
    for candidate in (f"{folder}/{name}" if folder else name, name):
        if candidate in listing.files:
            return candidate
    alike = [key for key in by_name.get(name.rsplit("/", 1)[-1], []) if _ends_alike(key, name)]
    return alike[0] if len(alike) == 1 else None


def _ends_alike(key: str, name: str) -> bool:
    return name == key or name.endswith(f"/{key}") or key.endswith(f"/{name}")


def truncation(path: Path) -> str | None:
    """What shows that a TIFF ends too early, from its tables; None for other files and whole ones."""
    if path.suffix.lower() not in (".tif", ".tiff", ".svs", ".ndpi", ".scn", ".bif"):
        return None
    import tifffile

    size = path.stat().st_size
    try:
        with path.open("rb") as stream:
            check_chain(stream, path)
        with tifffile.TiffFile(path) as file:
            ends = [o + n for page in file.pages for o, n in _extents(page)]
    except SlideError as error:
        return error.message
    except (tifffile.TiffFileError, OSError, ValueError, IndexError, KeyError, TypeError) as error:
        return f"its tables cannot be read in {size} bytes ({error})"
    end = max(ends, default=0)
    if end > size:
        return f"its tables name {end} bytes, it has {size}"
    return None


def _extents(page: Any) -> Iterable[tuple[int, int]]:
    offsets, counts = page.dataoffsets, page.databytecounts
    return zip(offsets, counts, strict=False)
