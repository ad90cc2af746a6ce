"""Reading a manifest: every value checked, every error with its line."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from wsiprep.errors import ManifestError
from wsiprep.manifest.checks import check_rows
from wsiprep.manifest.names import control_character, lookalike, slug
from wsiprep.manifest.references import Place, check_reference, require_inside, resolve
from wsiprep.manifest.row import AnnotationState, PatientProvenance, SlideRow, StainType

KNOWN_COLUMNS = (
    "slide_id", "slide", "annotation", "corrections", "annotators", "annotation_state", "patient",
    "patient_provenance", "centre", "split", "fold", "source", "spacing_um", "spacing_y_um", "stain_type", "tissue",
    "sha256",
)  # fmt: skip
MAX_ROWS = 1_000_000

_OTHER_NAMES = {
    "center": "centre", "patientid": "patient", "caseid": "patient", "slides": "slide", "annotations": "annotation",
    "correction": "corrections", "annotator": "annotators", "patients": "patient", "splits": "split",
    "folds": "fold", "mpp": "spacing_um", "spacing": "spacing_um",
}  # fmt: skip
"""Headers that people write for a column; passing one through unread would leak patients or lose a spacing."""

_NAMES = ("slide_id", "patient", "centre", "split", "source")
"""Columns whose values stand for something: no control characters, and no two that look the same."""


def read_manifest(
    path: str | Path, data_root: str | Path | None = None, confined: bool = False, *, only: str | None = None
) -> tuple[SlideRow, ...]:
    """All rows of a manifest, in file order, checked.

    The disk is not asked whether the files are there (``check_files``, ``SlideRow.located``): Snakemake reads the
    manifest whatever its jobs.

    Args:
        path: the CSV.
        data_root: what relative paths are relative to; default the manifest's folder.
        confined: all files that it names must lie below ``data_root``, links resolved: for manifests that
            came from elsewhere. URLs, absolute paths and ``..`` are then refused.
        only: a slide id: the rows of that slide alone are read and checked. For the jobs of a workflow, each
            of which is about one slide and would else check all the others again.

    Raises:
        ManifestError: with file and line: no ``slide`` column, a bad value or path, one file or id in two
            rows, two patients whose names look the same.
    """
    path = Path(path)
    root = Path(data_root) if data_root is not None else path.parent
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, strict=True)
            reader.fieldnames = _header(reader.fieldnames or [], path)
            rows: list[SlideRow] = []
            count = 0
            for count, record in enumerate(reader, 1):
                if count > MAX_ROWS:
                    raise ManifestError("too many rows", got=f"over {MAX_ROWS}", file=path)
                row = _Row(record, path, reader.line_num, root, confined)
                if only is None or row.may_be(only):
                    rows.append(row.read())
    except FileNotFoundError as error:
        raise ManifestError("there is no such manifest", got=str(path), fix="wsiprep init writes one") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError("the manifest cannot be read as CSV", got=str(error), file=path) from error
    if not count:
        raise ManifestError("the manifest has no rows", file=path, expected="a row a slide")
    check_rows(rows, path)
    return tuple(rows)


def _header(header: Iterable[str], path: Path) -> list[str]:
    names = [name.strip() for name in header]
    if "slide" not in names:
        raise ManifestError(
            "the manifest has no column 'slide'", got=", ".join(names) or "an empty file", file=path, line=1,
            expected=f"some of {', '.join(KNOWN_COLUMNS)}",
        )  # fmt: skip
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ManifestError("a column stands twice", got=", ".join(twice), file=path, line=1)
    plain = {name.replace("_", ""): name for name in KNOWN_COLUMNS} | _OTHER_NAMES
    for name in names:
        known = plain.get("".join(c for c in name.casefold() if c.isalnum()), name)
        if known not in names:
            raise ManifestError(
                f"a column is not called {known!r} but nearly so", got=repr(name), file=path, line=1,
                expected=known, fix="rename it (rename it to something else if it means something else)",
            )  # fmt: skip
    return names


@dataclass(frozen=True, slots=True)
class _Row:
    """One record of the CSV, and where it stands."""

    record: Mapping[str | None, str | None]
    file: Path
    line: int
    root: Path
    confined: bool

    def may_be(self, slide_id: str) -> bool:
        """Whether this is the row of a slide, or a row in which no slide can be told: ``read`` says why."""
        raw_id = self._raw_id(self._raw("slide"))
        return not raw_id or raw_id == slide_id or slug(raw_id) == slide_id

    def _raw_id(self, ref: str) -> str:
        return self._text("slide_id") or Path(ref).name.split(".")[0] or Path(ref).name or ref

    def read(self) -> SlideRow:
        if None in self.record:
            raise ManifestError("a row has more fields than the header", file=self.file, line=self.line)
        for name in _NAMES:
            self._check_name(name)
        ref = self._reference("slide", self._raw("slide"))
        if ref is None:
            raise ManifestError("a row names no slide", file=self.file, line=self.line)
        raw_id = self._raw_id(ref)
        annotation = self._reference("annotation", self._raw("annotation"))
        annotators = self._annotators()
        corrections = self._corrections(annotation or annotators)
        tissue = self._reference("tissue", self._raw("tissue"))
        return SlideRow(
            slide_id=slug(raw_id),
            raw_id=raw_id,
            slide=resolve(ref, self.root),
            slide_ref=ref,
            annotation=self._resolved(annotation),
            annotation_ref=annotation,
            annotation_state=self._state(annotation or (annotators[0][1] if annotators else None)),
            patient=self._patient(),
            centre=self._text("centre") or None,
            split=self._text("split") or None,
            fold=self._fold(),
            source=self._text("source") or None,
            spacing_um=self._spacing("spacing_um"),
            spacing_y_um=self._spacing_y(),
            stain_type="ihc" if self._choice("stain_type", get_args(StainType)) == "ihc" else "he",
            tissue=self._resolved(tissue),
            tissue_ref=tissue,
            sha256=self._text("sha256").lower() or None,
            corrections=tuple(resolve(ref, self.root) for ref in corrections),
            correction_refs=corrections,
            annotators=tuple((name, resolve(ref, self.root)) for name, ref in annotators),
            annotator_refs=annotators,
            extra={str(k): self._text(str(k)) for k in self.record if k not in _READ_HERE},
            line=self.line,
        )

    def _raw(self, name: str) -> str:
        # Blanks and tabs are spreadsheets' padding; a line break within a path is looked at.
        return (self.record.get(name) or "").strip(" \t")

    def _text(self, name: str) -> str:
        return (self.record.get(name) or "").strip()

    def _error(
        self, message: str, *, got: object = None, expected: str | None = None, fix: str | None = None
    ) -> ManifestError:
        return ManifestError(message, got=got, expected=expected, fix=fix, file=self.file, line=self.line)

    def _check_name(self, name: str) -> None:
        found = control_character(self._raw(name))
        if found is not None:
            raise self._error(f"{name} has control characters", got=repr(self._raw(name)), expected=f"no {found}")

    def _reference(self, column: str, ref: str) -> str | None:
        # Wide blanks go before the checks: what is checked is what is opened.
        ref = ref if control_character(ref) else ref.strip()
        if not ref:
            return None
        place = Place(self.file, self.line, column)
        check_reference(ref, place, confined=self.confined)
        if self.confined:
            require_inside(ref, self.root, place)
        return ref

    def _resolved(self, ref: str | None) -> str | None:
        return None if ref is None else resolve(ref, self.root)

    def _corrections(self, corrected: object) -> tuple[str, ...]:
        refs = [self._reference("corrections", part.strip(" \t")) for part in self._raw("corrections").split(";")]
        found = tuple(ref for ref in refs if ref is not None)
        if found and not corrected:
            raise self._error(
                "corrections need an annotation to correct", got=";".join(found),
                fix="fill the annotation column, or move the file there",
            )  # fmt: skip
        if len(set(found)) != len(found):
            raise self._error("corrections name one file twice", got=";".join(found))
        return found

    def _annotators(self) -> tuple[tuple[str, str], ...]:
        found: dict[str, str] = {}
        for part in filter(None, (p.strip(" \t") for p in self._raw("annotators").split(";"))):
            name, _, ref = (piece.strip(" \t") for piece in part.partition("="))
            checked = self._reference("annotators", ref)
            if not name or checked is None or control_character(name):
                raise self._error("annotators cannot be read", got=repr(part), expected="name=path;name=path")
            if any(lookalike(name) == lookalike(other) for other in found):
                raise self._error("annotators name one person twice", got=name, expected="a file for each")
            found[name] = checked
        return tuple(found.items())

    def _state(self, annotation: str | None) -> AnnotationState:
        value = self._text("annotation_state")
        if not value:
            return "exhaustive" if annotation else "none"
        if value not in get_args(AnnotationState):
            raise self._error("unknown annotation_state", got=value, expected=", ".join(get_args(AnnotationState)))
        if value in ("exhaustive", "partial") and annotation is None:
            raise self._error(
                f"annotation_state {value} needs an annotation file",
                fix="name the file, or say normal (no tumour anywhere) or none (nobody looked)",
            )
        if value in ("normal", "none") and annotation is not None:
            raise self._error(
                f"annotation_state {value} excludes an annotation file", got=annotation,
                fix="leave the file out, or say exhaustive or partial",
            )  # fmt: skip
        return value  # type: ignore[return-value]

    def _choice(self, name: str, choices: Sequence[str]) -> str:
        value = self._text(name)
        if value and value not in choices:
            raise self._error(f"unknown {name}", got=value, expected=" or ".join(choices))
        return value

    def _patient(self) -> str:
        patient, provenance = self._text("patient"), self._choice("patient_provenance", get_args(PatientProvenance))
        if not patient and provenance in ("released", "derived"):
            raise self._error(f"patient_provenance {provenance} needs a patient", fix="fill it, or say unknown")
        return patient

    def _spacing(self, name: str) -> float | None:
        value = self._text(name)
        if not value:
            return None
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number) or number <= 0:
            raise self._error(f"{name} must be a positive number", got=value)
        return number

    def _spacing_y(self) -> float | None:
        number = self._spacing("spacing_y_um")
        if number is not None and not self._text("spacing_um"):
            raise self._error("spacing_y_um needs spacing_um", fix="fill spacing_um with the um/px along x")
        return number

    def _fold(self) -> int | None:
        value = self._text("fold")
        if not value:
            return None
        if not (value.isascii() and value.isdecimal() and len(value) <= 9):
            raise self._error("fold must be a whole number", got=value)
        return int(value)


_READ_HERE = frozenset(KNOWN_COLUMNS) - {"patient_provenance"}
"""Columns that a field of ``SlideRow`` holds; the others go to ``extra``."""
