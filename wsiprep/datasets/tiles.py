"""Collections: the tiles of a folder or stack, and the label of each, paired by exact name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wsiprep.config.published import TileNote
from wsiprep.datasets.checksums import file_digest
from wsiprep.datasets.findings import Finding
from wsiprep.datasets.layout import FoundSlide
from wsiprep.datasets.listing import Listing
from wsiprep.datasets.patterns import compile_pattern, composed

MAX_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Tiles:
    """The tiles of one collection.

    Attributes:
        count: number of tiles.
        claimed: files that are tiles, labels or the collection's table.
        findings: tiles without labels, labels without a tile, stacks that cannot be read.
    """

    count: int
    claimed: frozenset[str]
    findings: tuple[Finding, ...] = ()


def count_tiles(
    slide: FoundSlide, collection: Mapping[str, Any], listing: Listing, notes: Sequence[TileNote] = ()
) -> Tiles:
    """Count a collection's tiles by the recipe's ``collection`` section.

    Args:
        slide: the collection; its path is a folder, or a stack (``.npy``).
        collection: the section's keys: images, labels, table, tissue.
        listing: the folder.
        notes: what is known of single tiles; each that is here is a warning with the sha256 of its file.
    """
    if composed(slide.path) in listing.files:
        return _stack(slide, collection, listing)
    claimed: set[str] = set()
    images = _named(slide.path, str(collection["images"]), listing)
    claimed |= set(images.values())
    if collection.get("table"):
        claimed.add(composed(f"{slide.path}/{collection['table']}"))
    findings: list[Finding] = []
    if not images:
        message = f"no tile named {collection['images']}"
        findings.append(Finding("missing-tiles", "error", slide.path, message))
    if collection.get("labels") and slide.annotation is not None:
        labels = _named(slide.annotation, str(collection["labels"]), listing)
        claimed |= set(labels.values())
        findings += _pairs(slide, images, labels, listing)
    findings += _noted(images, notes, listing)
    return Tiles(len(images), frozenset(claimed), tuple(findings))


def _named(folder: str, pattern: str, listing: Listing) -> dict[str, str]:
    """tile -> composed path of the files in a folder that the pattern names."""
    prefix = composed(f"{folder}/")
    compiled = compile_pattern(pattern)
    found: dict[str, str] = {}
    for key in listing.files:
        if key.startswith(prefix) and key not in listing.partial:
            places = compiled.match(key[len(prefix) :])
            if places is not None:
                found[places["tile"]] = key
    return found


def _pairs(slide: FoundSlide, images: Mapping[str, str], labels: Mapping[str, str], listing: Listing) -> list[Finding]:
    findings = []
    without = sorted(set(images) - set(labels))
    for tile in without[:MAX_SHOWN]:
        path = listing.files[images[tile]].path
        findings.append(Finding("missing-labels", "error", path, f"no labels of this tile in {slide.annotation}"))
    alone = sorted(set(labels) - set(images))
    for tile in alone[:MAX_SHOWN]:
        path = listing.files[labels[tile]].path
        findings.append(Finding("orphan-annotation", "error", path, f"no tile of this name in {slide.path}"))
    more = max(0, len(without) - MAX_SHOWN) + max(0, len(alone) - MAX_SHOWN)
    if more:
        findings.append(Finding("missing-labels", "error", slide.path, f"and {more} more tiles or labels alone"))
    return findings


def _noted(images: Mapping[str, str], notes: Sequence[TileNote], listing: Listing) -> list[Finding]:
    findings = []
    for tile, key in sorted(images.items()):
        for note in notes:
            if re.fullmatch(note.match, tile):
                path = listing.files[key].path
                message = f"{note.note} ({note.source}); here: sha256 {_digest(path, listing)}"
                findings.append(Finding("tile-note", "warning", path, message))
    return findings


def _digest(path: str, listing: Listing) -> str:
    try:
        return file_digest(listing.root / path, "sha256")
    except OSError as error:
        return f"unreadable: {error.strerror}"


def _stack(slide: FoundSlide, collection: Mapping[str, Any], listing: Listing) -> Tiles:
    if not slide.path.lower().endswith(".npy"):
        return Tiles(0, frozenset(), (Finding("bad-stack", "error", slide.path, "a stack of tiles is a .npy file"),))
    findings: list[Finding] = []
    lengths = {}
    paths = [slide.path, *((slide.annotation,) if slide.annotation else ())]
    for name in (collection.get("tissue"), collection.get("table")):
        if name:
            beside = f"{slide.path.rpartition('/')[0]}/{name}".lstrip("/")
            if composed(beside) not in listing.files:
                message = f"{name} is missing beside it, which says what each tile is"
                findings.append(Finding("missing-table", "error", slide.path, message))
            elif name == collection.get("tissue"):
                paths.append(beside)
    for path in paths:
        length, problem = _length(path, listing)
        if problem is not None:
            findings.append(problem)
        lengths[path] = length
    known = {n for n in lengths.values() if n is not None}
    if len(known) > 1:
        message = ", ".join(f"{path}: {n}" for path, n in lengths.items())
        findings.append(
            Finding("missing-labels", "error", slide.path, f"stacks that belong together differ in number: {message}")
        )
    return Tiles(lengths[slide.path] or 0, frozenset(), tuple(findings))


def _length(path: str, listing: Listing) -> tuple[int | None, Finding | None]:
    """Number of tiles of a stack, from its header; the file must be as long as the header says."""
    import numpy as np

    try:
        stack = np.load(listing.root / path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        size = listing.files[composed(path)].size
        message = f"cannot be read as a stack ({size} bytes; half downloaded?): {error}"
        return None, Finding("bad-stack", "error", path, message)
    return int(stack.shape[0]) if stack.ndim else 0, None
