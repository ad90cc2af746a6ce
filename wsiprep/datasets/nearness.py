"""Why no layout fits: folders that begin with a blank, one level too many, archives, unfinished downloads."""

from __future__ import annotations

import re
from collections.abc import Iterable

from wsiprep.config.dataset import DatasetSpec, Layout
from wsiprep.datasets.findings import Finding
from wsiprep.datasets.listing import ARCHIVE_SUFFIXES, Listing, without_partial_suffix
from wsiprep.datasets.patterns import PathPattern, compile_pattern

MAX_SHOWN = 8


def near_misses(spec: DatasetSpec, listing: Listing) -> list[Finding]:
    """What is almost a layout, each with what to do. Empty where nothing resembles one."""
    findings: list[Finding] = []
    for name, layout in spec.layouts.items():
        patterns = _patterns(layout)
        findings += _renamed(name, patterns, listing)
        findings += _nested(name, patterns, listing)
        findings += _unfinished(name, patterns, listing)
    findings += archives(listing)
    return list({(f.kind, f.path): f for f in findings}.values())


def archives(listing: Listing) -> list[Finding]:
    """Archives in the folder: what they hold is not looked at."""
    return [
        Finding("archive", "warning", entry.path, "an archive: unpack it where it lies")
        for key, entry in sorted(listing.files.items())
        if key.lower().endswith(ARCHIVE_SUFFIXES) and key not in listing.partial
    ]


def expected_lines(layout: Layout) -> list[str]:
    """The layout's patterns, for people."""
    lines = []
    for items in layout.items:
        with_annotation = f"  with {' or '.join(items.annotation)}" if items.annotation else ""
        lines.append(items.path + with_annotation)
    return lines


def found_lines(listing: Listing) -> list[str]:
    """The top of the folder with counts of files, for people."""
    counts: dict[str, int] = {}
    for entry in listing.files.values():
        parts = entry.path.split("/")
        key = "/".join(parts[:2]) + "/" if len(parts) > 2 else ("/".join(parts[:-1]) + "/" if parts[:-1] else parts[0])
        counts[key] = counts.get(key, 0) + 1
    lines = [f"{key} ({n} files)" if key.endswith("/") else key for key, n in sorted(counts.items())]
    return lines[: 2 * MAX_SHOWN] + (["..."] if len(lines) > 2 * MAX_SHOWN else [])


def _patterns(layout: Layout) -> list[PathPattern]:
    return [compile_pattern(items.path, items.where) for items in layout.items]


def _present(listing: Listing) -> Iterable[tuple[str, str]]:
    yield from ((key, entry.path) for key, entry in sorted(listing.files.items()))
    yield from ((f"{key}/", key) for key in sorted(listing.folders))


def _tidied(path: str) -> str:
    parts = (part.strip() for part in path.split("/"))
    return "/".join(parts).casefold()


def _renamed(name: str, patterns: list[PathPattern], listing: Listing) -> list[Finding]:
    """Paths that would match if blanks at the ends of names and upper case did not count."""
    loose = [re.compile(p.regex.pattern, re.IGNORECASE) for p in patterns]
    findings: dict[str, Finding] = {}
    for key, raw in _present(listing):
        tidy = _tidied(key)
        if tidy == key.casefold() and any(p.match(key) for p in patterns):
            continue
        if any(p.fullmatch(tidy) for p in loose):
            folder = next((part for part in raw.split("/") if part != part.strip()), raw.split("/")[0])
            message = (
                f"{folder!r} begins or ends with a blank: rename it, and layout {name} fits"
                if folder != folder.strip()
                else f"layout {name} fits but for upper and lower case: rename"
            )
            findings.setdefault(folder, Finding("near-name", "warning", folder, message))
    return list(findings.values())[:MAX_SHOWN]


def _nested(name: str, patterns: list[PathPattern], listing: Listing) -> list[Finding]:
    """The layout below a folder of the folder."""
    roots: dict[str, int] = {}
    for key, _ in _present(listing):
        parts = key.split("/")
        for depth in range(1, min(len(parts), 4)):
            if any(p.match("/".join(parts[depth:])) for p in patterns):
                root = "/".join(parts[:depth])
                roots[root] = roots.get(root, 0) + 1
                break
    return [
        Finding("near-folder", "warning", root, f"layout {name} begins in this folder ({n} matches): name it instead")
        for root, n in sorted(roots.items(), key=lambda item: -item[1])
    ][:MAX_SHOWN]


def _unfinished(name: str, patterns: list[PathPattern], listing: Listing) -> list[Finding]:
    keys = [key for key in sorted(listing.partial) if any(p.match(without_partial_suffix(key)) for p in patterns)]
    message = f"a file of layout {name} that is only half downloaded"
    return [Finding("near-partial", "warning", listing.files[key].path, message) for key in keys[:MAX_SHOWN]]
