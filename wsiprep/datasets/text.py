"""What check and show say, as text for people."""

from __future__ import annotations

from collections.abc import Iterable

from wsiprep.config import Recipe
from wsiprep.config.dataset import DatasetSpec, Layout
from wsiprep.config.published import Expectation
from wsiprep.datasets.check import CheckResult
from wsiprep.datasets.findings import SEVERITIES, Finding
from wsiprep.datasets.nearness import expected_lines

MAX_PER_KIND = 20


def check_text(name: str, spec: DatasetSpec, result: CheckResult) -> str:
    """Found against expected, then what differs, then what is not certain."""
    lines = [f"{name}: {_layout_line(spec, result)}"]
    if result.layout is None:
        lines += _no_layout(result)
    else:
        lines += ["found of each class: " + (_counted(result.classes) or "nothing")]
        lines += ["annotation states: " + (_counted(result.states) or "none")]
        lines += [f"tiles: {sum(result.tiles.values())} in {len(result.tiles)} collections"] if result.tiles else []
        lines += _counts(result)
        lines += [f"checksums that agree: {result.n_verified}"] if result.n_verified else []
        lines += [f"cut-out regions as large as their names say: {result.n_rois}"] if result.n_rois else []
    lines += _findings(result.findings)
    lines += _list("unverified facts", spec.unverified_facts)
    lines += _list("licence", (spec.licence.spdx, *spec.licence.limits))
    errors = sum(f.severity == "error" for f in result.findings)
    lines.append("as expected" if result.ok else f"{errors} difference(s)")
    return "\n".join(lines)


def show_text(recipe: Recipe, spec: DatasetSpec) -> str:
    """Everything that is known of a dataset."""
    lines = [f"{recipe.name}: {recipe.title}", f"homepage: {spec.homepage or 'none'}"]
    lines += _list("cite", (" ".join(p for p in (c.text, c.doi and f"doi:{c.doi}", c.url) if p) for c in spec.citation))
    lines += _list("licence", (spec.licence.spdx, *spec.licence.limits))
    lines.append(f"labels: {', '.join(recipe.labels)}")
    for name, layout in spec.layouts.items():
        lines += _layout(name, layout)
    lines += _list("parts", (f"{n}: {p.dataset} in {' or '.join(p.folders)}" for n, p in spec.parts.items()))
    lines += _list("expected", (_expectation(e) for e in spec.expect))
    states = (f"{n}: with a file {r.with_file}, without {r.without_file}" for n, r in spec.states.items())
    lines += _list("states", states)
    rules = (("patient", spec.patient), ("centre", spec.centre), ("split", spec.split), ("fold", spec.fold))
    lines += _list("groups", (f"{n}: {r.match} ({r.provenance}; {r.source})" for n, g in rules for r in g))
    lines += _list("tiles to look at", (f"{t.match}: {t.note} ({t.source})" for t in spec.tiles))
    lines += _list("published patches", (f"{p.count} {p.split}; {p.source}" for p in spec.patches))
    lines += _list("checksums", (f"{c.algorithm} of {c.file or c.path}" for c in spec.checksums))
    lines += _list("unverified facts", spec.unverified_facts)
    return "\n".join(lines)


def _layout(name: str, layout: Layout) -> list[str]:
    title = f"layout {name}" + (f" ({layout.note})" if layout.note else "")
    table = (f"table {layout.table.path}",) if layout.table is not None else ()
    return _list(title, (*expected_lines(layout), *table))


def _layout_line(spec: DatasetSpec, result: CheckResult) -> str:
    junk = f", {result.n_junk} left by file managers" if result.n_junk else ""
    if result.layout is None:
        return f"no layout fits ({result.n_files} files{junk})"
    layout = spec.layouts.get(result.layout)
    note = f" ({layout.note})" if layout is not None and layout.note else ""
    return f"layout {result.layout}{note}, {result.n_files} files{junk}"


def _no_layout(result: CheckResult) -> list[str]:
    lines = []
    for name, patterns in result.expected_layouts.items():
        lines += _list(f"expected for layout {name}", patterns)
    return lines + _list("found", result.seen or ("nothing",))


def _counts(result: CheckResult) -> list[str]:
    if not result.counts:
        return []
    width = max(len(c.name) for c in result.counts)
    lines = ["found of expected:"]
    for count in result.counts:
        wanted = " or ".join(str(n) for n in count.expected)
        mark = "ok" if count.agrees else "DIFFERS"
        doubt = " [unverified]" if count.unverified else ""
        lines.append(f"  {count.name:<{width}}  {count.found:>6} of {wanted:<9} {mark:<8} {count.source}{doubt}")
    return lines


def _findings(findings: Iterable[Finding]) -> list[str]:
    lines: list[str] = []
    for severity in SEVERITIES:
        kinds: dict[str, list[Finding]] = {}
        for finding in findings:
            if finding.severity == severity:
                kinds.setdefault(finding.kind, []).append(finding)
        for kind, found in kinds.items():
            lines.append(f"{severity}: {kind} ({len(found)})")
            lines += [f"  {f.path + ': ' if f.path else ''}{f.message}" for f in found[:MAX_PER_KIND]]
            lines += [f"  and {len(found) - MAX_PER_KIND} more (--json has all)"] if len(found) > MAX_PER_KIND else []
    return lines


def _expectation(e: Expectation) -> str:
    wanted = " or ".join(str(n) for n in (e.count, *e.accept))
    doubt = " [unverified]" if e.unverified else ""
    of = f" of {e.slide_class}" if e.slide_class else ""
    return f"{wanted} {e.what}{of}; {e.source}{doubt}"


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in counts.items())


def _list(title: str, items: Iterable[str]) -> list[str]:
    shown = list(items)
    return [f"{title}:", *(f"  {item}" for item in shown)] if shown else []
