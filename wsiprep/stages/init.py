"""init: a manifest and a recipe for one's own slides, and what there is to check about them."""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from wsiprep.annotations import SlideFrame, parse_annotations
from wsiprep.artifacts import write_bytes
from wsiprep.errors import AnnotationError, SlideError, UsageError
from wsiprep.geometry import Size, spacing_matches
from wsiprep.manifest import slug
from wsiprep.progress import Reporter
from wsiprep.slides import open_slide
from wsiprep.stages.labels import frame_of
from wsiprep.stages.tile import COMMON_GROUPS

SLIDE_SUFFIXES = (".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".dcm")
ANNOTATION_SUFFIXES = (".xml", ".ndpa", ".geojson", ".json")
GROUP_PATTERNS = (
    re.compile(r"^(TCGA-[A-Z0-9]{2}-[A-Z0-9]{4})"),
    re.compile(r"^(patient_\d{3})", re.IGNORECASE),
)
"""File names that tell the patient: TCGA's first three fields, CAMELYON17's patient_PPP."""


_ANY_SIZE = Size(1 << 30, 1 << 30)
"""Of slides that cannot be opened: their annotations are read all the same, for the list of groups."""


@dataclass(slots=True)
class _Findings:
    """What was seen, for the summary that init prints."""

    spacings: dict[str, float | None] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    groups: Counter[str] = field(default_factory=Counter)
    bad_annotations: dict[str, str] = field(default_factory=dict)
    unpaired_annotations: list[str] = field(default_factory=list)
    unannotated: list[str] = field(default_factory=list)
    series: dict[str, str] = field(default_factory=dict)
    parts: list[str] = field(default_factory=list)


def init_cohort(slides: Path, annotations: Path | None, out: Path, reporter: Reporter, *, force: bool = False) -> str:
    """Write ``manifest.csv`` and ``recipe.yaml`` into ``out``; returns a summary to read.

    Raises:
        UsageError: no slides there, or the files exist already and ``force`` is off.
    """
    targets = [out / "manifest.csv", out / "recipe.yaml"]
    present = [str(t) for t in targets if t.exists()]
    if present and not force:
        raise UsageError("files are there already", got=", ".join(present), fix="another --out, or --force")
    files = _slide_files(slides)
    pairs = _annotation_files(annotations)
    findings = _Findings()
    rows = []
    with reporter.task("reading headers", len(files)) as task:
        for path in files:
            row = _row(path, pairs.pop(_stem(path), None), out, findings)
            if row is not None:
                rows.append(row)
            task.advance()
    findings.unpaired_annotations = sorted(str(p) for p in pairs.values())
    write_bytes(targets[0], _manifest_bytes(rows))
    write_bytes(targets[1], _recipe_text(out.resolve().name, findings).encode())
    return _summary(targets, rows, findings)


def _slide_files(folder: Path) -> list[Path]:
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise UsageError("there is no such folder of slides", got=str(folder))
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SLIDE_SUFFIXES and p.is_file())
    if not files:
        raise UsageError("no slides there", got=str(folder), expected=f"files ending in {', '.join(SLIDE_SUFFIXES)}")
    return files


def _annotation_files(folder: Path | None) -> dict[str, Path]:
    if folder is None:
        return {}
    if not folder.is_dir():
        raise UsageError("there is no such folder of annotations", got=str(folder))
    found: dict[str, Path] = {}
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in ANNOTATION_SUFFIXES):
        other = found.setdefault(_stem(path), path)
        if other is not path:
            raise UsageError("two annotation files have the same stem", got=f"{other} and {path}")
    return found


def _stem(path: Path) -> str:
    """Stem by which slide and annotation pair: ``x.svs``, ``x.xml`` and ``x.svs.xml`` are one."""
    stem = path.stem
    for suffix in SLIDE_SUFFIXES:
        stem = stem.removesuffix(suffix)
    return stem


