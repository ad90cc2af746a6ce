"""From what was found to the rows of a manifest, each with its state, groups, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wsiprep.config.dataset import ANY_CLASS, DatasetSpec, StateRule
from wsiprep.datasets.findings import Finding
from wsiprep.datasets.known import Facts, Known, TableRows, rule_of
from wsiprep.datasets.layout import FoundSlide

NO_REASON = "no reason given"


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """A row of the manifest, before it is written.

    Attributes:
        cells: column -> text, the manifest's own columns and the reasons.
        slide_class: its class, for counting.
        counted: whether published counts count it (withdrawn slides are not).
        has_annotation: whether it has an annotation file.
        exclude: the reason to leave it out, or None.
        optional: the same of a disputed reason that was not applied.
    """

    cells: Mapping[str, str]
    slide_class: str | None
    counted: bool
    has_annotation: bool
    exclude: str | None = None
    optional: str | None = None

    @property
    def id(self) -> str:
        """The id as the names have it; the manifest's reader makes a safe one of it and keeps this."""
        return self.cells["slide_id"]


def make_row(
    spec: DatasetSpec, slide: FoundSlide, facts: Facts, table: TableRows, *, drop_disputed: bool
) -> tuple[DatasetRow, list[Finding]]:
    """The row of one slide, and what is wrong with it.

    Annotation states come from a fact of the slide, else from the state rule of its class. A tumour
    slide without its file never becomes a normal one: it is a finding, and its state is ``none``.
    """
    known = facts.of(slide.id)
    key = table.key(slide.id, slide.path)
    slide_class = _text(known.value("slide_class")) or table.classes.get(key) or slide.slide_class
    findings: list[Finding] = []
    for path in (slide.path, slide.annotation or ""):
        if path != path.strip():
            message = "its path begins or ends with a blank, which a manifest cannot hold: rename it"
            findings.append(Finding("name", "error", slide.path, message))
    state, exclude, reason = _state(spec, slide, slide_class, known, findings)
    fact = known.exclusion
    optional = None
    if fact is not None and (not fact.optional or drop_disputed):
        exclude = f"{fact.exclude} ({fact.source})"
        message = f"left out: {exclude}"
        findings.append(Finding("withdrawn" if fact.withdrawn else "excluded", "note", slide.path, message))
    elif fact is not None:
        optional = f"{fact.exclude} ({fact.source})"
        message = f"kept, though some leave it out: {optional}"
        findings.append(Finding("disputed", "note", slide.path, message))
    patient, patient_rule = rule_of(spec.patient, slide.id)
    centre, _ = rule_of(spec.centre, slide.id)
    split, _ = rule_of(spec.split, slide.id)
    fold, _ = rule_of(spec.fold, slide.id)
    spacing = known.value("spacing_um")
    given = known.value("patient") is not None
    provenance = "released" if given else (patient_rule.provenance if patient_rule is not None else "unknown")
    annotation = slide.annotation if state in ("exhaustive", "partial") else None
    cells = {
        "slide_id": slide.id,
        "slide": slide.path,
        "annotation": annotation or "",
        "annotation_state": state,
        "patient": _text(known.value("patient")) or patient or "",
        "centre": _text(known.value("centre")) or centre or "",
        "split": _text(known.value("split")) or split or "",
        "fold": fold or "",
        "source": slide.items.source or "",
        "spacing_um": "" if spacing is None else f"{spacing}",
        "tissue": slide.tissue or "",
        "class": slide_class or "",
        "patient_provenance": provenance,
        table.column: table.values.get(key, ""),
        "exclude": exclude or "",
        "disputed": optional or "",
        "note": "; ".join(t for t in (reason, known.notes) if t),
        "facts": known.sources,
    }
    counted = fact is None or not fact.withdrawn
    return DatasetRow(cells, slide_class, counted, slide.annotation is not None, exclude, optional), findings


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _state(
    spec: DatasetSpec, slide: FoundSlide, slide_class: str | None, known: Known, findings: list[Finding]
) -> tuple[str, str | None, str]:
    """annotation_state, a reason to leave the slide out (or None), and a note."""
    if slide.annotation is None and known.value("annotation") == "required":
        message = f"it is known to be annotated ({known.notes}), but its file is missing"
        findings.append(Finding("missing-annotation", "error", slide.path, message))
        return "none", None, message
    state = known.value("annotation_state")
    if state is not None:
        return _declared(str(state), slide, findings), None, ""
    rule = spec.states.get(slide_class or "", spec.states.get(ANY_CLASS))
    if rule is None:
        message = f"its class ({slide_class or 'unknown'}) has no state rule, so nobody can say what is not outlined"
        findings.append(Finding("unknown-class", "error", slide.path, message))
        return "none", None, message
    by_rule = _unannotated if slide.annotation is None else _annotated
    return by_rule(rule, slide, slide_class, findings)


def _unannotated(
    rule: StateRule, slide: FoundSlide, slide_class: str | None, findings: list[Finding]
) -> tuple[str, str | None, str]:
    if rule.without_file == "error":
        message = f"the annotation of a slide of class {slide_class} is missing"
        message += f": {' or '.join(slide.items.annotation)}" if slide.items.annotation else ""
        findings.append(Finding("missing-annotation", "error", slide.path, message))
        return "none", None, message
    if rule.without_file == "exclude":
        return "none", _because(rule) or NO_REASON, ""
    return rule.without_file, None, ""


def _annotated(
    rule: StateRule, slide: FoundSlide, slide_class: str | None, findings: list[Finding]
) -> tuple[str, str | None, str]:
    if rule.with_file != "error":
        return rule.with_file, None, _because(rule) if rule.with_file == "partial" else ""
    message = f"a slide of class {slide_class} should have no annotation, but has {slide.annotation}"
    findings.append(Finding("contradiction", "error", slide.path, message))
    return "none", None, message


def _because(rule: StateRule) -> str:
    return f"{rule.reason} ({rule.source})" if rule.reason and rule.source else rule.reason


def _declared(state: str, slide: FoundSlide, findings: list[Finding]) -> str:
    if state in ("exhaustive", "partial") and slide.annotation is None:
        message = f"it is known to be annotated ({state}), but its file is missing"
        findings.append(Finding("missing-annotation", "error", slide.path, message))
        return "none"
    if state in ("normal", "none") and slide.annotation is not None:
        message = f"its state is known to be {state}, so {slide.annotation} is not used"
        findings.append(Finding("unused-annotation", "note", slide.path, message))
    return state
