"""check: a folder against what is known of its dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wsiprep.config.dataset import DatasetSpec
from wsiprep.datasets.checksums import DigestCache, truncation, verify
from wsiprep.datasets.expect import Count, compare, differences
from wsiprep.datasets.findings import SEVERITIES, Finding
from wsiprep.datasets.known import Facts, read_table
from wsiprep.datasets.layout import LayoutMatch, match_layout, orphans
from wsiprep.datasets.listing import Listing
from wsiprep.datasets.nearness import archives, expected_lines, found_lines, near_misses
from wsiprep.datasets.rois import check_rois
from wsiprep.datasets.rows import DatasetRow, make_row
from wsiprep.datasets.tiles import count_tiles
from wsiprep.errors import UsageError
from wsiprep.progress import Reporter


@dataclass(frozen=True, slots=True)
class Options:
    """What a check does beside looking at names.

    Attributes:
        layout: the layout's name; None takes the first that matches.
        checksums: compare digests.
        headers: look for TIFF files that end too early.
        drop_disputed: apply the exclusions that sources disagree about.
    """

    layout: str | None = None
    checksums: bool = False
    headers: bool = True
    drop_disputed: bool = False


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What was found; ``layout`` is None where none fits."""

    layout: str | None
    rows: tuple[DatasetRow, ...] = ()
    counts: tuple[Count, ...] = ()
    findings: tuple[Finding, ...] = ()
    tiles: Mapping[str, int] = field(default_factory=dict)
    n_files: int = 0
    n_junk: int = 0
    n_verified: int = 0
    n_rois: int = 0
    expected_layouts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    seen: tuple[str, ...] = ()
    recipe_keys: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether nothing differs; warnings and notes are no differences."""
        return not any(f.severity == "error" for f in self.findings)

    @property
    def classes(self) -> dict[str, int]:
        """class -> rows that are here."""
        return dict(sorted(Counter(row.slide_class or "unknown" for row in self.rows).items()))

    @property
    def states(self) -> dict[str, int]:
        """annotation_state -> rows that are not left out."""
        kept = [row for row in self.rows if row.exclude is None]
        return dict(sorted(Counter(row.cells["annotation_state"] for row in kept).items()))


def check_listing(
    spec: DatasetSpec,
    collections: Mapping[str, Mapping[str, Any]],
    facts: Facts,
    listing: Listing,
    options: Options,
    cache: DigestCache,
    reporter: Reporter,
) -> CheckResult:
    """Compare a folder with a dataset that has layouts of its own.

    Args:
        spec: what is known of the dataset.
        collections: layout -> the recipe's ``collection`` section as it is with that layout's keys.
        facts: what is known of single slides.
        listing: the folder.
        options: see there.
        cache: of digests.
        reporter: told of the progress through checksums and headers.
    """
    match = find_layout(spec, listing, options.layout)
    if match is None:
        return _nothing(spec, listing)
    table = read_table(match.layout.table, listing)
    findings = [*listing.findings, *match.findings, *table.findings]
    claimed = set(match.claimed)
    tiles: dict[str, int] = {}
    rows = []
    for slide in match.slides:
        row, problems = make_row(spec, slide, facts, table, drop_disputed=options.drop_disputed)
        rows.append(row)
        findings += problems
        if slide.items.kind == "collection":
            found = count_tiles(slide, collections[match.name], listing, spec.tiles)
            tiles[slide.id] = found.count
            claimed |= found.claimed
            findings += found.findings
    more, roi_files, n_rois = check_rois(spec.rois, listing)
    findings += more
    whole = LayoutMatch(match.name, match.layout, match.slides, frozenset(claimed | roi_files))
    findings += orphans(whole, listing)
    findings += [f for f in archives(listing) if f.path not in claimed]
    counts = compare(spec.expect, rows, tiles, match.name)
    findings += differences(counts)
    findings += _patients(spec, rows)
    if options.headers:
        findings += _headers(match, listing, reporter)
    n_verified = 0
    if options.checksums:
        wrong, n_verified = verify(spec.checksums, listing, cache, reporter)
        findings += wrong
    return CheckResult(
        layout=match.name,
        rows=tuple(sorted(rows, key=lambda r: r.id)),
        counts=tuple(counts),
        findings=_once(findings),
        tiles=tiles,
        n_files=len(listing.files),
        n_junk=listing.n_junk,
        n_verified=n_verified,
        n_rois=n_rois,
        recipe_keys=match.layout.recipe,
    )


def find_layout(spec: DatasetSpec, listing: Listing, name: str | None) -> LayoutMatch | None:
    """The named layout, else the first that has a slide here.

    Raises:
        UsageError: the dataset has no layout of that name.
    """
    if name is not None and name not in spec.layouts:
        raise UsageError("there is no such layout", got=name, expected=", ".join(spec.layouts))
    for candidate in (name,) if name is not None else spec.layouts:
        match = match_layout(spec, candidate, listing)
        if match.slides:
            return match
    return None


def _nothing(spec: DatasetSpec, listing: Listing) -> CheckResult:
    near = near_misses(spec, listing)
    message = "no layout of this dataset is here"
    findings = [Finding("no-layout", "error", "", message), *near, *listing.findings]
    return CheckResult(
        layout=None,
        findings=_once(findings),
        n_files=len(listing.files),
        n_junk=listing.n_junk,
        expected_layouts={name: tuple(expected_lines(layout)) for name, layout in spec.layouts.items()},
        seen=tuple(found_lines(listing)),
    )


def _headers(match: LayoutMatch, listing: Listing, reporter: Reporter) -> list[Finding]:
    findings = []
    slides = [s for s in match.slides if s.items.kind == "slide"]
    with reporter.task("headers", len(slides)) as task:
        for slide in slides:
            end = truncation(listing.root / slide.path)
            if end is not None:
                message = f"half downloaded or damaged: {end}; fetch it again"
                findings.append(Finding("truncated", "error", slide.path, message))
            task.advance()
    return findings


def _patients(spec: DatasetSpec, rows: list[DatasetRow]) -> list[Finding]:
    if not spec.patient:
        return []
    without = [row.id for row in rows if not row.cells["patient"] and row.exclude is None]
    if not without:
        return []
    shown = ", ".join(without[:5]) + (", ..." if len(without) > 5 else "")
    message = f"{len(without)} slides fit no patient rule and count as a patient of their own: {shown}"
    return [Finding("no-patient", "warning", "", message)]


def _once(findings: list[Finding]) -> tuple[Finding, ...]:
    """Each once, errors first, otherwise in the order found."""
    unique = list(dict.fromkeys(findings))
    return tuple(sorted(unique, key=lambda f: SEVERITIES.index(f.severity)))
