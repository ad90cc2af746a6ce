"""Found against expected: counts by class with the source of each number."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from wsiprep.config.published import Expectation
from wsiprep.datasets.findings import Finding
from wsiprep.datasets.rows import DatasetRow


@dataclass(frozen=True, slots=True)
class Count:
    """One expectation with what was found."""

    name: str
    found: int
    expected: tuple[int, ...]
    source: str
    severity: str
    unverified: bool

    @property
    def agrees(self) -> bool:
        return self.found in self.expected

    def to_dict(self) -> dict[str, object]:
        return {
            "name": self.name, "found": self.found, "expected": list(self.expected), "agrees": self.agrees,
            "source": self.source, "unverified": self.unverified,
        }  # fmt: skip


def compare(
    expected: Sequence[Expectation], rows: Sequence[DatasetRow], tiles: dict[str, int], layout: str
) -> list[Count]:
    """Every expectation of a layout with its count; withdrawn slides are not counted."""
    return [
        Count(_name(e), _found(e, rows, tiles), (e.count, *e.accept), e.source, e.severity, e.unverified)
        for e in expected
        if not e.layouts or layout in e.layouts
    ]


def differences(counts: Sequence[Count]) -> list[Finding]:
    """The counts that nobody published."""
    findings = []
    for count in counts:
        if count.agrees:
            continue
        wanted = " or ".join(str(n) for n in count.expected)
        doubt = " (unverified)" if count.unverified else ""
        message = f"{count.name}: found {count.found}, expected {wanted}{doubt}; {count.source}"
        severity = "warning" if count.severity == "warning" else "error"
        findings.append(Finding("count", severity, "", message))  # type: ignore[arg-type]
    return findings


def _name(expectation: Expectation) -> str:
    words = [expectation.what, *([expectation.slide_class] if expectation.slide_class else [])]
    return " ".join([*words, *([f"/{expectation.match}/"] if expectation.match else [])])


def _found(expectation: Expectation, rows: Sequence[DatasetRow], tiles: dict[str, int]) -> int:
    classes = None if expectation.slide_class is None else expectation.slide_class.split("|")
    wanted = [
        row
        for row in rows
        if row.counted
        and (classes is None or row.slide_class in classes)
        and (expectation.match is None or re.fullmatch(expectation.match, row.id))
    ]
    if expectation.what == "annotations":
        return sum(row.has_annotation for row in wanted)
    if expectation.what == "patients":
        return len({row.cells["patient"] for row in wanted if row.cells["patient"]})
    if expectation.what == "tiles":
        return sum(tiles.get(row.id, 0) for row in wanted)
    return len(wanted)