def _row(path: Path, annotation: Path | None, out: Path, findings: _Findings) -> dict[str, str] | None:
    """The slide's row; None for a file that is part of a slide that has one (DICOM: an instance of its series)."""
    frame = SlideFrame(_ANY_SIZE, name=path.name)
    try:
        with open_slide(path) as slide:
            info = slide.info
        if path.suffix.lower() == ".dcm" and findings.series.setdefault(info.identity, path.name) != path.name:
            findings.parts.append(f"{path.name}: of {findings.series[info.identity]}")
            return None
        findings.spacings[path.name] = None if info.spacing is None else info.spacing.mean_um
        frame = frame_of(info, path.name)
    except SlideError as error:
        findings.unreadable[path.name] = error.message
    if annotation is None:
        findings.unannotated.append(path.name)
    else:
        try:
            findings.groups.update(shape.group for shape in parse_annotations(annotation, "auto", frame).shapes)
        except AnnotationError as error:
            findings.bad_annotations[annotation.name] = str(error)
    patient = next((m.group(1) for p in GROUP_PATTERNS if (m := p.match(path.name))), "")
    return {
        "slide_id": slug(_stem(path)),
        "slide": _relative(path, out),
        "annotation": "" if annotation is None else _relative(annotation, out),
        "annotation_state": "none" if annotation is None else "exhaustive",
        "patient": patient,
    }


def _relative(path: Path, out: Path) -> str:
    return os.path.relpath(path.absolute(), out.absolute())


def _manifest_bytes(rows: list[dict[str, str]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _recipe_text(name: str, findings: _Findings) -> str:
    known = sorted({v for v in findings.spacings.values() if v is not None})
    distinct: list[float] = []
    for value in known:
        if not any(spacing_matches(value, other) for other in distinct):
            distinct.append(value)
    groups = [f"    {_quoted(g)}: {_label_for(g)}" for g in sorted(findings.groups)]
    lines = [
        "# Written by wsiprep init: check it, then run snakemake. docs/recipe.md lists every key.",
        f"name: {slug(name)}",
        "licence: unknown",
        "labels: [tumour]",
        "spacing_um: 1.0" if len(distinct) != 1 else f"downsample: {max(1, round(1.0 / distinct[0]))}",
        f"expect_um: [{', '.join(f'{v:g}' for v in distinct)}]",
        *(["resample: area   # the scanners' spacings have no common multiple"] if len(distinct) > 1 else []),
        "sampling:",
        "  patch_size_px: 512",
    ]
    if groups:
        lines += [
            "annotations:",
            "  groups:   # a label, background (subtracted), ignore (255), roi (only inside is annotated) or drop",
            *groups,
            "keep:",
            "  rules:",
            "    - {labels: [tumour], min: 0.05, max: 0.995}",
        ]
    lines += ["split:", "  by: patient", "  ratio: {train: 8, val: 1, test: 1}", "manifest: manifest.csv", ""]
    return "\n".join(lines)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _label_for(group: str) -> str:
    return COMMON_GROUPS.get(group, "drop   # not a name that wsiprep knows: decide")


def _summary(targets: list[Path], rows: list[dict[str, str]], findings: _Findings) -> str:
    values = Counter("unknown" if v is None else f"{v:.4g}" for v in findings.spacings.values())
    lines = [
        f"wrote {targets[0]} ({len(rows)} slides) and {targets[1]}",
        "um/px: " + ", ".join(f"{value} ({n} slides)" for value, n in sorted(values.items())),
        "annotation groups: " + (", ".join(f"{g} ({n})" for g, n in sorted(findings.groups.items())) or "none"),
        f"patients named: {len({r['patient'] for r in rows if r['patient']})} "
        f"({sum(not r['patient'] for r in rows)} slides count as a patient of their own)",
    ]
    for title, names in (
        ("slides without annotation (state none; say normal where you know that)", findings.unannotated),
        ("annotation files without a slide", findings.unpaired_annotations),
        ("files that belong to a slide listed already", findings.parts),
        ("slides without um/px (fill spacing_um)", [n for n, v in findings.spacings.items() if v is None]),
    ):
        if names:
            lines += [f"{title}: {len(names)}", *(f"  {name}" for name in names[:20])]
            lines += ["  ..."] if len(names) > 20 else []
    for title, problems in (("unreadable slides", findings.unreadable), ("bad annotations", findings.bad_annotations)):
        if problems:
            lines += [f"{title}: {len(problems)}", *(f"  {name}: {why}" for name, why in list(problems.items())[:20])]
    return "\n".join(lines)
