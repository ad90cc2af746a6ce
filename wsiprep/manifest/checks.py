"""Checks of a manifest as a whole: one row for each slide, one way of writing each name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from wsiprep.errors import ManifestError
from wsiprep.manifest.names import canonical, lookalike
from wsiprep.manifest.references import file_key
from wsiprep.manifest.row import SlideRow


def check_rows(rows: Sequence[SlideRow], path: str | Path) -> None:
    """What can be checked without a look at the disk.

    Raises:
        ManifestError: two rows have one id, or ids of the same characters; one path in two rows; one patient
            or centre written in two ways.
    """
    _check_ids(rows, path)
    _check_lookalikes(rows, path)
    _check_one_row_each(rows, [row.slide for row in rows], path)


def check_files(rows: Sequence[SlideRow], path: str | Path | None = None) -> None:
    """Refuse one slide file in two rows under different names: symbolic and hard links, ``..``, normal forms.

    Looks up every file, so it is for the stage that sees the whole dataset. Missing files and URLs pass.

    Args:
        path: the manifest, for the message.

    Raises:
        ManifestError: names both lines.
    """
    _check_one_row_each(rows, [file_key(row.slide) for row in rows], path)


def _check_one_row_each(rows: Sequence[SlideRow], keys: Sequence[object], path: str | Path | None) -> None:
    seen: dict[object, SlideRow] = {}
    for row, key in zip(rows, keys, strict=True):
        other = seen.setdefault(key, row)
        if other is not row and key is not None:
            raise ManifestError(
                "one slide file stands in two rows",
                got="; ".join(f"{r.slide_id} (line {r.line}): {r.slide_ref}" for r in (other, row)),
                expected="a row a slide", file=path, line=row.line,
                fix="remove one; a second reading of a slide belongs into the column annotators",
            )  # fmt: skip


def _check_ids(rows: Iterable[SlideRow], path: str | Path) -> None:
    seen: dict[str, SlideRow] = {}
    forms: dict[str, SlideRow] = {}
    for row in rows:
        other = seen.setdefault(row.slide_id, row)
        if other is not row:
            raise ManifestError(
                f"two rows have the slide id {row.slide_id!r}", got=f"lines {other.line} and {row.line}", file=path,
                line=row.line, fix="give them different slide_id values",
            )  # fmt: skip
        other = forms.setdefault(canonical(row.raw_id), row)
        if other is not row:
            raise ManifestError(
                "two slide ids differ only by Unicode normal form",
                got=f"{other.raw_id!a} (line {other.line}) and {row.raw_id!a} (line {row.line})", file=path,
                line=row.line, fix="remove one if it is one slide, else give them slide_id values that people can tell",
            )  # fmt: skip


def _check_lookalikes(rows: Iterable[SlideRow], path: str | Path) -> None:
    """One patient written in two ways would be two patients, and could be in two splits."""
    seen: dict[tuple[str, str], tuple[str, SlideRow]] = {}
    for row in rows:
        for column, value in (("patient", row.patient), ("centre", row.centre)):
            if not value:
                continue
            first, other = seen.setdefault((column, lookalike(value)), (value, row))
            if first != value:
                raise ManifestError(
                    f"two values of {column} differ only in case, blanks or Unicode form",
                    got=f"{first!a} (line {other.line}) and {value!a} (line {row.line})", file=path,
                    line=row.line, expected=f"one way of writing one {column}",
                    fix="write both alike, or make them differ in a letter or digit",
                )  # fmt: skip
