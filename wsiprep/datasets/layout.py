"""Which layout a folder has, and which file belongs to which slide. Pairs are made by exact names, never by order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from wsiprep.config.dataset import DatasetSpec, Items, Layout
from wsiprep.datasets.findings import Finding
from wsiprep.datasets.listing import ARCHIVE_SUFFIXES, Listing
from wsiprep.datasets.patterns import compile_pattern, composed, filled


@dataclass(frozen=True, slots=True)
class FoundSlide:
    """A slide (or a collection) that is there.

    Attributes:
        id: its id as the items make it, raw (not a slug).
        path: relative path as the file system has it; of a folder without the slash at the end.
        slide_class: its class, or None where nothing tells it.
        annotation: relative path of its annotation file or folder, or None.
        tissue: the same of its tissue mask.
    """

    id: str
    path: str
    items: Items
    places: Mapping[str, str]
    slide_class: str | None = None
    annotation: str | None = None
    tissue: str | None = None


@dataclass(frozen=True, slots=True)
class LayoutMatch:
    """A layout applied to a folder: its slides, and every file that it accounts for."""

    name: str
    layout: Layout
    slides: tuple[FoundSlide, ...]
    claimed: frozenset[str]
    findings: tuple[Finding, ...] = field(default=())


def match_layout(spec: DatasetSpec, name: str, listing: Listing) -> LayoutMatch:
    """Apply one layout; it has no slides where it does not fit."""
    layout = spec.layouts[name]
    claimed: set[str] = set()
    findings: list[Finding] = []
    slides: list[FoundSlide] = []
    for items in layout.items:
        pattern = compile_pattern(items.path, items.where)
        present: Iterable[str] = (f"{f}/" for f in listing.folders) if pattern.is_folder else listing.files
        for key in sorted(present):
            places = pattern.match(key)
            if places is None or key in claimed or key in listing.partial:
                continue
            claimed.add(key)
            slides.append(_slide(spec, items, key, places, listing, claimed, findings))
        _claim_sidecars(items, listing, claimed)
    findings += _twins(slides)
    _claim_allowed(layout, listing, claimed)
    if layout.table is not None:
        claimed.add(composed(layout.table.path))
    claimed |= {composed(c.file or c.path or "") for c in spec.checksums}
    return LayoutMatch(name, layout, tuple(slides), frozenset(claimed), tuple(findings))


def _slide(
    spec: DatasetSpec,
    items: Items,
    key: str,
    places: Mapping[str, str],
    listing: Listing,
    claimed: set[str],
    findings: list[Finding],
) -> FoundSlide:
    slide_id = filled(items.id, places)
    there = [p for p in (filled(t, places) for t in items.annotation) if _exists(p, listing)]
    claimed |= {composed(p) for p in there}
    if len(there) > 1 and items.pairing == "only":
        findings.append(
            Finding("ambiguous-annotation", "error", _raw(key, listing), f"has several: {', '.join(there)}; keep one")
        )
    tissue = None if items.tissue is None else filled(items.tissue, places)
    if tissue is not None:
        claimed.add(composed(tissue))
    return FoundSlide(
        id=slide_id,
        path=_raw(key, listing),
        items=items,
        places=places,
        slide_class=class_of(spec, items, slide_id, places),
        annotation=_raw(composed(there[0]), listing) if there else None,
        tissue=_raw(composed(tissue), listing) if tissue is not None and _exists(tissue, listing) else None,
    )


def class_of(spec: DatasetSpec, items: Items, slide_id: str, places: Mapping[str, str]) -> str | None:
    """What the recipe says: the items' class, the place, or the first expression that the id matches."""
    if items.slide_class is not None:
        return items.slide_class
    if "class" in places:
        return places["class"]
    return next((name for name, pattern in spec.classes.items() if re.fullmatch(pattern, slide_id)), None)


def _exists(path: str, listing: Listing) -> bool:
    key = composed(path)
    if path.endswith("/"):
        return key.rstrip("/") in listing.folders
    return key in listing.files and key not in listing.partial


def _raw(key: str, listing: Listing) -> str:
    """The path as the file system writes it."""
    entry = listing.files.get(key)
    return listing.folders[key.rstrip("/")] if entry is None else entry.path


def _claim_sidecars(items: Items, listing: Listing, claimed: set[str]) -> None:
    patterns = [compile_pattern(text, items.where) for text in items.sidecars]
    claimed |= {key for key in listing.files if any(p.match(key) is not None for p in patterns)}


def _claim_allowed(layout: Layout, listing: Listing, claimed: set[str]) -> None:
    """A pattern with / at the end allows everything below the folder."""
    files = [compile_pattern(text) for text in layout.allowed if not text.endswith("/")]
    trees = [re.compile(compile_pattern(text).regex.pattern + ".*") for text in layout.allowed if text.endswith("/")]
    for key in listing.files:
        if any(p.match(key) is not None for p in files) or any(t.fullmatch(key) for t in trees):
            claimed.add(key)


def _twins(slides: Iterable[FoundSlide]) -> list[Finding]:
    seen: dict[str, FoundSlide] = {}
    findings = []
    for slide in slides:
        other = seen.setdefault(slide.id, slide)
        if other is not slide:
            message = f"has the id of {other.path}: one of them does not belong here"
            findings.append(Finding("twice", "error", slide.path, message))
    return findings


def orphans(match: LayoutMatch, listing: Listing) -> list[Finding]:
    """Annotation files of no slide, and files that no pattern of the layout knows."""
    patterns = [
        (compile_pattern(text, items.where), items)
        for items in match.layout.items
        for text in items.annotation
        if not text.endswith("/")
    ]
    suffixes = {f".{t.rsplit('.', 1)[-1]}".lower() for i in match.layout.items for t in (i.path, *i.annotation)}
    findings = []
    for key, entry in sorted(listing.files.items()):
        if key in match.claimed or key in listing.partial or key.lower().endswith(ARCHIVE_SUFFIXES):
            continue
        if any(pattern.match(key) is not None for pattern, _ in patterns):
            findings.append(Finding("orphan-annotation", "error", entry.path, "annotation of a slide that is not here"))
        elif any(key.lower().endswith(s) for s in suffixes):
            findings.append(Finding("unexpected", "error", entry.path, "looks like data, but no pattern has this name"))
        else:
            findings.append(Finding("unexpected", "warning", entry.path, "not part of the layout"))
    return findings
