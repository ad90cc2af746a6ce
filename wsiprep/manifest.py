"""The manifest: a CSV with one row a slide. Unknown columns pass through to ``slides.parquet``.

Columns that mean something (only ``slide`` is required):

    slide_id          id; default: the file's stem. Slugged, with a hash suffix, where it is no plain id
    slide             path of the slide, relative to the recipe's data_root or the manifest's folder
    annotation        path of its annotation file, or empty
    annotation_state  exhaustive | partial | normal | none (default: exhaustive with a file, none without)
    patient, centre   grouping for the split; patient defaults to the slide id
    split, fold       an explicit split or fold; wins over the drawn one
    source            one of the recipe's sources
    spacing_um        um/px that replaces the file's
    stain_type        he (default) | ihc (no hue in the tissue rule)
    tissue            path of a given tissue mask or GeoJSON (tissue.method: given)
    sha256            full digest of the slide file, verified by survey
"""

from __future__ import annotations

import csv
import hashlib
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from wsiprep.config import digest_of
from wsiprep.errors import ManifestError

AnnotationState = Literal["exhaustive", "partial", "normal", "none"]
StainType = Literal["he", "ihc"]
ID_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")
KNOWN_COLUMNS = (
    "slide_id", "slide", "annotation", "annotation_state", "patient", "centre", "split", "fold", "source",
    "spacing_um", "stain_type", "tissue", "sha256",
)  # fmt: skip
MAX_ROWS = 1_000_000


@dataclass(frozen=True, slots=True)
class SlideRow:
    """One slide of the manifest, paths resolved.

    Attributes:
        slide_id: restricted id, safe in file names.
        raw_id: the id as the manifest has it.
        slide: absolute path or URL of the slide.
        slide_ref: the path as the manifest has it (goes into records; the resolved one does not).
        annotation: absolute path of the annotation file, or None.
        extra: columns that wsiprep does not know, in order.
        line: 1-based line in the manifest.
    """

    slide_id: str
    raw_id: str
    slide: str
    slide_ref: str
    annotation: str | None = None
    annotation_ref: str | None = None
    annotation_state: AnnotationState = "none"
    patient: str = ""
    centre: str | None = None
    split: str | None = None
    fold: int | None = None
    source: str | None = None
    spacing_um: float | None = None
    stain_type: StainType = "he"
    tissue: str | None = None
    sha256: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict)
    line: int | None = None

    @property
    def group(self) -> str:
        """The patient, or the slide itself where none is named."""
        return self.patient or self.slide_id

    def survey_digest(self) -> str:
        """Digest of what ``survey`` reads of this row (a new split or patient surveys nothing again)."""
        return digest_of(
            [self.slide_id, self.slide_ref, self.annotation_ref, self.annotation_state, self.source,
             self.spacing_um, self.stain_type, self.tissue, self.sha256]
        )  # fmt: skip


def slug(raw: str) -> str:
    """A safe id: ``raw`` itself where it is one already, else a slug with a hash of the raw name.

    >>> slug("tumor_001")
    'tumor_001'
    """
    if ID_PATTERN.fullmatch(raw):
        return raw
    tail = hashlib.sha256(raw.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    plain = unicodedata.normalize("NFKD", raw).encode("ascii", "ignore").decode().lower()
    plain = re.sub(r"[^a-z0-9._-]+", "-", plain).strip("._-")[:64]
    return f"{plain or 'slide'}-{tail}"


def read_manifest(path: str | Path, data_root: str | Path | None = None) -> tuple[SlideRow, ...]:
    """All rows of a manifest, in file order, checked.

    Raises:
        ManifestError: with file and line: no ``slide`` column, a bad value, two rows of one id.
    """
    path = Path(path)
    root = Path(data_root) if data_root is not None else path.parent
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, strict=True)
            header = reader.fieldnames or []
            _check_header(header, path)
            rows: list[SlideRow] = []
            for record in reader:
                if len(rows) >= MAX_ROWS:
                    raise ManifestError("too many rows", got=f"over {MAX_ROWS}", file=path)
                rows.append(_row(record, path, reader.line_num, root))
    except FileNotFoundError as error:
        raise ManifestError("there is no such manifest", got=str(path), fix="wsiprep init writes one") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError("the manifest cannot be read as CSV", got=str(error), file=path) from error
    if not rows:
        raise ManifestError("the manifest has no rows", file=path, expected="a row a slide")
    _check_unique(rows, path)
    return tuple(rows)


def _check_header(header: Iterable[str], path: Path) -> None:
    names = list(header)
    if "slide" not in names:
        raise ManifestError(
            "the manifest has no column 'slide'", got=", ".join(names) or "an empty file", file=path, line=1,
            expected=f"some of {', '.join(KNOWN_COLUMNS)}",
        )  # fmt: skip
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ManifestError("a column stands twice", got=", ".join(twice), file=path, line=1)


def _row(record: Mapping[str | None, str | None], path: Path, line: int, root: Path) -> SlideRow:
    if None in record:
        raise ManifestError("a row has more fields than the header", file=path, line=line)
    text = {str(k): (v or "").strip() for k, v in record.items()}
    ref = text.get("slide", "")
    if not ref:
        raise ManifestError("a row names no slide", file=path, line=line)
    if any(ord(c) < 32 for c in ref):
        raise ManifestError("a path has control characters", got=repr(ref), file=path, line=line)
    raw_id = text.get("slide_id") or Path(ref).name.split(".")[0] or ref
    annotation_ref = text.get("annotation") or None
    state = _state(text.get("annotation_state", ""), annotation_ref, path, line)
    stain = text.get("stain_type") or "he"
    if stain not in get_args(StainType):
        raise ManifestError("unknown stain_type", got=stain, expected="he or ihc", file=path, line=line)
    tissue = text.get("tissue") or None
    return SlideRow(
        slide_id=slug(raw_id),
        raw_id=raw_id,
        slide=_resolve(ref, root),
        slide_ref=ref,
        annotation=None if annotation_ref is None else _resolve(annotation_ref, root),
        annotation_ref=annotation_ref,
        annotation_state=state,
        patient=text.get("patient", ""),
        centre=text.get("centre") or None,
        split=text.get("split") or None,
        fold=_integer(text.get("fold", ""), path, line),
        source=text.get("source") or None,
        spacing_um=_spacing(text.get("spacing_um", ""), path, line),
        stain_type="ihc" if stain == "ihc" else "he",
        tissue=None if tissue is None else _resolve(tissue, root),
        sha256=(text.get("sha256") or "").lower() or None,
        extra={k: v for k, v in text.items() if k not in KNOWN_COLUMNS},
        line=line,
    )


def _state(value: str, annotation: str | None, path: Path, line: int) -> AnnotationState:
    if not value:
        return "exhaustive" if annotation else "none"
    if value not in get_args(AnnotationState):
        raise ManifestError(
            "unknown annotation_state", got=value, expected=", ".join(get_args(AnnotationState)), file=path, line=line
        )
    if value in ("exhaustive", "partial") and annotation is None:
        raise ManifestError(
            f"annotation_state {value} needs an annotation file", file=path, line=line,
            fix="name the file, or say normal (no tumour anywhere) or none (nobody looked)",
        )  # fmt: skip
    if value in ("normal", "none") and annotation is not None:
        raise ManifestError(
            f"annotation_state {value} excludes an annotation file", got=annotation, file=path, line=line,
            fix="leave the file out, or say exhaustive or partial",
        )  # fmt: skip
    return value  # type: ignore[return-value]


def _spacing(value: str, path: Path, line: int) -> float | None:
    if not value:
        return None
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or number <= 0:
        raise ManifestError("spacing_um must be a positive number", got=value, file=path, line=line)
    return number


def _integer(value: str, path: Path, line: int) -> int | None:
    if not value:
        return None
    if not value.isdecimal():
        raise ManifestError("fold must be a whole number", got=value, file=path, line=line)
    return int(value)


def _resolve(ref: str, root: Path) -> str:
    return ref if "://" in ref else str((root / ref).absolute())


def _check_unique(rows: Iterable[SlideRow], path: Path) -> None:
    seen: dict[str, SlideRow] = {}
    for row in rows:
        other = seen.setdefault(row.slide_id, row)
        if other is not row:
            raise ManifestError(
                f"two rows have the slide id {row.slide_id!r}", got=f"lines {other.line} and {row.line}", file=path,
                line=row.line, fix="give them different slide_id values",
            )  # fmt: skip


def read_exclusions(path: str | Path) -> dict[str, str]:
    """slide id -> reason, from a CSV with the columns ``slide_id,reason``; {} where there is no file."""
    path = Path(path)
    if not path.exists():
        return {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, strict=True)
            if "slide_id" not in (reader.fieldnames or []):
                raise ManifestError("exclude.csv has no column 'slide_id'", file=path, line=1)
            return {slug(r["slide_id"].strip()): (r.get("reason") or "").strip() for r in reader if r["slide_id"]}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError("exclude.csv cannot be read as CSV", got=str(error), file=path) from error
